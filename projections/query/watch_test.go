package query_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
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

func TestATokenThatIsTooOldSaysSo(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(10)
		f := &follower{s: s}
		defer f.end()
		if err := f.list(); err != nil {
			t.Fatal(err)
		}
		var last events.Position
		for i := range 2*projections.ChangeEntries + 100 {
			last = s.set("k001", thing{Rank: int64(10_000 + i)})
			synctest.Wait() // each is a commit of its own
		}
		s.settled(last)
		f.watch(query.WatchOptions{})
		_, err := f.take()
		wants(t, err, projections.ErrResync)
		if !strings.Contains(err.Error(), "List") {
			t.Errorf("it does not say what to do: %v", err)
		}
	})
}

// first returns the error that a watch begins with.
func (r *region) first(projection string, o query.WatchOptions) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, err := range r.reader.Watch(ctx, projection, o) {
		return err
	}
	return errors.New("the watch ended without a word")
}

func TestATokenThatIsNoneHereIsRefused(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(10)
		page, err := s.reader.List(context.Background(), "things", query.ListOptions{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.first("things", query.WatchOptions{From: page.Watch}); err != nil {
			t.Errorf("a good one: %v", err)
		}
		info, err := s.log.Info(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		token := func(region, projection, generation, position string) string {
			return query.Seal('w', region, projection, generation, position)
		}
		here := info.Head().String()
		for name, c := range map[string]struct {
			token string
			code  events.Code
		}{
			"no token":               {"yesterday", projections.ErrInvalidCursor},
			"a cursor":               {page.Next, projections.ErrInvalidCursor},
			"half a token":           {page.Watch[:len(page.Watch)/2], projections.ErrInvalidCursor},
			"no position":            {token("us", "things", "1", ""), projections.ErrInvalidCursor},
			"a malformed position":   {token("us", "things", "1", "here"), projections.ErrInvalidCursor},
			"two positions":          {token("us", "things", "1", "eu.abcd@1:3,"+here), projections.ErrInvalidCursor},
			"no generation":          {token("us", "things", "0", here), projections.ErrInvalidCursor},
			"a generation of words":  {token("us", "things", "first", here), projections.ErrInvalidCursor},
			"another projection":     {token("us", "airports", "1", here), projections.ErrInvalidCursor},
			"another region":         {token("eu", "things", "1", here), projections.ErrResync},
			"another generation":     {token("us", "things", "9", here), projections.ErrResync},
			"another history":        {token("us", "things", "1", "us.ffff@1:3"), projections.ErrResync},
			"another origin":         {token("us", "things", "1", "eu.7f3a11d2@1:3"), projections.ErrResync},
			"the future":             {token("us", "things", "1", "us.7f3a11d2@1:1000000"), projections.ErrResync},
			"a term that is to come": {token("us", "things", "1", "us.7f3a11d2@2:5"), projections.ErrResync},
		} {
			if err := s.first("things", query.WatchOptions{From: c.token}); !isCode(err, c.code) {
				t.Errorf("%s: %v, want %s", name, err, c.code)
			}
		}
		wants(t, s.first("nothing", query.WatchOptions{}), projections.ErrUnknownProjection)
		wants(t, s.first("nothing", query.WatchOptions{From: token("us", "nothing", "1", here)}), projections.ErrUnknownProjection)
		for _, h := range []time.Duration{-1, time.Millisecond, time.Hour} {
			wants(t, s.first("things", query.WatchOptions{Heartbeat: h}), projections.ErrInvalidQuery)
		}
		s.log.Truncate(3) // the log lost its end, and the token is of there
		pass(time.Second)
		wants(t, s.first("things", query.WatchOptions{From: page.Watch}), projections.ErrResync)
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
