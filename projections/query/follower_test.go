package query_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
)

// follower keeps what a read model of things has by listing once and watching from there.
type follower struct {
	s      *shelf
	held   map[string]thing
	token  string
	at     events.Position
	told   int // changes, in all
	empty  int // updates without changes
	stop   func()
	next   func() (query.Update, error, bool)
	cancel context.CancelFunc
}

// list begins anew with everything.
func (f *follower) list() error {
	f.held, f.token = map[string]thing{}, ""
	for after := ""; ; {
		page, err := f.s.reader.List(context.Background(), "things", query.ListOptions{Limit: 7, After: after})
		if err != nil {
			return err
		}
		if f.token == "" {
			f.token = page.Watch
		}
		for _, item := range page.Items {
			f.held[item.Key] = decodeThing(f.s.t, item)
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

// watch begins to watch from the token.
func (f *follower) watch(o query.WatchOptions) {
	f.end()
	ctx, cancel := context.WithCancel(context.Background())
	o.From = f.token
	f.cancel = cancel
	if f.held == nil {
		f.held = map[string]thing{}
	}
	f.next, f.stop = iter.Pull2(f.s.reader.Watch(ctx, "things", o))
}

func (f *follower) end() {
	if f.stop != nil {
		f.cancel()
		f.stop()
		f.stop = nil
	}
}

// take takes over one update.
func (f *follower) take() (query.Update, error) {
	u, err, ok := f.next()
	if !ok {
		return u, errors.New("the watch ended without a word")
	}
	if err != nil {
		return u, err
	}
	for _, c := range u.Changes {
		f.told++
		if c.Deleted {
			if c.Document.Values != nil || c.Changed != "" {
				f.s.t.Fatalf("a deletion is told as %+v", c)
			}
			delete(f.held, c.Key)
			continue
		}
		if c.Changed == "" {
			f.s.t.Fatalf("a change without a place: %+v", c)
		}
		f.held[c.Key] = decodeThing(f.s.t, query.Item{Key: c.Key, Document: c.Document})
	}
	if len(u.Changes) == 0 {
		f.empty++
	}
	if u.Changes == nil || u.Token == "" || u.Generation == 0 || u.Projection != "things" || u.Region != "us" {
		f.s.t.Fatalf("an update is %+v", u)
	}
	if u.Position.IsZero() || sequence(u.Position) < sequence(f.at) {
		f.s.t.Fatalf("an update of %s comes after one of %s", u.Position, f.at)
	}
	f.token, f.at = u.Token, u.Position
	return u, nil
}

// until takes updates until the follower has everything up to a position.
func (f *follower) until(p events.Position) {
	f.s.t.Helper()
	for range 10_000 {
		if sequence(f.at) >= sequence(p) {
			return
		}
		if _, err := f.take(); err != nil {
			f.s.t.Fatal(err)
		}
	}
	f.s.t.Fatalf("it is at %s, and never comes to %s", f.at, p)
}

func (f *follower) same(what string) {
	f.s.t.Helper()
	for key, want := range f.s.held {
		if got, ok := f.held[key]; got != want {
			f.s.t.Errorf("%s: the follower has %s as %+v (%t), want %+v", what, key, got, ok, want)
		}
	}
	for key, got := range f.held {
		if _, ok := f.s.held[key]; !ok {
			f.s.t.Errorf("%s: the follower has %s as %+v, and there is none", what, key, got)
		}
	}
}

// TestAFollowerHasWhatTheReadModelHasThroughEverything: writes, faults, a store that is emptied or put back, replays, lost signals. Whenever it is told so, it begins anew; and at each
// update, what it has is what the read model had at the update's position or later.
func TestAFollowerHasWhatTheReadModelHasThroughEverything(t *testing.T) {
	var resyncs, whole int
	for seed := range uint64(40) {
		onQuietShelf(t, func(s *shelf) {
			s = newShelf(s.region, seed)
			s.fill(30)
			f := &follower{s: s}
			defer f.end()
			again := func() {
				s.until(func() bool { return f.list() == nil })
				f.at = events.Position{}
				f.watch(query.WatchOptions{Heartbeat: time.Second})
			}
			again()
			var snapshots []*memstore.Snapshot
			for range 60 {
				s.mischief(&snapshots)
				for range s.random.IntN(4) {
					_, err := f.take()
					if errors.Is(err, projections.ErrResync) || errors.Is(err, projections.ErrUnavailable) || errors.Is(err, projections.ErrStoreUnreachable) {
						resyncs++
						s.store.Disarm()
						again()
						break
					}
					if err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
				}
			}
			s.store.Disarm()
			s.signals.Lose(false)
			last := s.set("last", thing{Rank: 1})
			s.settled(last)
			for sequence(f.at) < sequence(last) {
				if _, err := f.take(); errors.Is(err, projections.ErrResync) {
					resyncs++
					again()
				} else if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				} else {
					whole++
				}
			}
			f.same(fmt.Sprint("seed ", seed))
		})
	}
	if resyncs == 0 || whole == 0 {
		t.Errorf("%d resyncs, %d updates", resyncs, whole)
	}
}

// mischief does something.
func (s *shelf) mischief(snapshots *[]*memstore.Snapshot) {
	key := fmt.Sprintf("k%03d", s.random.IntN(40))
	switch n := s.random.IntN(40); {
	case n < 20:
		for range 1 + s.random.IntN(5) {
			s.set(key, thing{Rank: int64(s.stored), Name: key})
		}
	case n < 26:
		s.remove(key)
	case n < 30:
		pass(time.Duration(s.random.IntN(3_000)) * time.Millisecond)
	case n < 31:
		s.store.Flush()
	case n < 33:
		*snapshots = append(*snapshots, s.store.Snapshot())
	case n < 34:
		if len(*snapshots) > 0 {
			s.store.Restore((*snapshots)[s.random.IntN(len(*snapshots))])
		}
	case n < 35:
		_, _ = projections.RequestReplay(context.Background(), s.kv, "things", "test", time.Now())
	case n < 37:
		s.signals.Lose(s.random.IntN(2) == 0)
	default:
		op := []memstore.Op{memstore.OpChanges, memstore.OpLookup, memstore.OpHeaders, memstore.OpCommit}[s.random.IntN(4)]
		s.store.Fail(memstore.Fault{Op: op, Nth: 1 + s.random.IntN(5), After: s.random.IntN(2) == 0})
	}
}
