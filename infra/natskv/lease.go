package natskv

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const leasePrefix = "lease."

// Leases implements projections.Leases. A lease is a key with a time to live that its holder renews; its token is the
// revision at which the key was taken, which grows for ever.
type Leases struct {
	js     jetstream.JetStream
	bucket jetstream.KeyValue
	config Config
}

// claim is the value of a lease's key.
type claim struct {
	Holder string    `json:"holder"`
	ID     string    `json:"id"` // of this very lease, so that a holder recognises its own write
	Since  time.Time `json:"since"`
}

// Acquire waits until name is free and takes it.
func (l *Leases) Acquire(ctx context.Context, name, holder string) (projections.Lease, error) {
	key := leasePrefix + name
	kv := &KV{bucket: l.bucket}
	told := ""
	for {
		begin := time.Now()
		mine := claim{Holder: holder, ID: events.NewID(), Since: begin.UTC()}
		revision, err := l.take(ctx, key, mine)
		if err == nil {
			return l.hold(ctx, key, mine, revision, begin), nil
		}
		if !errors.Is(err, projections.ErrRevision) {
			return nil, err
		}
		// Somebody holds it: wait until the key changes, by renewal too, or goes.
		waiting, cancel := context.WithTimeout(ctx, l.config.LeaseTTL)
		for e, err := range kv.Watch(waiting, key) {
			if err != nil || e.Value == nil {
				break
			}
			var other claim
			if json.Unmarshal(e.Value, &other) == nil && other.Holder != told {
				told = other.Holder
				l.config.Logger.InfoContext(ctx, "waiting for a lease", "lease", name, "holder", told)
			}
		}
		cancel()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// take writes the key if it is free, or if it is held under our own name and may be taken over. Otherwise it returns ErrRevision.
func (l *Leases) take(ctx context.Context, key string, mine claim) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	value, err := json.Marshal(mine)
	if err != nil {
		return 0, err
	}
	revision, err := l.bucket.Create(ctx, key, value, jetstream.KeyTTL(l.config.LeaseTTL))
	if err == nil || !moved(err) {
		if err != nil {
			err = failed("take the lease "+key, err)
		}
		return revision, err
	}
	if !l.config.Takeover {
		return 0, wrongRevision(key, 0)
	}
	e, err := l.bucket.Get(ctx, key)
	if err != nil {
		return 0, wrongRevision(key, 0) // it changed this very moment: look again
	}
	var other claim
	if json.Unmarshal(e.Value(), &other) != nil || other.Holder != mine.Holder {
		return 0, wrongRevision(key, 0)
	}
	return l.write(ctx, key, value, e.Revision())
}

// write replaces the key's value and starts its time to live anew. The client's Update would drop it: the lease would be permanent.
func (l *Leases) write(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	m := nats.NewMsg("$KV." + l.config.Bucket + "." + key)
	m.Data = value
	m.Header.Set(jetstream.MsgTTLHeader, l.config.LeaseTTL.String())
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	ack, err := l.js.PublishMsg(ctx, m)
	if moved(err) {
		return 0, wrongRevision(key, revision)
	}
	if err != nil {
		return 0, failed("renew the lease "+key, err)
	}
	return ack.Sequence, nil
}

// lease implements projections.Lease.
type lease struct {
	of       *Leases
	key      string
	mine     claim
	token    uint64
	ctx      context.Context //nolint:containedctx // the life of the lease is what it is about
	cancel   context.CancelCauseFunc
	renewing sync.WaitGroup

	mu       sync.Mutex
	revision uint64
}

func (l *Leases) hold(ctx context.Context, key string, mine claim, revision uint64, begin time.Time) *lease {
	x := &lease{of: l, key: key, mine: mine, token: revision, revision: revision}
	x.ctx, x.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	x.renewing.Go(func() { x.renew(begin) }) //nolint:contextcheck // the lease has a life of its own
	return x
}

// Token returns the fencing token.
func (x *lease) Token() uint64 { return x.token }

// Context ends when the lease is lost or released.
func (x *lease) Context() context.Context { return x.ctx }

// renew keeps the key alive. The lease counts as lost a good while before the server lets it expire, so that nobody else
// can have it while this holder still believes in it. The time is measured from before each request.
func (x *lease) renew(last time.Time) {
	ttl := x.of.config.LeaseTTL
	tick := time.NewTicker(ttl / 4)
	defer tick.Stop()
	for {
		deadline := time.NewTimer(time.Until(last.Add(ttl - ttl/5)))
		select {
		case <-x.ctx.Done():
			deadline.Stop()
			return
		case <-deadline.C:
			x.lose("it could not be renewed in time")
			return
		case <-tick.C:
			deadline.Stop()
		}
		begin := time.Now()
		switch err := x.renewOnce(last.Add(ttl - ttl/5)); {
		case err == nil:
			last = begin
		case errors.Is(err, projections.ErrRevision):
			x.lose("somebody else has it")
			return
		}
	}
}

func (x *lease) renewOnce(deadline time.Time) error {
	ctx, cancel := context.WithDeadline(x.ctx, deadline)
	defer cancel()
	value, err := json.Marshal(x.mine)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	revision, err := x.of.write(ctx, x.key, value, x.revision)
	if errors.Is(err, projections.ErrRevision) {
		// Perhaps it was our own renewal, whose answer was lost.
		e, readErr := x.of.bucket.Get(ctx, x.key)
		if readErr != nil {
			return err
		}
		var now claim
		if json.Unmarshal(e.Value(), &now) != nil || now.ID != x.mine.ID {
			return err
		}
		if revision, err = x.of.write(ctx, x.key, value, e.Revision()); err != nil {
			return err
		}
	}
	if err == nil {
		x.revision = revision
	}
	return err
}

func (x *lease) lose(why string) {
	x.of.config.Logger.Warn("a lease is lost", "lease", x.key, "holder", x.mine.Holder, "reason", why)
	x.cancel(events.Errorf(projections.ErrLeaseLost, "the lease %s is lost: %s", x.key, why))
}

// Release gives the name free at once.
func (x *lease) Release(ctx context.Context) error {
	x.cancel(context.Canceled)
	x.renewing.Wait()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := x.of.bucket.Delete(ctx, x.key, jetstream.LastRevision(x.revision))
	if err == nil || moved(err) || errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil // gone, or somebody else's
	}
	return failed("release the lease "+x.key, err)
}
