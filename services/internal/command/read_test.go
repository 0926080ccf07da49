package command_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tidemark.dev/services/internal/command"
)

// stood is what every answer says.
type stood struct {
	Position, ETag, Region string
	Generation             int
	Lag                    *struct {
		Events *uint64
		At     string
	}
}

func (s stood) whole(t *testing.T, what string) {
	t.Helper()
	if s.Position == "" || s.ETag == "" || s.Region != "us" || s.Generation != 1 || s.Lag == nil || s.Lag.Events == nil || s.Lag.At == "" {
		t.Errorf("%s says %+v", what, s)
	}
}

func TestReadsOfEveryKind(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, flight, args...)
	}
	for _, airport := range []string{"ORD", "JFK", "LAX"} {
		do(0, "publish", "airport/"+airport, "FlightDeparted", "--data", flight)
	}
	parked := strings.TrimSpace(do(0, "publish", "airport/LAX", "FlightLanded", "--data", `{"delay":"much"}`).out)

	t.Log("strong: whatever was acknowledged, without being told where that is")
	one := decode[stood](t, do(0, "get", "airports", "ORD", "--consistency", "strong", "-o", "json").out)
	one.whole(t, "get")
	if !covers(t, one.Position, parked) {
		t.Errorf("a strong read is of %s, and the last event of %s", one.Position, parked)
	}

	t.Log("several at once")
	several := do(0, "get", "airports", "LAX", "NONE", "ORD", "-o", "json", "--consistency", "strong")
	decode[stood](t, several.out).whole(t, "get of several")
	items := decode[struct {
		Items []struct {
			Key     string
			Missing bool
			Parked  string
		}
	}](t, several.out).Items
	if len(items) != 3 || items[0].Key != "LAX" || items[0].Parked == "" || !items[1].Missing || items[2].Key != "ORD" || items[2].Missing {
		t.Errorf("the documents are %+v", items)
	}
	if shown := do(0, "get", "airports", "NONE", "ORD"); !strings.Contains(shown.out, "NONE  (missing)") || !strings.Contains(shown.out, "departures") || !strings.Contains(shown.err, "1 missing") {
		t.Errorf("get printed %+v", shown)
	}

	t.Log("count, and list by an index")
	if got := do(0, "count", "airports", "--at-least", parked); strings.TrimSpace(got.out) != "3" || !covers(t, regexp.MustCompile(`us\.[0-9a-f]+@1:[0-9]+`).FindString(got.err), parked) {
		t.Errorf("count printed %+v", got)
	}
	counted := do(0, "count", "airports", "--index", "_parked", "-o", "json").out
	decode[stood](t, counted).whole(t, "count")
	if n := decode[struct{ Count int }](t, counted).Count; n != 1 {
		t.Errorf("%d are parked", n)
	}
	listed := do(0, "list", "airports", "--index", "_parked", "--from", "1", "--order", "desc")
	if !strings.Contains(listed.out, "LAX") || strings.Contains(listed.out, "ORD") {
		t.Errorf("list printed %+v", listed)
	}
	page := do(0, "list", "airports", "--limit", "2", "--consistency", "strong", "-o", "json").out
	decode[stood](t, page).whole(t, "list")

	t.Log("watch from there")
	token := decode[struct{ Watch string }](t, page).Watch
	do(0, "publish", "airport/ORD", "FlightDeparted", "--data", flight)
	watched := do(0, "watch", "airports", "--token", token, "--limit", "1")
	if !strings.HasPrefix(watched.out, `ORD  {"departures":2,`) || !strings.Contains(watched.err, "--token") {
		t.Errorf("watch printed %+v", watched)
	}
	update := decode[struct {
		stood
		Token   string
		Changes []struct {
			Key      string
			Changed  string
			Document json.RawMessage
		}
	}](t, do(0, "watch", "airports", "--token", token, "--prefix", "O", "--limit", "1", "-o", "json").out)
	if len(update.Changes) != 1 || update.Changes[0].Key != "ORD" || update.Changes[0].Changed == "" || update.Token == "" || update.Position == "" {
		t.Errorf("watch answered %+v", update)
	}
	if quiet := do(0, "watch", "airports", "--token", token, "--prefix", "nothing", "--for", "300ms"); quiet.out != "" || !strings.Contains(quiet.err, "0 changes") {
		t.Errorf("a watch of nothing printed %+v", quiet)
	}

	t.Log("a watch that was begun is told of a replay, and of nothing else that it cannot go on from")
	do(0, "replay", "airports", "--from-start")
	if p := do(1, "watch", "airports", "--token", token, "-o", "json").problem(t); p.Error.Code != "resync" || p.Error.Next == "" {
		t.Errorf("a token of a generation that is gone is answered with %+v", p)
	}
	if p := do(1, "list", "airports", "--limit", "2", "-o", "json", "--after", decode[struct{ Next string }](t, page).Next).problem(t); p.Error.Code != "resync" {
		t.Errorf("a cursor of a generation that is gone is answered with %+v", p)
	}
}

func TestAWatchEndsWithASignalAndSaysHowToGoOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	eventually(t, "the read model is live", func() (bool, string) {
		got := cli(t, "", "--dir", dir, "count", "airports")
		return got.code == 0, got.err
	})
	ctx, cancel := context.WithCancel(t.Context())
	errs, code := newWatched(), make(chan int, 1)
	out := newWatched()
	go func() {
		code <- command.Run(ctx, []string{"--dir", dir, "watch", "airports"}, strings.NewReader(""), out, errs)
	}()
	eventually(t, "the watch has begun", func() (bool, string) { return strings.Contains(errs.text(), "watching airports"), errs.text() })
	want(t, cli(t, "", "--dir", dir, "publish", "airport/ORD", "FlightDeparted", "--data", flight), 0)
	eventually(t, "the change is printed", func() (bool, string) { return strings.HasPrefix(out.text(), "ORD  {"), out.text() })
	cancel()
	if got := <-code; got != 0 || !strings.Contains(errs.text(), "1 change; go on with: ") {
		t.Errorf("the watch ended with %d: %s", got, errs.text())
	}
}
