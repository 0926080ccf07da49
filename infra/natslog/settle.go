package natslog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

// How long an append waits for a stream that cannot store just now before it is answered that nothing was written.
const (
	// unavailablePatience is for a stream that exists: its replicas may take up to 9 s to elect a leader after a crash.
	unavailablePatience = 12 * time.Second
	// nobodyPatience is for a place where nobody answers for JetStream at all.
	nobodyPatience = 2 * time.Second
)

// errDuplicate stands for an answer that is not an error.
var errDuplicate = errors.New("it is known and not to be found")

// groupTries is how often a group is sent again as a whole.
const groupTries = 3

// settle pursues entries whose first attempt did not simply succeed, until each has its definite outcome.
func (w *writer) settle(group []*entry, a answer) {
	if len(group) == 1 {
		w.settleOne(group[0], a)
		return
	}
	for tries := 0; ; tries++ {
		switch a.verdict {
		case stored:
			w.finishStored(group, a.sequence)
			return
		case doubtful:
			for _, e := range group {
				e.doubtful, e.cause = true, a.err
			}
		case duplicate, known, conflicting, refused:
			if !w.ownGroup(group) {
				w.dissolve(group)
			}
			return
		case undecided, unavailable:
		}
		if tries >= groupTries { // perhaps it is too large for this connection
			if !w.ownGroup(group) {
				w.dissolve(group)
			}
			return
		}
		if err := w.again(group, a, tries); err != nil {
			for _, e := range group {
				w.settleOne(e, a)
			}
			return
		}
		a = w.attempt(group)
	}
}

// ownGroup finishes a group that an earlier attempt of ours has stored. A batch is stored whole, so its first record
// proves all of them.
func (w *writer) ownGroup(group []*entry) bool {
	if !group[0].doubtful {
		return false
	}
	s, err := w.standingByID(w.ctx, &group[0].messages[0])
	if err != nil || !s.own {
		return false
	}
	last := s.sequence - 1
	for _, e := range group {
		last += uint64(len(e.messages))
	}
	w.finishStored(group, last)
	return true
}

// dissolve sends the entries of a refused group in parts, and a refused part entry by entry, always in order. So each has an answer of
// its own, and nobody sees another's conflict.
func (w *writer) dissolve(group []*entry) {
	size := 1
	if len(group) > dissolveBy {
		size = (len(group) + dissolveBy - 1) / dissolveBy
	}
	for len(group) > 0 {
		part := group[:min(size, len(group))]
		group = group[len(part):]
		w.settle(part, w.attempt(part))
	}
}

func (w *writer) settleOne(e *entry, a answer) {
	group := []*entry{e}
	for tries := 0; ; tries++ {
		switch a.verdict {
		case stored:
			w.finishStored(group, a.sequence)
			return
		case duplicate, known, conflicting:
			if w.resolve(e, a) {
				return
			}
			a = answer{verdict: undecided, err: fmt.Errorf("the servers' answers do not fit together (%w)", cmp.Or(a.err, errDuplicate))}
		case refused:
			if e.doubtful {
				a.err = unknown(e)
			}
			w.finish(e, events.Receipt{}, a.err)
			return
		case doubtful:
			e.doubtful, e.cause = true, a.err
		case undecided, unavailable:
		}
		if err := w.again(group, a, tries); err != nil {
			w.finish(e, events.Receipt{}, err)
			return
		}
		a = w.attempt(group)
	}
}

// again waits for the moment to try again, or returns the error to end with.
func (w *writer) again(group []*entry, a answer, tries int) error {
	e := group[0]
	if w.ctx.Err() != nil {
		if e.doubtful {
			return unknown(e)
		}
		return context.Cause(w.ctx)
	}
	left := w.options.ResolveFor - time.Since(e.begun)
	if e.doubtful {
		for _, e := range group {
			if !e.guarded() { // sent again after the servers forgot its id, it could be stored twice
				left = min(left, windowFor(w.id.duplicateWindow())-time.Since(e.begun))
			}
		}
		if left <= 0 {
			return unknown(e)
		}
	} else if err := w.nothingWritten(a, &left, e); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(w.ctx, left)
	defer stop()
	if pause(ctx, a, tries) != nil || w.flights.link.Wait(ctx) != nil {
		if e.doubtful {
			return unknown(e)
		}
		return unreachable(a.err)
	}
	return nil
}

// nothingWritten decides how long an append that is certainly not stored is tried on.
func (w *writer) nothingWritten(a answer, left *time.Duration, e *entry) error {
	if a.verdict != unavailable {
		if *left <= 0 {
			return unreachable(a.err)
		}
		return nil
	}
	patience := unavailablePatience
	if errors.Is(a.err, nats.ErrNoResponders) {
		ctx, stop := context.WithTimeout(w.ctx, nobodyPatience)
		defer stop()
		switch _, err := w.api.StreamInfo(ctx); {
		case errors.Is(err, events.ErrNoLog), errors.Is(err, events.ErrUnauthorized):
			return err
		case errors.Is(err, nats.ErrNoResponders):
			patience = nobodyPatience
		}
	}
	patience -= time.Since(e.begun)
	if errors.Is(a.err, natsapi.ErrDisconnected) {
		patience = w.options.AttemptTimeout // for the connection to come back
	}
	if *left = min(*left, patience); *left <= 0 {
		return unreachable(a.err)
	}
	return nil
}

// pause waits a little longer each time.
func pause(ctx context.Context, a answer, tries int) error {
	var d time.Duration
	switch {
	case errors.Is(a.err, natsapi.ErrDisconnected): // the link knows when
		return nil
	case a.verdict == undecided:
		d = min(time.Millisecond<<min(tries, 7), 100*time.Millisecond)
	case a.verdict == unavailable:
		d = min(25*time.Millisecond<<min(tries, 4), 250*time.Millisecond)
	default:
		return nil // it has waited for an answer
	}
	t := time.NewTimer(d/2 + rand.N(d/2)) //nolint:gosec // a jitter needs no secrecy
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func unknown(e *entry) error {
	err := events.Errorf(events.ErrUnknownOutcome, "it could not be found out whether the append is stored: %w", e.cause)
	if e.guarded() {
		return err.Hint("Append the same events (same ids, same expectation) again: that resolves it.")
	}
	return err.Hint("Append the same events (same ids) again inside the log's duplicate window: that resolves it.")
}

func unreachable(cause error) error {
	return events.Errorf(events.ErrUnreachable, "the log's servers could not store the append; nothing was written: %w", cause)
}
