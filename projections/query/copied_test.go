package query_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/storetest"
)

// copied makes a copy of the things, and then changes every one of them in the live read model. It returns what the copy has.
func (s *shelf) copied(name string) (made projections.Copy, has map[string]thing) {
	s.t.Helper()
	made = storetest.MakeCopy(s.t, s.store, s.kv, "things", name)
	has = map[string]thing{}
	for key, v := range s.held {
		has[key] = v
		s.set(key, thing{Rank: v.Rank + 1_000_000, Name: "later"})
	}
	s.settled(s.set("new", thing{Rank: 1}))
	pass(time.Second) // so that the log's head is known
	return made, has
}

// ranked puts n things with small ranks on the shelf.
func (s *shelf) ranked(n int) {
	s.t.Helper()
	var last events.Position
	for i := range n {
		last = s.set(fmt.Sprintf("k%03d", i), thing{Rank: int64(i * 7 % 20)})
	}
	s.settled(last)
}

// keysOf are the keys of a whole listing.
func (s *shelf) keysOf(o query.ListOptions) (keys []string) {
	s.t.Helper()
	for {
		page, err := s.reader.List(context.Background(), "things", o)
		if err != nil {
			s.t.Fatal(err)
		}
		if page.At != o.At || (page.Watch == "") != (o.At != "") {
			s.t.Fatalf("the page of %q is %+v", o.At, page)
		}
		for _, item := range page.Items {
			keys = append(keys, item.Key)
		}
		if o.After = page.Next; o.After == "" {
			return keys
		}
	}
}

func TestACopyAnswersWhatItWasWhileTheLiveReadModelGoesOn(t *testing.T) {
	onShelf(t, 1, func(s *shelf) {
		s.ranked(40)
		ctx := context.Background()
		made, has := s.copied("before")
		at := query.Options{At: "before"}
		var keys []string
		for key, v := range has {
			keys = append(keys, key)
			a, err := s.reader.Get(ctx, "things", key, at)
			if rank, _ := a.Document.Field("rank"); err != nil || rank != fmt.Sprint(v.Rank) || a.At != "before" || a.Generation != made.Generation || a.Position.String() != made.Position {
				t.Fatalf("%s is %+v, %v", key, a, err)
			}
			if a.Lag == nil || a.Lag.Events == 0 {
				t.Fatalf("the lag is %+v", a.Lag)
			}
			now, err := s.reader.Get(ctx, "things", key, query.Options{})
			if rank, _ := now.Document.Field("rank"); err != nil || rank != fmt.Sprint(v.Rank+1_000_000) || now.At != "" || now.ETag == a.ETag {
				t.Fatalf("live, %s is %+v, %v", key, now, err)
			}
		}
		slices.Sort(keys)

		a, err := s.reader.Get(ctx, "things", "new", at)
		wants(t, err, projections.ErrNoDocument)
		if absence, ok := errors.AsType[*query.Absence](err); !ok || absence.Answer.At != "before" || a.Position.String() != made.Position || !strings.Contains(err.Error(), "the copy before of things") {
			t.Errorf("an absent one is %+v, %v", a, err)
		}
		several, err := s.reader.Lookup(ctx, "things", []string{keys[0], "new"}, at)
		if err != nil || several.At != "before" || several.Items[0].Missing || !several.Items[1].Missing {
			t.Errorf("several are %+v, %v", several, err)
		}
		n, err := s.reader.Count(ctx, "things", query.CountOptions{Options: at})
		if err != nil || n.At != "before" || n.Count != uint64(len(keys)) || n.Count != made.Documents {
			t.Errorf("the count is %+v, %v", n, err)
		}
		if got := s.keysOf(query.ListOptions{Options: at, Limit: 7}); !slices.Equal(got, keys) {
			t.Errorf("listed are %q, want %q", got, keys)
		}
		text, err := json.Marshal(n)
		if err != nil || !strings.Contains(string(text), fmt.Sprintf(`"generation":%d,"at":"before","etag"`, made.Generation)) {
			t.Errorf("as JSON it is %s, %v", text, err)
		}
	})
}

func TestACopyHasItsOwnIndexes(t *testing.T) {
	onShelf(t, 2, func(s *shelf) {
		s.ranked(40)
		s.emit("Set", "k001", []byte(`{"rank":666}`)) // it parks
		s.settled(s.set("k002", s.held["k002"]))
		_, has := s.copied("before")
		byRank := make([]string, 0, len(has))
		for key := range has {
			byRank = append(byRank, key)
		}
		slices.SortFunc(byRank, func(a, b string) int {
			if has[a].Rank != has[b].Rank {
				return int(has[a].Rank - has[b].Rank)
			}
			return strings.Compare(a, b)
		})
		to := fmt.Sprint(500_000)
		below := query.Range{Index: "rank", To: &to}
		if got := s.keysOf(query.ListOptions{Options: query.Options{At: "before"}, Range: below, Limit: 7}); !slices.Equal(got, byRank) {
			t.Errorf("by rank they are %q, want %q", got, byRank)
		}
		slices.Reverse(byRank)
		if got := s.keysOf(query.ListOptions{Options: query.Options{At: "before"}, Range: below, Limit: 7, Descending: true}); !slices.Equal(got, byRank) {
			t.Errorf("backwards they are %q, want %q", got, byRank)
		}
		ctx := context.Background()
		for at, want := range map[string]uint64{"before": uint64(len(has)), "": 2} { // live: the new one, and the parked one
			n, err := s.reader.Count(ctx, "things", query.CountOptions{Options: query.Options{At: at}, Range: below})
			if err != nil || n.Count != want {
				t.Errorf("of %q there are %+v, %v, want %d", at, n, err, want)
			}
		}
		page, err := s.reader.Parked(ctx, "things", query.ParkedOptions{Options: query.Options{At: "before"}})
		if err != nil || page.At != "before" || page.Parked != 1 || len(page.Items) != 1 || page.Items[0].Key != "k001" {
			t.Errorf("parked are %+v, %v", page, err)
		}

		// An index that only the live read model has is unknown to the copy.
		pointer, revision, err := projections.ReadPointer(ctx, s.kv, "things")
		if err != nil {
			t.Fatal(err)
		}
		pointer.Copies[0].Indexes = nil
		if _, err := projections.WriteJSON(ctx, s.kv, projections.PointerKey("things"), pointer, revision); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		_, err = s.reader.Count(ctx, "things", query.CountOptions{Options: query.Options{At: "before"}, Range: below})
		wants(t, err, projections.ErrUnknownIndex)
	})
}

// everyRead asks in every way.
func (s *shelf) everyRead(projection string, o query.Options) map[string]error {
	ctx := context.Background()
	errs := map[string]error{}
	_, errs["get"] = s.reader.Get(ctx, projection, "k001", o)
	_, errs["get of none"] = s.reader.Get(ctx, projection, "none", o)
	_, errs["lookup"] = s.reader.Lookup(ctx, projection, []string{"k001", "none"}, o)
	_, errs["list"] = s.reader.List(ctx, projection, query.ListOptions{Options: o})
	_, errs["list by an index"] = s.reader.List(ctx, projection, query.ListOptions{Options: o, Range: query.Range{Index: "rank"}})
	_, errs["count"] = s.reader.Count(ctx, projection, query.CountOptions{Options: o})
	_, errs["count of an index"] = s.reader.Count(ctx, projection, query.CountOptions{Options: o, Range: query.Range{Index: "rank"}})
	_, errs["parked"] = s.reader.Parked(ctx, projection, query.ParkedOptions{Options: o})
	return errs
}

func TestACopyThatIsNotThereIsUnknown(t *testing.T) {
	onShelf(t, 3, func(s *shelf) {
		s.fill(5)
		storetest.MakeCopy(t, s.store, s.kv, "things", "before")
		for _, name := range []string{"after", "Before", "before ", "../before", "7", strings.Repeat("x", 500), "\xff"} {
			for how, err := range s.everyRead("things", query.Options{At: name}) {
				if !isCode(err, projections.ErrUnknownCopy) || !strings.Contains(err.Error(), "tidemark replay list things") {
					t.Errorf("%s of %.20q says %v", how, name, err)
				}
			}
		}
		for how, err := range s.everyRead("nothing", query.Options{At: "before"}) {
			if !isCode(err, projections.ErrUnknownProjection) {
				t.Errorf("%s says %v", how, err)
			}
		}
		// One that is made now is there now: nobody remembers that it was not.
		storetest.MakeCopy(t, s.store, s.kv, "things", "after")
		if _, err := s.reader.Get(context.Background(), "things", "k001", query.Options{At: "after"}); err != nil {
			t.Error(err)
		}
	})
}

func TestACopyThatIsDroppedIsNeverSaidToHaveNoDocument(t *testing.T) {
	onShelf(t, 4, func(s *shelf) {
		s.fill(20)
		at := query.Options{At: "before"}
		storetest.MakeCopy(t, s.store, s.kv, "things", "before")
		page, err := s.reader.List(context.Background(), "things", query.ListOptions{Options: at, Limit: 3})
		if err != nil || page.Next == "" {
			t.Fatalf("%+v, %v", page, err)
		}
		storetest.DropCopy(t, s.store, s.kv, "things", "before") // while the reader knows where it was
		_, err = s.reader.List(context.Background(), "things", query.ListOptions{Options: at, Limit: 3, After: page.Next})
		wants(t, err, projections.ErrUnknownCopy)
		for how, err := range s.everyRead("things", at) {
			if !isCode(err, projections.ErrUnknownCopy) {
				t.Errorf("%s says %v", how, err)
			}
		}

		// Another one of the name is another one.
		again := storetest.MakeCopy(t, s.store, s.kv, "things", "before")
		a, err := s.reader.Get(context.Background(), "things", "k001", at)
		if err != nil || a.Generation != again.Generation {
			t.Errorf("%+v, %v", a, err)
		}
		_, err = s.reader.List(context.Background(), "things", query.ListOptions{Options: at, Limit: 3, After: page.Next})
		wants(t, err, projections.ErrResync)
		storetest.DropCopy(t, s.store, s.kv, "things", "before")
		third := storetest.MakeCopy(t, s.store, s.kv, "things", "before") // nobody has seen that it was away
		if a, err = s.reader.Get(context.Background(), "things", "k001", at); err != nil || a.Generation != third.Generation {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

func TestACopyThatTheStoreLostSaysSo(t *testing.T) {
	onShelf(t, 5, func(s *shelf) {
		s.fill(20)
		c := storetest.MakeCopy(t, s.store, s.kv, "things", "before")
		gen := projections.Generation{Projection: "things", Number: c.Generation, Partitions: c.Partitions}
		for i := range gen.Partitions {
			s.store.LoseHeader(gen, i)
		}
		for how, err := range s.everyRead("things", query.Options{At: "before"}) {
			if !isCode(err, projections.ErrUnavailable) || !strings.Contains(err.Error(), "the copy before of things") {
				t.Errorf("%s says %v", how, err)
			}
		}
		if _, err := s.reader.Get(context.Background(), "things", "k001", query.Options{}); err != nil {
			t.Error(err)
		}
	})
}

func TestACursorHoldsForItsCopyAlone(t *testing.T) {
	onShelf(t, 6, func(s *shelf) {
		s.fill(20)
		ctx := context.Background()
		cursors := map[string]string{}
		for _, at := range []string{"", "a", "b"} {
			if at != "" {
				storetest.MakeCopy(t, s.store, s.kv, "things", at)
			}
			page, err := s.reader.List(ctx, "things", query.ListOptions{Options: query.Options{At: at}, Limit: 3})
			if err != nil {
				t.Fatal(err)
			}
			cursors[at] = page.Next
		}
		for of, cursor := range cursors {
			for with := range cursors {
				_, err := s.reader.List(ctx, "things", query.ListOptions{Options: query.Options{At: with}, Limit: 3, After: cursor})
				if of == with {
					if err != nil {
						t.Errorf("the cursor of %q: %v", of, err)
					}
				} else if !isCode(err, projections.ErrInvalidCursor) {
					t.Errorf("the cursor of %q with %q: %v", of, with, err)
				}
			}
		}

		// In another region a copy of the name, and by chance of the number, is at another position: the listing would mix two.
		pointer, revision, err := projections.ReadPointer(ctx, s.kv, "things")
		if err != nil {
			t.Fatal(err)
		}
		pointer.Copies[0].Position = "us.7f3a11d2@1:3"
		if _, err := projections.WriteJSON(ctx, s.kv, projections.PointerKey("things"), pointer, revision); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		_, err = s.reader.List(ctx, "things", query.ListOptions{Options: query.Options{At: "a"}, Limit: 3, After: cursors["a"]})
		wants(t, err, projections.ErrResync)
	})
}

func TestACopyIsNeverWaitedFor(t *testing.T) {
	onShelf(t, 7, func(s *shelf) {
		s.fill(5)
		earlier := s.set("k001", thing{Rank: 5})
		s.settled(earlier)
		made, _ := s.copied("before")
		info, err := s.log.Info(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for how, err := range s.everyRead("things", query.Options{At: "before", AtLeast: earlier}) {
			if err != nil && how != "get of none" {
				t.Errorf("%s says %v", how, err)
			}
		}
		beyond := info.Position(info.Last + 1_000)
		for _, wanted := range []events.Position{info.Head(), beyond} {
			for how, err := range s.everyRead("things", query.Options{At: "before", AtLeast: wanted, Wait: time.Minute}) {
				behind, ok := errors.AsType[*query.Behind](err)
				if !isCode(err, projections.ErrNotReached) || !ok || behind.Position.String() != made.Position || !strings.Contains(err.Error(), "a copy does not move") {
					t.Errorf("%s says %v", how, err)
				}
			}
		}
		foreign, err := events.ParsePosition("us.ffff@1:1")
		if err != nil {
			t.Fatal(err)
		}
		for how, err := range s.everyRead("things", query.Options{At: "before", AtLeast: foreign}) {
			if !isCode(err, events.ErrLostPosition) {
				t.Errorf("%s says %v", how, err)
			}
		}
		for how, err := range s.everyRead("things", query.Options{At: "before", Strong: true}) {
			if !isCode(err, projections.ErrInvalidQuery) || !strings.Contains(err.Error(), "is at "+made.Position) {
				t.Errorf("%s says %v", how, err)
			}
		}
		if waited := time.Since(begun); waited > 0 {
			t.Errorf("it waited %s", waited)
		}
		if (query.Options{At: "before", AtLeast: beyond}).Waits() {
			t.Error("a read of a copy says that it may wait")
		}
	})
}

func TestACopyIsNeitherWatchedNorComparedByMarks(t *testing.T) {
	onShelf(t, 8, func(s *shelf) {
		s.fill(5)
		storetest.MakeCopy(t, s.store, s.kv, "things", "before")
		for _, name := range []string{"before", "none", strings.Repeat("x", 500)} {
			wants(t, s.first("things", query.WatchOptions{At: name}), projections.ErrInvalidQuery)
		}
		_, err := s.reader.Marks(context.Background(), "things", query.MarksOptions{Options: query.Options{At: "before"}})
		wants(t, err, projections.ErrInvalidQuery)
	})
}

func TestTheOverviewShowsCopiesAndTheGenerationThatIsKept(t *testing.T) {
	onShelf(t, 9, func(s *shelf) {
		s.fill(5)
		ctx := context.Background()
		made := storetest.MakeCopy(t, s.store, s.kv, "things", "before")
		until := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		pointer, revision, err := projections.ReadPointer(ctx, s.kv, "things")
		if err != nil {
			t.Fatal(err)
		}
		pointer.Copies[0].Until = &until
		pointer.Previous = &projections.Built{Retiree: projections.Retiree{Generation: 7, Partitions: 4}, Version: 3, Until: &until}
		if _, err := projections.WriteJSON(ctx, s.kv, projections.PointerKey("things"), pointer, revision); err != nil {
			t.Fatal(err)
		}
		o, err := s.reader.Overview(ctx)
		if err != nil || len(o.Projections) != 2 || o.Projections[0].Copies != nil || o.Projections[0].Previous != nil {
			t.Fatalf("%+v, %v", o, err)
		}
		m := o.Projections[1]
		want := query.CopyStatus{
			Name: "before", Position: made.Position, Generation: made.Generation, Version: 1, Documents: made.Documents, Digest: made.Digest, Made: made.Made, Until: &until,
		}
		if len(m.Copies) != 1 || m.Copies[0].Until == nil || !m.Copies[0].Until.Equal(until) || m.Previous == nil || m.Previous.Generation != 7 || m.Previous.Version != 3 || m.Previous.Until == nil {
			t.Fatalf("the overview says %+v", m)
		}
		if want.Until = m.Copies[0].Until; m.Copies[0] != want {
			t.Errorf("the copy is %+v, want %+v", m.Copies[0], want)
		}
	})
}
