package forward

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsconn"
)

// Floors asks the leader how much each region has confirmed to hold. It is safe for concurrent use.
type Floors struct {
	cfg    Config
	caller *caller
}

var _ events.Floors = (*Floors)(nil)

// NewFloors returns a Floors that asks the writers of cfg.Leader. It takes from nc only the options. Errors: those of NewAppender.
func NewFloors(nc *nats.Conn, cfg Config, o Options) (*Floors, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	l, err := natsconn.Connect(nc, "floors of "+cfg.Origin, ours, o.Logger.With("region", cfg.Region, "origin", cfg.Origin, "leader", cfg.Leader))
	if err != nil {
		return nil, err
	}
	return &Floors{cfg: cfg, caller: newCaller(l, FloorsSubject(cfg.Origin), o.AttemptTimeout)}, nil
}

// Floors asks once. Errors: those of events.Floors, and ErrProtocol. What is not known is never answered with zero.
func (f *Floors) Floors(ctx context.Context) ([]events.Floor, error) {
	a, _, err := f.caller.ask(ctx, head(kindFloors))
	switch {
	case err == nil && a.what == answerFloors:
		return a.floors, nil
	case err == nil && a.what == answerError:
		return nil, a.err
	case err == nil:
		return nil, malformed("the leader's writer answered %q to a request for floors", a.what)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	if e, ok := errors.AsType[*events.Error](err); ok {
		return nil, e
	}
	return nil, far(f.cfg.Leader, "what the regions hold is not known", err)
}

// Close ends its use.
func (f *Floors) Close() { f.caller.link.Close() }
