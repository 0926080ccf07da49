package natskv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	leasePrefix = "lease."
	// renewals is how often a lease is renewed within its time to live, and giveUp the part of it, one in so many, by which the holder
	// gives up earlier than the server: three renewals can fail before that.
	renewals = 4
	giveUp   = 5
)

// Leases implements projections.Leases. A lease is a key with a time to live that its holder renews; its token is the
// revision at which the key was taken, which grows for ever.
type Leases struct {
	bucket *bucket
	config Config
}

var _ projections.Leases = (*Leases)(nil)

// claim is the value of a lease's key.
type claim struct {
	Holder string    `json:"holder"`
	ID     string    `json:"id"` // of this very lease, so that a holder recognises its own write
	Since  time.Time `json:"since"`
}

func claimOf(value []byte) (c claim) {
	_ = json.Unmarshal(value, &c) // something else is nobody's claim
	return c
}

// Acquire waits until name is free and takes it. A server that is out of reach is waited for too. Beside the port's errors it returns
// projections.ErrInvalidKey and events.ErrUnauthorized.
func (l *Leases) Acquire(ctx context.Context, name, holder string) (projections.Lease, error) {
	if err := validKey(name); err != nil {
		return nil, err
	}
	key := leasePrefix + name
	mine := claim{Holder: holder, ID: events.NewID(), Since: time.Now().UTC()}
	for told := (claim{}); ; {
		began := time.Now()
		revision, other, err := l.take(ctx, key, mine)
		switch {
		case ctx.Err() != nil && err != nil:
			return nil, fmt.Errorf("waiting for the lease %q: %w", name, context.Cause(ctx))
		case err == nil:
			return l.hold(ctx, key, mine, revision, began), nil
		case errors.Is(err, events.ErrUnauthorized):
			return nil, err
		case !errors.Is(err, projections.ErrRevision):
			l.config.Logger.WarnContext(ctx, "a lease cannot be asked for", "lease", name, "error", err)
			wait(ctx, l.config.LeaseTTL/renewals)
			continue
		}
		if other != told {
			told = other
			l.config.Logger.InfoContext(ctx, "waiting for a lease", "lease", name, "holder", told.Holder)
		}
		l.waitFree(ctx, key)
	}
}

// take writes the key if it is free, if it is ours because the answer to an earlier attempt was lost, or if it is held under our own name and
// may be taken over. Otherwise it returns ErrRevision, and who holds it.
func (l *Leases) take(ctx context.Context, key string, mine claim) (uint64, claim, error) {
	value, err := json.Marshal(mine)
	if err != nil {
		return 0, claim{}, err
	}
	revision, found, err := l.bucket.create(ctx, key, value, l.config.LeaseTTL)
	other := claimOf(found.value)
	ours := other.ID == mine.ID || l.config.Takeover && other.Holder == mine.Holder
	if errors.Is(err, projections.ErrRevision) && ours {
		revision, err = l.bucket.write(ctx, key, value, found.revision, l.config.LeaseTTL)
	}
	return revision, other, err
}

// waitFree waits until the key is gone, for one time to live at most: that is also how often it is tried to be taken when no notice comes.
func (l *Leases) waitFree(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(ctx, l.config.LeaseTTL)
	defer cancel()
	for e, err := range (&KV{bucket: l.bucket}).Watch(ctx, key) {
		if err == nil && e.Value == nil {
			return
		}
		if err != nil {
			<-ctx.Done() // it cannot be watched: try again when the time is over
		}
	}
}

// lease implements projections.Lease.
type lease struct {
	of       *Leases
	key      string
	mine     claim
	token    uint64
	ctx      context.Context //nolint:containedctx // the life of the lease is what it is about
	cancel   context.CancelCauseFunc
	renewed  chan struct{} // closed when nothing is renewed any more
	revision uint64        // of the last renewal; the renewing goroutine's, and after it the releaser's

	mu       sync.Mutex // among releasers
	released bool
}

func (l *Leases) hold(ctx context.Context, key string, mine claim, revision uint64, began time.Time) *lease {
	x := &lease{of: l, key: key, mine: mine, token: revision, revision: revision, renewed: make(chan struct{})}
	x.ctx, x.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	go x.renew(began) //nolint:contextcheck // the lease has a life of its own; it ends with the lease
	return x
}

// Token returns the fencing token.
func (x *lease) Token() uint64 { return x.token }

// Context ends when the lease is lost or released.
func (x *lease) Context() context.Context { return x.ctx }

// renew keeps the key alive. The lease counts as lost a good while before the server lets it expire, so that nobody else
// can have it while this holder still believes in it. The time is measured from before each request, and by a timer of its own:
// on a link that is stuck a request may not come back in time, whatever its context says.
func (x *lease) renew(last time.Time) {
	defer close(x.renewed)
	ttl := x.of.config.LeaseTTL
	left := func() time.Duration { return time.Until(last.Add(ttl - ttl/giveUp)) }
	end := time.AfterFunc(left(), func() { x.lose("it could not be renewed in time") })
	defer end.Stop()
	tick := time.NewTicker(ttl / renewals)
	defer tick.Stop()
	for {
		select {
		case <-x.ctx.Done():
			return
		case <-tick.C:
		}
		began := time.Now()
		switch err := x.renewOnce(last.Add(ttl - ttl/giveUp)); {
		case err == nil:
			last = began
			end.Reset(left())
		case errors.Is(err, projections.ErrRevision):
			x.lose("somebody else has it, or it ran out")
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
	return x.replace(ctx, value)
}

// replace writes the key, with a value or, to remove it, without. A refusal is looked into: when it is by our own renewal, whose answer was
// lost, the key is still ours. Otherwise it returns ErrRevision.
func (x *lease) replace(ctx context.Context, value []byte) error {
	for {
		revision, err := x.of.bucket.write(ctx, x.key, value, x.revision, x.of.config.LeaseTTL)
		if err == nil {
			x.revision = revision
		}
		if !errors.Is(err, projections.ErrRevision) {
			return err
		}
		now, readErr := x.of.bucket.last(ctx, x.key)
		switch {
		case readErr != nil:
			return readErr // not known yet: the next renewal will tell
		case claimOf(now.value).ID != x.mine.ID:
			return err
		}
		x.revision = now.revision
	}
}

func (x *lease) lose(why string) {
	if x.ctx.Err() != nil {
		return
	}
	x.cancel(events.Errorf(projections.ErrLeaseLost, "the lease %s is lost: %s", x.key, why))
	x.of.config.Logger.Warn("a lease is lost", "lease", x.key, "holder", x.mine.Holder, "reason", why)
}

// Release gives the name free at once. Releasing what was lost or released is no error.
func (x *lease) Release(ctx context.Context) error {
	x.cancel(context.Canceled)
	select {
	case <-x.renewed:
	case <-ctx.Done():
		return unreachable("release "+x.key, context.Cause(ctx))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.released {
		return nil
	}
	err := x.replace(ctx, nil)
	if errors.Is(err, projections.ErrRevision) {
		err = nil // gone, or somebody else's
	}
	x.released = err == nil
	return err
}
