package queryservice_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// watcher is one that asks for a watch as any NATS client would.
type watcher struct {
	t   testing.TB
	nc  *nats.Conn
	sub *nats.Subscription
}

func (f *fixture) watch(t testing.TB, body string, headers ...string) *watcher {
	t.Helper()
	nc := f.connect(t)
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	m := &nats.Msg{Subject: "q.us.watch", Reply: inbox, Data: []byte(body), Header: nats.Header{}}
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	if err := nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	return &watcher{t, nc, sub}
}

func (w *watcher) next() *nats.Msg {
	w.t.Helper()
	m, err := w.sub.NextMsg(patience)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// update takes an update, and asks for the next one.
func (w *watcher) update() query.Update {
	w.t.Helper()
	m := w.next()
	var u query.Update
	if err := json.Unmarshal(m.Data, &u); err != nil || u.Region != "us" || m.Reply == "" || m.Header.Get("Tidemark-Region") != "us" || m.Header.Get("Tidemark-Position") != u.Position.String() {
		w.t.Fatalf("the update is %s with %v, %v", m.Data, m.Header, err)
	}
	if err := m.Respond(nil); err != nil {
		w.t.Fatal(err)
	}
	return u
}

// until takes updates until one has changes.
func (w *watcher) until() query.Update {
	w.t.Helper()
	for range 1_000 {
		if u := w.update(); len(u.Changes) > 0 {
			return u
		}
	}
	w.t.Fatal("nothing changes")
	return query.Update{}
}

func TestAWatchTellsWhatChangesAndGoesOnFromItsToken(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{})
	w := f.watch(t, `{"projection":"airports","heartbeat":"100ms"}`)
	begun := w.update()
	if len(begun.Changes) != 0 || begun.Token == "" {
		t.Fatalf("the first update is %+v", begun)
	}
	f.depart(t, "ORD")
	u := w.until()
	if departures, _ := u.Changes[0].Document.Field("departures"); u.Changes[0].Key != "ORD" || departures != "1" || u.Changes[0].Changed == "" {
		t.Errorf("the update is %+v", u)
	}
	for range 3 { // nothing changes
		if u := w.update(); len(u.Changes) != 0 {
			t.Errorf("the update is %+v", u)
		}
	}
	f.depart(t, "JFK")
	w.until()
	// Another one begins where the first one was.
	for token, keys := range map[string]int{begun.Token: 2, u.Token: 1} {
		again := f.watch(t, fmt.Sprintf(`{"projection":"airports","token":%q}`, token))
		if got := again.until(); len(got.Changes) != keys {
			t.Errorf("it goes on with %+v", got)
		}
	}
	some := f.watch(t, fmt.Sprintf(`{"projection":"airports","token":%q,"prefix":"J"}`, begun.Token))
	if got := some.until(); len(got.Changes) != 1 || got.Changes[0].Key != "JFK" {
		t.Errorf("with a prefix: %+v", got)
	}
}

func TestAWatchThatCannotBeIsRefusedOrEndsWithAReason(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{})
	for body, code := range map[string]events.Code{
		`{"projection":"ships"}`:                       projections.ErrUnknownProjection,
		`{"projection":"airports","token":"x"}`:        projections.ErrInvalidCursor,
		`{"projection":"airports","heartbeat":"soon"}`: projections.ErrInvalidQuery,
		`{"projection":"airports","heartbeat":"1ms"}`:  projections.ErrInvalidQuery,
		`{"projection":"airports","heartbeat":"2h"}`:   projections.ErrInvalidQuery,
		`{"projection":"airports","from":"x"}`:         projections.ErrInvalidQuery,
		`{"projection":"airports","token":""}`:         projections.ErrInvalidCursor,
		`watch`:                                        projections.ErrInvalidQuery,
	} {
		if m := f.watch(t, body).next(); m.Reply != "" {
			t.Errorf("%s: an end is to be answered", body)
		} else {
			wantProblem(t, m, code)
		}
	}
	if err := f.connect(t).Publish("q.us.watch", []byte(`{"projection":"airports"}`)); err != nil { // where to?
		t.Fatal(err)
	}
}

func TestAWatcherIsToldNothingBeforeItAsks(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{})
	w := f.watch(t, `{"projection":"airports","heartbeat":"100ms"}`)
	first := w.next()
	for range 50 {
		f.depart(t, "ORD")
	}
	if m, err := w.sub.NextMsg(300 * time.Millisecond); err == nil {
		t.Fatalf("before it asks it is told %s", m.Data)
	}
	if err := first.Respond(nil); err != nil {
		t.Fatal(err)
	}
	last := ""
	for last != "50" { // what changed meanwhile is told once, or a few times
		last, _ = w.until().Changes[0].Document.Field("departures")
	}
}

func TestAWatcherThatDoesNotAskIsLeftAndToldSo(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{AckPatience: 100 * time.Millisecond})
	w := f.watch(t, `{"projection":"airports","heartbeat":"100ms"}`)
	if w.next(); w.next().Reply != "" {
		t.Error("it is told more")
	}
	slow := f.watch(t, `{"projection":"airports","heartbeat":"100ms"}`)
	slow.next()
	if p := wantProblem(t, slow.next(), "too-slow"); !strings.Contains(p.Next, "token") {
		t.Errorf("the problem is %+v", p)
	}
}

// TestTheWatchOfOneWhoIsGoneEnds has room for one watch.
func TestTheWatchOfOneWhoIsGoneEnds(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{MaxWatches: 1})
	for _, leave := range []func(w *watcher){
		func(w *watcher) { _ = w.sub.Unsubscribe() },
		func(w *watcher) { w.nc.Close() },
	} {
		var w *watcher
		eventually(t, "there is room", func() bool {
			w = f.watch(t, `{"projection":"airports","heartbeat":"100ms"}`)
			m := w.next()
			if m.Header.Get(queryservice.HeaderErrorCode) == string(events.ErrOverloaded) {
				return false
			}
			return m.Respond(nil) == nil
		})
		w.update()
		wantProblem(t, f.watch(t, `{"projection":"airports"}`).next(), events.ErrOverloaded)
		leave(w)
	}
}

func TestAnUpdateThatDoesNotFitComesInPartsAndOnlyTheLastHasItsToken(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{})
	begun := f.watch(t, `{"projection":"airports"}`).update()
	for i := range 40 {
		f.depart(t, fmt.Sprintf("A%02d", i))
	}
	at := f.depart(t, "LAST")
	ask(t, f.connect(t), "get", `{"projection":"airports","key":"LAST","wait":"20s","at_least":"`+at.String()+`"}`)
	body := fmt.Sprintf(`{"projection":"airports","token":%q,"heartbeat":"1s"}`, begun.Token)
	w := f.watch(t, body, queryservice.HeaderMaxAnswer, "3000")
	keys, parts, seen := map[string]bool{}, 0, begun.Token
	for !keys["LAST"] || len(keys) < 41 {
		u := w.update()
		for _, c := range u.Changes {
			keys[c.Key] = true
		}
		if u.Token == seen {
			parts++
		}
		seen = u.Token
	}
	if parts == 0 || len(keys) != 41 {
		t.Errorf("%d keys in %d parts", len(keys), parts)
	}
	wantProblem(t, f.watch(t, body, queryservice.HeaderMaxAnswer, "100").next(), events.ErrTooLarge)
}

func TestAServiceThatStopsSaysSoToItsWatchers(t *testing.T) {
	f := newFixture(t)
	stop := f.serve(t, queryservice.Options{})
	w, idle := f.watch(t, `{"projection":"airports"}`), f.watch(t, `{"projection":"airports"}`)
	w.update()
	idle.next() // and does not ask for more
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, w.next(), "stopping")
	wantProblem(t, idle.next(), "stopping")
}

func TestACallerWatches(t *testing.T) {
	f := newFixture(t)
	stop := f.serve(t, queryservice.Options{})
	c := f.caller(t)
	begun := time.Now()
	n, keys := 0, map[string]bool{}
	for u, err := range c.Updates(t.Context(), "us", "airports", query.WatchOptions{Heartbeat: 100 * time.Millisecond}, patience) {
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range u.Changes {
			keys[change.Key] = true
		}
		if n++; len(keys) == 20 || time.Since(begun) > patience {
			break
		}
		f.depart(t, fmt.Sprintf("A%d", n))
	}
	if len(keys) < 20 {
		t.Errorf("it heard of %v", keys)
	}
	for _, err := range c.Updates(t.Context(), "us", "ships", query.WatchOptions{}, patience) {
		if !errors.Is(err, projections.ErrUnknownProjection) {
			t.Errorf("got %v", err)
		}
	}
	var last error
	for _, err := range c.Updates(t.Context(), "us", "airports", query.WatchOptions{}, patience) {
		if last = err; err == nil {
			go func() { _ = stop() }()
		}
	}
	if code, _ := events.CodeOf(last); code != "stopping" {
		t.Errorf("it ended with %v", last)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, err := range c.Updates(t.Context(), "us", "airports", query.WatchOptions{}, patience) {
		var silence *queryservice.Silence
		if !errors.As(err, &silence) || !silence.AtOnce {
			t.Errorf("without a service: %v", err)
		}
	}
}
