package command_test

import (
	"path/filepath"
	"strings"
	"testing"

	"tidemark.dev/infra/client"
	"tidemark.dev/projections"
	"tidemark.dev/projections/storetest"
)

func TestACopyIsReadFromTheCommandLine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, flight, args...)
	}
	for _, airport := range []string{"ORD", "JFK"} {
		do(0, "publish", "airport/"+airport, "FlightDeparted", "--data", flight)
	}
	earlier := strings.TrimSpace(do(0, "publish", "airport/JFK", "FlightLanded", "--data", `{"delay":"much"}`).out)
	do(0, "count", "airports", "--at-least", earlier, "--wait", "60s")
	c, err := client.Open(t.Context(), client.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	made := storetest.MakeCopy(t, c.Region().Store(), c.Region().KV(), "airports", "before")
	do(0, "publish", "airport/LAX", "FlightDeparted", "--data", flight)
	later := strings.TrimSpace(do(0, "publish", "airport/ORD", "FlightDeparted", "--data", flight).out)

	t.Log("the copy answers what it was, and the live read model what it is")
	type document struct {
		stood
		At       string
		Document struct{ Departures int }
	}
	if now := decode[document](t, do(0, "get", "airports", "ORD", "--at-least", later, "--wait", "60s", "-o", "json").out); now.Document.Departures != 2 || now.At != "" {
		t.Errorf("live: %+v", now)
	}
	then := decode[document](t, do(0, "get", "airports", "ORD", "--at", "before", "--at-least", earlier, "-o", "json").out)
	if then.Document.Departures != 1 || then.At != "before" || then.Position != made.Position {
		t.Errorf("the copy: %+v", then)
	}
	if shown := do(0, "get", "airports", "ORD", "--at", "before").out; !strings.Contains(shown, "copy           before\n") || !strings.Contains(shown, made.Position) {
		t.Errorf("get printed %s", shown)
	}
	several := do(0, "get", "airports", "ORD", "LAX", "--at", "before")
	if !strings.Contains(several.err, "2 documents in the copy before at "+made.Position) || !strings.Contains(several.err, "1 missing") {
		t.Errorf("get of several printed %+v", several)
	}
	if n := do(0, "count", "airports", "--at", "before"); n.out != "2\n" || !strings.Contains(n.err, "in the copy before at "+made.Position) {
		t.Errorf("count printed %+v", n)
	}
	if n := do(0, "count", "airports", "--at", "before", "--index", "_parked"); n.out != "1\n" {
		t.Errorf("count of the parked printed %+v", n)
	}
	if parked := do(0, "parked", "list", "airports", "--at", "before"); !strings.Contains(parked.out, "JFK") || !strings.Contains(parked.err, "in the copy before") {
		t.Errorf("parked list printed %+v", parked)
	}
	if absent := do(1, "get", "airports", "LAX", "--at", "before", "-o", "json").problem(t); absent.Error.Code != "no-document" || absent.Error.Position != made.Position {
		t.Errorf("a later document: %+v", absent)
	}

	t.Log("a listing says how it goes on, in the same copy")
	page := do(0, "list", "airports", "--at", "before", "--limit", "1")
	_, more, _ := strings.Cut(page.err, " list ")
	words := append([]string{"list"}, strings.Fields(more)...)
	if !strings.HasPrefix(page.out, "KEY") || !strings.Contains(more, "--at before") {
		t.Fatalf("list printed %+v", page)
	}
	if last := do(0, words...); !strings.Contains(last.out, "ORD") || strings.Contains(last.out, "JFK") || strings.Contains(last.err, "more:") {
		t.Errorf("the last page is %+v", last)
	}
	cursor := words[len(words)-1]
	if p := do(2, "list", "airports", "--limit", "1", "--after", cursor, "-o", "json").problem(t); p.Error.Code != string(projections.ErrInvalidCursor) {
		t.Errorf("its cursor with the live read model: %+v", p)
	}

	t.Log("what it cannot answer")
	for code, args := range map[string][]string{
		"unknown-copy":  {"get", "airports", "ORD", "--at", "after"},
		"invalid-query": {"count", "airports", "--at", "before", "--consistency", "strong"},
	} {
		if p := do(2, append(args, "-o", "json")...).problem(t); p.Error.Code != code || p.Error.Next == "" {
			t.Errorf("%q: %+v", args, p)
		}
	}
	for _, args := range [][]string{{"get", "airports", "ORD", "--at", ""}, {"parked", "list", "airports", "--at", ""}, {"parked", "list", "--at", "before"}, {"watch", "airports", "--at", "before"}} {
		do(2, args...)
	}
	if p := do(1, "get", "airports", "ORD", "--at", "before", "--at-least", later, "--wait", "60s", "-o", "json").problem(t); p.Error.Code != "not-reached" || p.Error.Position != made.Position {
		t.Errorf("a later position: %+v", p)
	}

	t.Log("the status and the shell know it")
	if shown := do(0, "status").out; !strings.Contains(shown, "airports: the copy before is at "+made.Position+": 2 documents, made ") {
		t.Errorf("status printed %s", shown)
	}
	for _, command := range [][]string{{"get", "airports", "ORD"}, {"list", "airports"}, {"count", "airports"}, {"parked", "list", "airports"}} {
		completes(t, dir, strings.Join(append(command, "--at"), " "), "before\t"+made.Position+"\n:4")
	}

	storetest.DropCopy(t, c.Region().Store(), c.Region().KV(), "airports", "before")
	if p := do(2, "list", "airports", "--at", "before", "--after", cursor, "-o", "json").problem(t); p.Error.Code != "unknown-copy" || !strings.Contains(p.Error.Next, "tidemark replay list airports") {
		t.Errorf("a copy that was dropped: %+v", p)
	}
}
