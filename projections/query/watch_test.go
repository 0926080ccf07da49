package query_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
)

func onQuietShelf(t *testing.T, test func(s *shelf)) {
	t.Helper()
	inRegionThat(t, func(r *region) { r.even, r.signals = 100*time.Millisecond, memstore.NewSignals() }, func(r *region) {
		p, err := things()
		if err != nil {
			t.Fatal(err)
		}
		r.project(p)
		test(newShelf(r, 1))
	})
}

func TestAWatchFromAPageTellsEverythingThatChangedSince(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(40)
		f := &follower{s: s}
		defer f.end()
		if err := f.list(); err != nil {
			t.Fatal(err)
		}
		f.same("listed")
		s.settled(s.set("k003", thing{Rank: 1}))
		s.settled(s.set("new", thing{Rank: 2}))
		s.settled(s.remove("k005"))
		s.settled(s.set("k007", thing{Rank: 3}))
		s.settled(s.set("passing", thing{Rank: 4}))
		s.settled(s.remove("k007")) // and its last state alone is told
		last := s.remove("passing")
		s.settled(last)
		f.watch(query.WatchOptions{})
		u, err := f.take()
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, c := range u.Changes {
			keys = append(keys, c.Key)
		}
		if got := strings.Join(keys, " "); got != "k003 new k005 k007 passing" { // in the order of the log
			t.Errorf("told of %s", got)
		}
		if u.Lag == nil || u.Lag.Events != 0 || !u.Position.Equal(last) {
			t.Errorf("the update is %+v", u)
		}
		f.same("watched")
	})
}

func TestAWatcherOfAnIdleReadModelIsToldAtOnce(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(10)
		f := &follower{s: s}
		defer f.end()
		f.watch(query.WatchOptions{}) // from now on
		if u, err := f.take(); err != nil || len(u.Changes) != 0 {
			t.Fatalf("%+v, %v", u, err)
		}
		for i := range 20 {
			pass(time.Duration(i*137) * time.Millisecond)
			told := make(chan time.Time, 1)
			go func() {
				if u, err := f.take(); err != nil || len(u.Changes) != 1 {
					t.Errorf("%+v, %v", u, err)
				}
				told <- time.Now()
			}()
			synctest.Wait()
			s.set("k001", thing{Rank: int64(i)})
			began := time.Now()
			if took := (<-told).Sub(began); took != 0 { // by the clock of the bubble: nobody slept
				t.Errorf("it was told after %s", took)
			}
		}
		s.signals.Lose(true)
		told := make(chan time.Time, 1)
		go func() {
			if u, err := f.take(); err != nil || len(u.Changes) != 1 {
				t.Errorf("%+v, %v", u, err)
			}
			told <- time.Now()
		}()
		synctest.Wait()
		s.set("k001", thing{Rank: 99})
		began := time.Now()
		if took := (<-told).Sub(began); took > 1100*time.Millisecond {
			t.Errorf("without a signal it was told after %s", took)
		}
	})
}

func TestAQuietWatchSaysWhereItStands(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(10)
		f := &follower{s: s}
		defer f.end()
		f.watch(query.WatchOptions{Heartbeat: 5 * time.Second})
		first, err := f.take()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		at := s.emit("Unheard", "k001", []byte("{}"))
		u, err := f.take()
		if took := time.Since(began); err != nil || took != 5*time.Second || len(u.Changes) > 0 || u.Token == first.Token || !u.Position.Equal(at) {
			t.Errorf("after %s it is %+v, %v", took, u, err)
		}
		calls := s.store.Calls(memstore.OpChanges)
		for range 100 {
			if _, err := f.take(); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.store.Calls(memstore.OpChanges) - calls; n > 0 {
			t.Errorf("500 quiet seconds cost %d looks at changes", n)
		}
	})
}

func TestAWatchOfSomeKeysTellsOfNoOther(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(20)
		f := &follower{s: s}
		defer f.end()
		if err := f.list(); err != nil {
			t.Fatal(err)
		}
		f.watch(query.WatchOptions{Prefix: "k00"})
		for i := range 20 {
			s.set(fmt.Sprintf("k%03d", i), thing{Rank: int64(i)})
		}
		last := s.set("k", thing{})
		f.until(last)
		if f.told != 10 {
			t.Errorf("told of %d changes", f.told)
		}
	})
}

// TestAWatchThatBreaksOffInTheMiddleOfManyChangesGoesOnWithoutAGap: the token moves on only when everything before it was told.
func TestAWatchThatBreaksOffInTheMiddleOfManyChangesGoesOnWithoutAGap(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(10)
		f := &follower{s: s}
		defer f.end()
		if err := f.list(); err != nil {
			t.Fatal(err)
		}
		var last events.Position
		for i := range 3_000 {
			last = s.set(fmt.Sprintf("k%04d", i%2_000), thing{Rank: int64(10_000 + i)})
		}
		s.settled(last)
		for range 200 {
			f.watch(query.WatchOptions{})
			for range 1 + s.random.IntN(4) {
				u, err := f.take()
				if err != nil {
					t.Fatal(err)
				}
				if len(u.Changes) > 250 {
					t.Fatalf("an update has %d changes", len(u.Changes))
				}
			}
			if sequence(f.at) >= sequence(last) {
				break
			}
		}
		f.watch(query.WatchOptions{})
		f.until(last)
		f.same("at the end")
	})
}

func TestAWatchWhoseGenerationIsReplacedIsToldToBeginAnew(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(10)
		f := &follower{s: s}
		defer f.end()
		if err := f.list(); err != nil {
			t.Fatal(err)
		}
		f.watch(query.WatchOptions{})
		if _, err := f.take(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s.rebuild("things")
		for {
			if _, err := f.take(); err != nil {
				wants(t, err, projections.ErrResync)
				break
			}
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it was told after %s", took)
		}
		f.watch(query.WatchOptions{}) // with the old token
		_, err := f.take()
		wants(t, err, projections.ErrResync)
		if err := f.list(); err != nil {
			t.Fatal(err)
		}
		last := s.set("k001", thing{Rank: 5})
		f.at = events.Position{}
		f.watch(query.WatchOptions{})
		f.until(last)
		f.same("in the new generation")
	})
}

// rebuild replays a projection and waits for the end.
func (r *region) rebuild(projection string) {
	r.t.Helper()
	asked, err := projections.RequestReplay(context.Background(), r.kv, projection, "test", time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	r.until(func() bool {
		now, _, err := projections.ReadJSON[projections.Replay](context.Background(), r.kv, projections.ReplayKey(projection))
		return err == nil && now.ID == asked.ID && now.State == projections.ReplayDone
	})
}

func TestAWatchThatBeginsWhileNothingAnswersSaysSo(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(10)
		f := &follower{s: s}
		if err := f.list(); err != nil {
			t.Fatal(err)
		}
		for _, o := range []query.WatchOptions{{}, {From: f.token}} {
			s.end()
			s.store.Fail(memstore.Fault{Op: memstore.OpHeaders})
			s.store.Fail(memstore.Fault{Op: memstore.OpChanges})
			wants(t, s.first("things", o), projections.ErrStoreUnreachable)
			s.store.Disarm()
			s.setStateOf("things", projections.Building)
			wants(t, s.first("things", o), projections.ErrUnavailable)
			s.setStateOf("things", projections.Live)
		}
		s.log.Unreachable(-1)
		wants(t, s.first("things", query.WatchOptions{From: f.token}), events.ErrUnreachable)
	})
}

func (r *region) setStateOf(projection string, s projections.PartitionState) {
	pointer, _, err := projections.ReadPointer(context.Background(), r.kv, projection)
	if err != nil {
		r.t.Fatal(err)
	}
	gen := pointer.Live(projection)
	for i := range gen.Partitions {
		r.store.EditHeader(gen, i, func(h *projections.Header) { h.State = s })
	}
}

func TestAWatchOutlastsAStoreThatDoesNotAnswerForAWhileAndSaysThatItKnowsNoLag(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(10)
		f := &follower{s: s}
		defer f.end()
		if err := f.list(); err != nil {
			t.Fatal(err)
		}
		f.watch(query.WatchOptions{Heartbeat: time.Second})
		if _, err := f.take(); err != nil {
			t.Fatal(err)
		}
		for _, op := range []memstore.Op{memstore.OpChanges, memstore.OpLookup, memstore.OpHeaders} {
			s.store.Fail(memstore.Fault{Op: op})
			last := s.set("k002", thing{Rank: 77})
			unknown := 0
			for began := time.Now(); time.Since(began) < 30*time.Second; {
				u, err := f.take()
				if err != nil {
					t.Fatal(err)
				}
				if u.Lag == nil {
					unknown++
				}
			}
			if unknown == 0 && op != memstore.OpHeaders {
				t.Errorf("while %s failed the lag was known", op)
			}
			s.store.Disarm()
			f.until(last)
			f.same("after an outage")
		}
		s.store.Fail(memstore.Fault{Op: memstore.OpChanges})
		s.set("k002", thing{Rank: 78})
		began := time.Now()
		for {
			if _, err := f.take(); err != nil {
				wants(t, err, projections.ErrStoreUnreachable)
				break
			}
		}
		if took := time.Since(began); took < time.Minute || took > 70*time.Second {
			t.Errorf("it gave up after %s", took)
		}
	})
}

func TestAWatchEndsWithItsContext(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(10)
		gone := errors.New("the caller went away")
		ctx, cancel := context.WithCancelCause(context.Background())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		var last error
		for _, err := range s.reader.Watch(ctx, "things", query.WatchOptions{}) {
			last = err
		}
		if !errors.Is(last, gone) {
			t.Errorf("it ended with %v", last)
		}
		for _, err := range s.reader.Watch(context.Background(), "things", query.WatchOptions{}) {
			if err != nil {
				t.Error(err)
			}
			break // and who does not want to hear more, hears no more
		}
	})
}

// TestAPointerThatMovedIsEnoughToEndAWatch: the projector that moved it may have died before it marked the old generation as retired.
func TestAPointerThatMovedIsEnoughToEndAWatch(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(10)
		f := &follower{s: s}
		defer f.end()
		f.watch(query.WatchOptions{Heartbeat: time.Second})
		if _, err := f.take(); err != nil {
			t.Fatal(err)
		}
		s.end()
		pointer, revision, err := projections.ReadPointer(context.Background(), s.kv, "things")
		if err != nil {
			t.Fatal(err)
		}
		pointer.Generation++
		if _, err := projections.WriteJSON(context.Background(), s.kv, projections.PointerKey("things"), pointer, revision); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for err == nil {
			_, err = f.take()
		}
		wants(t, err, projections.ErrResync)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it was told after %s", took)
		}
	})
}

// rewinding is a store that is put back once, between the reading of what changed and of the documents.
type rewinding struct {
	projections.Store
	rewind func()
}

func (r *rewinding) Lookup(
	ctx context.Context, g projections.Generation, def *projections.Definition, refs []projections.Ref,
) ([]projections.Header, []*projections.Document, error) {
	if r.rewind != nil {
		r.rewind()
		r.rewind = nil
	}
	return r.Store.Lookup(ctx, g, def, refs)
}

func TestADocumentOfAPartitionThatWentBackIsNotTakenForItsLatestState(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(10)
		before := s.store.Snapshot()
		f := &follower{s: s}
		defer f.end()
		if err := f.list(); err != nil {
			t.Fatal(err)
		}
		last := s.set("k003", thing{Rank: 12_345})
		s.settled(last)
		s.reader = query.New("us", &rewinding{Store: s.store, rewind: func() { s.store.Restore(before) }}, s.kv, query.NewHeads(s.asked)).Use(s.signals)
		f.watch(query.WatchOptions{Heartbeat: time.Second})
		if _, err := f.take(); err != nil { // it began in the middle of that
			wants(t, err, projections.ErrUnavailable)
			f.watch(query.WatchOptions{Heartbeat: time.Second})
		}
		f.until(last)
		f.same("after it went back")
	})
}
