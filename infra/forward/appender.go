package forward

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsconn"
	"tidemark.dev/infra/internal/room"
)

// Appender writes to an origin that another region leads. It is safe for concurrent use. Beside what events.Appender says, an append can end
// with events.ErrOverloaded, ErrNotLeader and ErrProtocol: nothing was written.
//
// What only the leader can know is refused there, so it is an outcome of the append and not an error of Submit: ErrClockAhead,
// ErrImpossiblePosition.
type Appender struct {
	cfg     Config
	options Options
	caller  *caller
	room    *room.Room
	lanes   lanes

	open  context.Context // ends when no attempt may begin any more
	close context.CancelFunc
	gate  sync.RWMutex // submitting against closing
	work  sync.WaitGroup
	away  atomic.Bool // the leader was out of reach when it was asked last
}

var _ events.Appender = (*Appender)(nil)

// NewAppender returns an Appender that asks the writers of cfg.Leader. It takes from nc only the options (addresses, credentials, TLS, inbox prefix)
// and makes a connection of its own with them. The leader need not be reachable yet.
//
// Errors: ErrUnreachable, ErrUnauthorized (this region's servers), ErrInvalidEvent for a malformed origin.
func NewAppender(nc *nats.Conn, cfg Config, o Options) (*Appender, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	o.Logger = o.Logger.With("region", cfg.Region, "origin", cfg.Origin, "leader", cfg.Leader)
	l, err := natsconn.Connect(nc, "forward "+cfg.Origin, ours, o.Logger)
	if err != nil {
		return nil, err
	}
	a := &Appender{
		cfg: cfg, options: o, caller: newCaller(l, AppendSubject(cfg.Origin), o.AttemptTimeout), room: room.New(o.MaxPending, errClosed),
		lanes: lanes{byID: map[string][]*entry{}},
	}
	a.open, a.close = context.WithCancel(context.Background())
	return a, nil
}

// Append submits a batch and waits for its outcome.
func (a *Appender) Append(ctx context.Context, b events.Batch) (events.Receipt, error) {
	p, err := a.Submit(ctx, b)
	if err != nil {
		return events.Receipt{}, err
	}
	return p.Wait(ctx)
}

// Submit queues a batch.
func (a *Appender) Submit(ctx context.Context, b events.Batch) (*events.Pending, error) {
	if a.isClosing() {
		return nil, errClosed()
	}
	if err := b.Validate(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	e := newEntry(&b)
	if err := a.fits(e); err != nil {
		return nil, err
	}
	e.units = min(e.units, a.options.MaxPending)
	if err := a.room.Enter(ctx, e.units); err != nil {
		return nil, err
	}
	p, finish := events.NewPending()
	e.finish = finish
	a.gate.RLock()
	defer a.gate.RUnlock()
	if a.isClosing() {
		a.room.Leave(e.units)
		return nil, errClosed()
	}
	if a.lanes.push(e) {
		a.work.Go(func() { a.carry(e) }) //nolint:contextcheck // the append outlives the call
	} else {
		a.work.Add(1) // taken over by whoever stands before it
	}
	return p, nil
}

// carry pursues an entry to its end, and then one of those that waited for it; further ones get goroutines of their own.
func (a *Appender) carry(e *entry) {
	for e != nil {
		r, err := a.pursue(e)
		ready := a.lanes.done(e)
		a.room.Leave(e.units)
		e.finish(r, err)
		e = nil
		for i, next := range ready {
			if i == len(ready)-1 {
				e = next
				a.work.Done() // this goroutine counts for it
				break
			}
			go func() {
				defer a.work.Done()
				a.carry(next)
			}()
		}
	}
}

// fits returns ErrTooLarge when the request is over what the servers carry.
func (a *Appender) fits(e *entry) error {
	if most := a.caller.maxPayload(); int64(len(e.request)) > most {
		return events.Errorf(events.ErrTooLarge, "the append has %d bytes on its way to region %s, which leads origin %s, over the servers' bound of %d; "+
			"nothing was written", len(e.request), a.cfg.Leader, a.cfg.Origin, most).Hint("Split it, or publish it in region %s.", a.cfg.Leader)
	}
	return nil
}

func (a *Appender) isClosing() bool { return a.open.Err() != nil }

// Close ends the appender's use. Appends that were not sent fail with ErrClosed; those that were have one attempt's time to be answered
// and are ErrUnknownOutcome after that. It returns when no goroutine of the appender runs any more. It may be called again.
func (a *Appender) Close() {
	a.gate.Lock()
	a.close()
	a.gate.Unlock()
	a.room.Close()
	a.work.Wait()
	a.caller.link.Close()
}

// reached logs when the leader goes out of reach and comes back, once.
func (a *Appender) reached(is bool, why error) {
	if !a.away.CompareAndSwap(is, !is) {
		return
	}
	if is {
		a.options.Logger.Info("the leader answers again")
	} else {
		a.options.Logger.Warn("the leader cannot be reached", "error", why)
	}
}
