package replica

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
)

// remaking is a wish for the copy to be made anew, and where its outcome goes.
type remaking struct {
	done chan error
}

// Remake deletes the copy and makes it anew, with the same beginning, from the leader, which must have been seen to hold everything that the copy should. While Run runs it returns once the new copy
// is there, still empty; everything is copied after that, and the region's log is behind until then. The leader must answer, lead a log of the copy's history as far as that can be told, and be
// as long as the copy: otherwise nothing is deleted, and the error says why (ErrUnreachable, ErrForeignHistory, ErrNoLog).
func (m *Mirror) Remake(ctx context.Context) error {
	wish := remaking{done: make(chan error, 1)}
	select {
	case m.wishes <- wish:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-wish.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// remake deletes the copy and makes it anew.
func (f *follower) remake(ctx context.Context) error {
	copied, err := f.own.streamInfo(ctx, f.cfg.stream())
	if err != nil && !errors.Is(err, events.ErrNoLog) {
		return err
	}
	from := f.cfg.From
	if err == nil {
		b, err := natslog.BeginningOf(copied.Config)
		if err != nil {
			return err
		}
		from = b.From // read models may have begun there
		if err := f.mayDelete(ctx, copied); err != nil {
			return err
		}
		// Nothing may come into the new copy before the gate has let it in.
		if err := f.cfg.deleteConsumer(ctx, f.leader); err != nil {
			return err
		}
		if err := f.own.deleteStream(ctx, f.cfg.stream()); err != nil {
			return err
		}
	}
	if v := f.make(ctx, from); !errors.Is(v.err, events.ErrNoLog) {
		return v.err
	}
	_, err = f.own.streamInfo(ctx, f.cfg.stream())
	return err
}

// mayDelete returns nil when the leader's log is as long as the copy, and of the same history as far as the copy can tell.
func (f *follower) mayDelete(ctx context.Context, copied *jetstream.StreamInfo) error {
	led, err := f.leader.streamInfo(ctx, f.cfg.stream())
	if err != nil {
		return f.whyUnreachable(err)
	}
	if head, last := led.State.LastSeq, copied.State.LastSeq; head < last {
		return f.cfg.foreign("the copy ends at sequence %d and the leader's log at %d, so it was not deleted", last, head)
	}
	if f.there != nil { // it may have been opened when it was another one
		f.there.Close()
		f.there = nil
	}
	if err := f.open(ctx, 0); err != nil {
		return err
	}
	theirs, err := f.there.Info(ctx)
	if err != nil {
		return err
	}
	if f.mine.Origin == "" {
		return nil // the copy cannot say
	}
	return f.cfg.compareTerms(f.mine, theirs)
}
