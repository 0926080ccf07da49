package query_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
)

// listing returns all keys of a listing in pages of a size.
func (r *region) listing(limit int) []string {
	r.t.Helper()
	var keys []string
	for after := ""; ; {
		page, err := r.reader.List(context.Background(), "airports", query.ListOptions{Limit: limit, After: after})
		if err != nil {
			r.t.Fatal(err)
		}
		if len(page.Items) > limit {
			r.t.Fatalf("a page of %d has %d items", limit, len(page.Items))
		}
		for _, item := range page.Items {
			keys = append(keys, item.Key)
		}
		if after = page.Next; after == "" {
			return keys
		}
	}
}

func TestAListingIsCompleteAndInOrderWhateverThePagesAre(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(25)
		for _, limit := range []int{1, 2, 7, 24, 25, 26, 1_000} {
			keys := r.listing(limit)
			if len(keys) != 25 {
				t.Errorf("in pages of %d there are %d keys", limit, len(keys))
			}
			for i, key := range keys {
				if key != fmt.Sprintf("A%03d", i) {
					t.Errorf("in pages of %d key %d is %s", limit, i, key)
				}
			}
		}
	})
}

func TestAListingOfNothingIsEmpty(t *testing.T) {
	inRegion(t, func(r *region) {
		info, err := r.log.Info(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		r.applied(info.Head())
		page, err := r.reader.List(context.Background(), "airports", query.ListOptions{})
		if err != nil || page.Items == nil || len(page.Items) != 0 || page.Next != "" {
			t.Errorf("the page is %+v, %v", page, err)
		}
	})
}

// Keys that are there all the time are listed once each, while others come. A listing whose generation is replaced is told to begin anew.
func TestAListingIsCompleteWhileOthersWrite(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(40)
		whole, resyncs := 0, 0
		for round := range 60 {
			if round%5 == 0 {
				if _, err := projections.RequestReplay(context.Background(), r.kv, "airports", "test", time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			if r.listWhileOthersWrite(round) {
				whole++
			} else {
				resyncs++
			}
			r.until(func() bool {
				now, _, err := projections.ReadJSON[projections.Replay](context.Background(), r.kv, projections.ReplayKey("airports"))
				return err == nil && !now.Running()
			})
		}
		if whole == 0 || resyncs == 0 {
			t.Errorf("%d listings were whole, and %d were told to begin anew", whole, resyncs)
		}
	})
}

// listWhileOthersWrite lists everything, and reports whether the listing came to its end: it does, unless its generation is replaced.
func (r *region) listWhileOthersWrite(round int) bool {
	r.t.Helper()
	seen := map[string]int{}
	last, generation, watch := "", uint32(0), ""
	for after := ""; ; {
		page, err := r.reader.List(context.Background(), "airports", query.ListOptions{Limit: 3, After: after})
		if errors.Is(err, projections.ErrResync) {
			if now := r.live(); now.Number == generation || generation == 0 || len(page.Items) > 0 {
				r.t.Fatalf("generation %d is live, and a listing of %d was told %v with %+v", now.Number, generation, err, page)
			}
			return false
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if generation != 0 && (page.Generation != generation || page.Watch != watch) {
			r.t.Fatalf("a listing of generation %d goes on in %d; its tokens are %s and %s", generation, page.Generation, watch, page.Watch)
		}
		generation, watch = page.Generation, page.Watch
		for _, item := range page.Items {
			if item.Key <= last {
				r.t.Fatalf("%s comes after %s", item.Key, last)
			}
			last = item.Key
			seen[item.Key]++
		}
		r.depart(fmt.Sprintf("A%03d", (round*7)%40))
		r.depart(fmt.Sprintf("B%03d", round))
		pass(time.Millisecond)
		if after = page.Next; after == "" {
			break
		}
	}
	for i := range 40 {
		if key := fmt.Sprintf("A%03d", i); seen[key] != 1 {
			r.t.Fatalf("in round %d %s is listed %d times", round, key, seen[key])
		}
	}
	return true
}

func TestACursorOfAnotherQueryOrOfNoneIsRefused(t *testing.T) {
	inRegion(t, func(r *region) {
		routes, err := flights.Routes()
		if err != nil {
			t.Fatal(err)
		}
		r.project(routes)
		r.departures(5)
		ctx := context.Background()
		page, err := r.reader.List(ctx, "airports", query.ListOptions{Limit: 2})
		if err != nil || page.Next == "" {
			t.Fatalf("the page is %+v, %v", page, err)
		}
		encoded := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
		edited := []byte(page.Next)
		for i := range edited { // no character can be changed
			was := edited[i]
			if edited[i] = 'A'; was == 'A' {
				edited[i] = 'B'
			}
			_, err := r.reader.List(ctx, "airports", query.ListOptions{After: string(edited)})
			wants(t, err, projections.ErrInvalidCursor)
			edited[i] = was
		}
		for _, cursor := range []string{
			"*", encoded("airports"), encoded("airports\x00A"), page.Next[1:], page.Next + "A", page.Next[:len(page.Next)-1], page.Watch, strings.Repeat("A", 100_000),
			query.Seal('c'), query.Seal('c', "airports", query.Fingerprint("airports"), "1", "", "", ""), query.Seal('c', "airports", query.Fingerprint("airports"), "0", "", "A", ""),
			query.Seal('c', "airports", query.Fingerprint("airports"), "1", "", "\xff", ""), query.Seal('c', "airports", query.Fingerprint("airports"), "-1", "", "A", ""),
		} {
			page, err := r.reader.List(ctx, "airports", query.ListOptions{After: cursor})
			wants(t, err, projections.ErrInvalidCursor)
			if len(page.Items) > 0 {
				t.Errorf("the page is %+v", page)
			}
		}
		_, err = r.reader.List(ctx, "routes", query.ListOptions{After: page.Next})
		wants(t, err, projections.ErrInvalidCursor)
		_, err = r.reader.List(ctx, "airports", query.ListOptions{After: query.Seal('c', "airports", query.Fingerprint("airports"), "7", "", "A", "")})
		wants(t, err, projections.ErrResync)
		for _, limit := range []int{1, 3} { // a page of another size is of the same listing
			if next, err := r.reader.List(ctx, "airports", query.ListOptions{Limit: limit, After: page.Next}); err != nil || next.Items[0].Key != "A002" {
				t.Errorf("%+v, %v", next, err)
			}
		}
	})
}

func TestAParkedDocumentSaysSoWhereverItIsAnswered(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(2)
		receipt, err := r.log.Append(context.Background(), events.Batch{Events: []events.Event{{
			ID: "bad", Source: "urn:test", Type: flights.Landed, Entity: events.Entity{Type: flights.AirportType, ID: "A001"}, Data: []byte(`{"delay":"much"}`),
		}}})
		if err != nil {
			t.Fatal(err)
		}
		a, err := r.get("A001", query.Options{AtLeast: receipt.Position})
		if err != nil || a.Parked == "" || a.Changed != receipt.Position.String() {
			t.Errorf("the answer is %+v, %v", a, err)
		}
		page, err := r.reader.List(context.Background(), "airports", query.ListOptions{})
		if err != nil || page.Items[1].Parked != a.Parked || page.Items[0].Parked != "" {
			t.Errorf("the page is %+v, %v", page, err)
		}
	})
}

func TestADocumentAsJSONIsAnObjectInTheOrderOfItsFields(t *testing.T) {
	fields := []projections.Field{{Name: "z", Kind: projections.KindInt}, {Name: "a", Kind: projections.KindString}, {Name: "m", Kind: projections.KindBool}}
	d := query.Document{Fields: fields, Values: []string{"-9223372036854775808", "<a> \"q\" \u2028 ö\x00", "true"}}
	text, err := json.Marshal(map[string]any{"d": d})
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		D struct {
			Z json.Number
			A string
			M bool
		}
	}
	if err := json.Unmarshal(text, &back); err != nil || back.D.Z != "-9223372036854775808" || back.D.A != d.Values[1] || !back.D.M {
		t.Errorf("%s is read as %+v, %v", text, back, err)
	}
	own, err := d.MarshalJSON()
	if err != nil || own[1] != '"' || own[2] != 'z' {
		t.Errorf("it is %s, %v", own, err)
	}
	if text, err := json.Marshal(query.Document{Fields: fields}); err != nil || string(text) != "null" {
		t.Errorf("without values it is %s, %v", text, err)
	}
	if _, ok := d.Field("b"); ok {
		t.Error("it has a field that it has not")
	}
	if _, ok := (query.Document{Fields: fields}).Field("z"); ok {
		t.Error("without values it has a field")
	}
	edited := query.Document{Fields: fields, Values: []string{"many", "", "perhaps"}}
	if text, err := json.Marshal(edited); err == nil {
		t.Errorf("values that are not of their kinds become %s", text)
	}
}

func TestAListAndASetAreArraysInJSON(t *testing.T) {
	fields := []projections.Field{{Name: "l", Kind: projections.KindList}, {Name: "s", Kind: projections.KindSet}}
	d := query.Document{Fields: fields, Values: []string{`["b",1,"<\u0000>"]`, `[]`}}
	if text, err := d.MarshalJSON(); err != nil || string(text) != `{"l":["b",1,"<\u0000>"],"s":[]}` {
		t.Errorf("it is %s, %v", text, err)
	}
	for _, edited := range [][]string{{`[1`, `[]`}, {`1`, `[]`}, {`[[]]`, `[]`}, {`[]`, `[2,1]`}} {
		d.Values = edited
		if text, err := json.Marshal(d); err == nil {
			t.Errorf("what somebody wrote by hand becomes %s", text)
		}
	}
}

func TestAnOverviewShowsEveryStateAndSaysUnknownOfWhatDoesNotAnswer(t *testing.T) {
	inRegion(t, func(r *region) {
		routes, err := flights.Routes()
		if err != nil {
			t.Fatal(err)
		}
		r.project(routes)
		at := r.departures(6)
		r.log.StoreRaw("evt.us.airport.A001", nil, []byte("not an event"))
		info, err := r.log.Info(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		r.applied(info.Head())
		see := func() query.ModelStatus {
			t.Helper()
			pass(time.Second)
			o, err := r.reader.Overview(context.Background())
			if err != nil || len(o.Projections) != 2 || o.Projections[0].Name != "airports" || o.Projections[1].Name != "routes" {
				t.Fatalf("the overview is %+v, %v", o, err)
			}
			return o.Projections[0]
		}
		s := see()
		if s.State != "live" || s.Documents != 6 || s.Unrouted != 1 || s.Lag == nil || s.Lag.Events != 0 || s.Digest == "" || !s.Position.Equal(info.Head()) ||
			s.Projector != projections.ProjectorFollowing || s.Generation != 1 || s.Version != 1 || s.Partitions != 4 || s.Replay != nil {
			t.Errorf("live: %+v", s)
		}
		r.replay()
		if s = see(); s.Replay == nil || s.Replay.State != projections.ReplayDone || s.Generation != 2 {
			t.Errorf("replayed: %+v", s)
		}
		r.end()
		gen := r.live()
		r.store.EditHeader(gen, 1, func(h *projections.Header) { h.Checkpoint = at })
		if s = see(); s.Digest != "" || !s.Position.Equal(at) || s.Lag == nil || s.Lag.Events != 1 {
			t.Errorf("uneven: %+v", s)
		}
		r.setState(projections.Building)
		if s = see(); s.State != "building" {
			t.Errorf("building: %+v", s)
		}
		r.store.LoseHeader(gen, 2)
		if s = see(); s.State != "mixed" || s.Lag != nil {
			t.Errorf("mixed: %+v", s)
		}
		r.store.Flush()
		if s = see(); s.State != "empty" || s.Lag != nil || s.Digest != "" || s.Documents != 0 {
			t.Errorf("empty: %+v", s)
		}
		r.store.Fail(memstore.Fault{Op: memstore.OpHeaders})
		if s = see(); s.State != "unknown" || s.Lag != nil || s.Digest != "" || s.Projector != projections.ProjectorFollowing {
			t.Errorf("unknown: %+v", s)
		}
		r.kv.Fail(memstore.Fault{Op: memstore.OpKVKeys})
		if _, err := r.reader.Overview(context.Background()); !errors.Is(err, events.ErrUnreachable) {
			t.Errorf("got %v", err)
		}
		r.kv.Disarm()
		r.kv.Fail(memstore.Fault{Op: memstore.OpKVGet})
		if _, err := r.reader.Overview(context.Background()); !errors.Is(err, events.ErrUnreachable) {
			t.Errorf("got %v", err)
		}
	})
}

func TestARegionWithoutProjectionsHasAnEmptyOverview(t *testing.T) {
	inRegion(t, func(r *region) {
		r.end()
		empty := query.New("us", memstore.New(), memstore.NewKV(), query.NewHeads(r.log))
		o, err := empty.Overview(context.Background())
		if err != nil || o.Projections == nil || len(o.Projections) != 0 || o.Head.IsZero() {
			t.Errorf("the overview is %+v, %v", o, err)
		}
		names, err := empty.Projections(context.Background())
		if err != nil || len(names) != 0 {
			t.Errorf("the projections are %v, %v", names, err)
		}
	})
}

// TestAnAnswerWritesItselfAsJSONLikeEverybodyElse: but for what HTML does not like, which is left as it is.
func TestAnAnswerWritesItselfAsJSONLikeEverybodyElse(t *testing.T) {
	fields := []projections.Field{{Name: "n", Kind: projections.KindInt}, {Name: "s", Kind: projections.KindString}, {Name: "b", Kind: projections.KindBool}}
	at, err := events.ParsePosition("us.7f3a@1:1042")
	if err != nil {
		t.Fatal(err)
	}
	lag := &query.Lag{Events: 1 << 60, At: time.Date(2026, 3, 1, 12, 0, 0, 120_000_000, time.UTC)}
	for i, a := range []query.Answer{
		{},
		{Projection: "airports", Key: "ORD", Region: "us", Document: query.Document{Fields: fields, Values: []string{"-5", "x", "true"}}, Standing: query.Standing{Position: at, Lag: lag, Generation: 7, ETag: "7-ab"}},
		{Key: "a\"b\\c\x00\n\u2028ü<>&\x7f", Document: query.Document{Fields: fields, Values: []string{"0", "\xff\t\"", "false"}}, Parked: "us.7f3a@1:9 it's \"bad\""},
		{Standing: query.Standing{Position: at, Generation: 8, At: "before", ETag: "8-ab"}},
		{Standing: query.Standing{Lag: &query.Lag{At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}},
	} {
		var want strings.Builder
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(a); err != nil {
			t.Fatal(err)
		}
		got, err := a.AppendJSON(nil)
		if err != nil || string(got)+"\n" != want.String() {
			t.Errorf("answer %d is\n%s, %v, want\n%s", i, got, err, want.String())
		}
	}
}
