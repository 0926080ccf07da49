package forward

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsconn"
)

// Floors asks the leader how much each region has confirmed to hold, and how far its log is. It is safe for concurrent use.
type Floors struct {
	cfg    Config
	caller *caller
}

var (
	_ events.Floors = (*Floors)(nil)
	_ events.Leader = (*Floors)(nil)
)

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
	a, err := f.ask(ctx, kindFloors, answerFloors, "what the regions hold is not known")
	return a.floors, err
}

// Head asks once how far the leader's log is. Errors: those of events.Leader, and ErrProtocol, also from a leader of a version that does not know the question.
func (f *Floors) Head(ctx context.Context) (events.Position, error) {
	a, err := f.ask(ctx, kindHead, answerHead, "how far its log is, is not known")
	return a.position, err
}

// ask asks a question and returns the answer if it is one to it.
func (f *Floors) ask(ctx context.Context, question, wanted byte, not string) (answer, error) {
	a, _, err := f.caller.ask(ctx, head(question))
	switch {
	case err == nil && a.what == wanted:
		return a, nil
	case err == nil && a.what == answerError:
		return answer{}, a.err
	case err == nil:
		return answer{}, malformed("the leader's writer answered %q to the question %q", a.what, question)
	case ctx.Err() != nil:
		return answer{}, context.Cause(ctx)
	}
	if e, ok := errors.AsType[*events.Error](err); ok {
		return answer{}, e
	}
	return answer{}, far(f.cfg.Leader, not, err)
}

// Close ends its use.
func (f *Floors) Close() { f.caller.link.Close() }
