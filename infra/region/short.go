package region

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
)

// A region's copy of the log may begin with a later sequence. What it holds is read from it; what is below is read from the leader, over the link, and only while that is up. Nothing that a region
// does all the time needs it: lineage and terms are part of the copy's settings, and the control records below it by which projections run are kept in the region's KV (kept.go).

// short reads a copy that may not begin with the log's first record. It is safe for concurrent use.
type short struct {
	log    *natslog.Log // the copy
	region *Region
	kept   *kept // nil: this role keeps nothing

	mu      sync.Mutex
	leader  *otherLog // nil: it was not needed yet, or turned out to be another log
	checked time.Time // when it was seen to hold the copy's history
	failed  time.Time // when it could not be opened, or was not that, and why
	failure error
}

var _ events.Reader = (*short)(nil)

const (
	// leaderAge is how long the leader's log is read from before it is looked at again whether it is the copy's history.
	leaderAge = 10 * time.Second
	// leaderPause is how long it is not asked again after that failed: a link that swallows everything holds up each attempt, and many may want what is below.
	leaderPause = time.Second
	// leaderPatience bounds the opening of it.
	leaderPatience = 10 * time.Second
)

// Origin returns the origin's name.
func (s *short) Origin() string { return s.log.Origin() }

// Info returns the log's identity, and the bounds of the copy.
func (s *short) Info(ctx context.Context) (events.Info, error) { return s.log.Info(ctx) }

// close ends the use of the leader's log, and of the copy.
func (s *short) close() {
	s.mu.Lock()
	if s.leader != nil {
		s.leader.Close()
	}
	s.leader = nil
	s.mu.Unlock()
	s.log.Close()
}

// below returns the leader's log, which holds what the copy does not. It is of the copy's history: lineage, terms, and the record that the copy begins with are compared.
func (s *short) below(ctx context.Context) (*otherLog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader != nil && time.Since(s.checked) < leaderAge {
		return s.leader, nil
	}
	if time.Since(s.failed) < leaderPause {
		return nil, s.failure
	}
	bounded, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	err := s.open(bounded)
	switch {
	case err == nil:
		s.checked = time.Now()
		return s.leader, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx) // it says nothing about the leader
	}
	s.failed, s.failure = time.Now(), s.unreachable(err)
	return nil, s.failure
}

// open opens the leader's log, unless it is, and looks whether it is the copy's history.
func (s *short) open(ctx context.Context) error {
	if s.leader == nil {
		leader, err := s.region.other(ctx, s.region.config.Leader)
		if err != nil {
			return err
		}
		s.leader = leader
	}
	err := s.compare(ctx, s.leader)
	if err != nil {
		s.leader.Close() // readings of it end
		s.leader = nil
	}
	return err
}

// compare returns ErrForeignHistory unless a log holds the history of the copy.
func (s *short) compare(ctx context.Context, leader events.Reader) error {
	mine, err := s.log.Info(ctx)
	if err != nil {
		return err
	}
	theirs, err := leader.Info(ctx)
	if err != nil {
		return err
	}
	foreign := func(what string) error {
		return events.Errorf(events.ErrForeignHistory, "what is below sequence %d is not read from region %s, because its log of origin %s is not the one that this region's copy is of: %s",
			mine.Begins, s.region.config.Leader, mine.Origin, what).Hint("Find out which of the two is right, and see what tidemark status says of the copy.")
	}
	ours, begun := mine.Terms.Starts, theirs.Terms.Starts
	switch {
	case mine.Terms.Lineage != theirs.Terms.Lineage:
		return foreign("its lineage is " + string(theirs.Terms.Lineage) + ", and the copy's is " + string(mine.Terms.Lineage))
	case len(begun) < len(ours) || !slices.Equal(begun[:len(ours)], ours):
		return foreign("their terms differ")
	case mine.Last < mine.Begins:
		return nil // nothing was copied yet
	}
	a, err := s.log.Record(ctx, mine.Begins)
	if err != nil {
		return err
	}
	b, err := leader.Record(ctx, mine.Begins)
	if err == nil && a.Fingerprint() != b.Fingerprint() {
		return foreign("they hold different records at that sequence")
	}
	return err
}

// unreachable says what an error of the leader's log means for who wants something below the copy.
func (s *short) unreachable(err error) error {
	if code, ok := events.CodeOf(err); ok && code != events.ErrUnreachable && code != events.ErrNoLog && code != events.ErrClosed {
		return err
	}
	c := &s.region.config
	return events.Errorf(events.ErrUnreachable, "the copy of the log %s in region %s begins with sequence %d, and what is below is read from region %s, which does not answer: %w",
		c.Origin, c.Name, s.log.Begins(), c.Leader, err).
		Hint("Check the link between the two regions. To build a read model without what is below, bring a snapshot of it: tidemark snapshot copy PROJECTION --from REGION.")
}

// Read yields the records of a range: those below the copy from the leader, the others from the copy.
func (s *short) Read(ctx context.Context, wanted events.Range) iter.Seq2[[]events.Record, error] {
	begins := s.log.Begins()
	if max(wanted.From, 1) >= begins {
		return s.log.Read(ctx, wanted)
	}
	return func(yield func([]events.Record, error) bool) {
		first := wanted
		first.To, first.Follow = begins-1, false
		if wanted.To != 0 {
			first.To = min(first.To, wanted.To)
		}
		leader, err := s.below(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for records, err := range leader.Read(ctx, first) {
			if err != nil {
				err = s.unreachable(err)
			}
			if !yield(records, err) || err != nil {
				return
			}
		}
		if ctx.Err() != nil {
			yield(nil, context.Cause(ctx))
			return
		}
		if wanted.To != 0 && wanted.To < begins {
			return
		}
		rest := wanted
		rest.From = begins
		for records, err := range s.log.Read(ctx, rest) {
			if !yield(records, err) {
				return
			}
		}
	}
}

// Record returns one record.
func (s *short) Record(ctx context.Context, seq uint64) (events.Record, error) {
	if seq == 0 || seq >= s.log.Begins() {
		return s.log.Record(ctx, seq)
	}
	if r, ok, err := s.kept.record(ctx, seq); ok || err != nil {
		return r, err
	}
	leader, err := s.below(ctx)
	if err != nil {
		return events.Record{}, err
	}
	r, err := leader.Record(ctx, seq)
	if err != nil {
		err = s.unreachable(err)
	}
	return r, err
}

// LastControl returns the newest control record of a name.
func (s *short) LastControl(ctx context.Context, name string) (events.Record, error) {
	r, err := s.log.LastControl(ctx, name)
	if s.log.Begins() == 1 || !errors.Is(err, events.ErrNotFound) {
		return r, err
	}
	last, known, keptErr := s.kept.last(ctx, name)
	if keptErr != nil {
		return r, keptErr
	}
	if !known {
		leader, belowErr := s.below(ctx)
		if belowErr != nil {
			return r, belowErr
		}
		list, belowErr := leader.LastControls(ctx, []string{name}, s.log.Begins()-1)
		if belowErr != nil {
			return r, s.unreachable(belowErr)
		}
		if len(list) > 0 {
			last = &list[0]
		}
	}
	if last == nil {
		return r, err
	}
	return *last, nil
}

// History yields an entity's records.
func (s *short) History(ctx context.Context, e events.Entity, from uint64) iter.Seq2[events.Record, error] {
	return s.join(ctx, from, func(log events.Reader, from uint64) iter.Seq2[events.Record, error] { return log.History(ctx, e, from) })
}

// Controls yields the control records of a name.
func (s *short) Controls(ctx context.Context, name string, from uint64) iter.Seq2[events.Record, error] {
	controls := func(log events.Reader, from uint64) iter.Seq2[events.Record, error] {
		return log.Controls(ctx, name, from)
	}
	begins := s.log.Begins()
	if max(from, 1) >= begins {
		return controls(s.log, from)
	}
	return func(yield func(events.Record, error) bool) {
		list, known, err := s.kept.all(ctx, name)
		switch {
		case err != nil:
			yield(events.Record{}, err)
			return
		case !known:
			s.join(ctx, from, controls)(yield)
			return
		}
		for i := range list {
			if list[i].Sequence >= from && !yield(list[i], nil) {
				return
			}
		}
		controls(s.log, begins)(yield)
	}
}

// join yields the records of one subject from a sequence on: those below the copy from the leader, the others from the copy.
func (s *short) join(ctx context.Context, from uint64, of func(events.Reader, uint64) iter.Seq2[events.Record, error]) iter.Seq2[events.Record, error] {
	begins := s.log.Begins()
	if max(from, 1) >= begins {
		return of(s.log, from)
	}
	return func(yield func(events.Record, error) bool) {
		leader, err := s.below(ctx)
		if err != nil {
			yield(events.Record{}, err)
			return
		}
		for r, err := range of(leader, from) {
			if err != nil {
				yield(r, s.unreachable(err))
				return
			}
			if r.Sequence >= begins {
				break
			}
			if !yield(r, nil) {
				return
			}
		}
		of(s.log, begins)(yield)
	}
}
