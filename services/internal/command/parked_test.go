package command_test

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// secretData is data that parks the airport's document: the delay is no number.
const secretData = `{"date":"2001/04/01 10:00","delay":"SECRET","distance":4711,"origin":"DTW","destination":"ORD"}`

// parkedList is what parked list answers.
type parkedList struct {
	Region      string
	Hidden      bool `json:"values_hidden"`
	Projections []struct {
		Projection, Next string
		Position         string
		Parked, Unrouted uint64
		UnroutedLast     string `json:"unrouted_last"`
		Skips            int
		Ignored          *struct {
			Sequence uint64
			Reason   string
		} `json:"ignored_skip_record"`
		Items []struct {
			Key, Reason string
			Sequence    uint64
			At          string `json:"parked_at"`
		}
	}
}

// parkedShown is what parked show answers.
type parkedShown struct {
	Key, Reason, Skip string
	Sequence          uint64
	Hidden            bool `json:"values_hidden"`
	Event             struct {
		Type, Entity, ID string
		Data             map[string]any
	}
	Document map[string]any
	Waiting  *struct{ Events uint64 }
}

// parkedSkipped is what parked skip answers.
type parkedSkipped struct {
	Key, Position, Document string
	Sequence                uint64
	DryRun                  bool `json:"dry_run"`
	Already                 bool
	Parked                  *struct{ Sequence uint64 }
}

// TestWhatAnOperatorDoesAboutAParkedDocument finds it, looks at it, skips its event where the log is mirrored, and sees it folded everywhere.
func TestWhatAnOperatorDoesAboutAParkedDocument(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "regions")
	up := startAll(t, dir, "--regions", "us,eu", "--log-level", "info")
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, "", args...)
	}
	publish := func(entity, typ, data string) (position string, sequence uint64) {
		t.Helper()
		position = strings.TrimSpace(do(0, "publish", entity, typ, "--data", data).out)
		sequence, err := strconv.ParseUint(position[strings.LastIndexByte(position, ':')+1:], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return position, sequence
	}
	reached := func(position string) {
		t.Helper()
		for _, region := range []string{"us", "eu"} {
			for _, model := range []string{"airports", "routes"} {
				do(0, "list", model, "--at-least", position, "--wait", "30s", "--region", region)
			}
		}
	}

	t.Log("nothing is parked")
	position, _ := publish("airport/ORD", "FlightDeparted", flight)
	reached(position)
	if list := decode[parkedList](t, do(0, "parked", "list", "-o", "json").out); len(list.Projections) != 2 || len(list.Projections[0].Items) != 0 || !list.Hidden {
		t.Errorf("the list is %+v", list)
	}
	if p := do(1, "parked", "show", "airports", "ORD", "-o", "json").problem(t); p.Error.Code != "not-parked" {
		t.Errorf("the error is %+v", p)
	}
	do(1, "parked", "skip", "airports", "ORD", "--yes")
	do(1, "parked", "show", "airports", "NONE")

	t.Log("an event that cannot be applied, and one after it")
	_, bad := publish("airport/ORD", "FlightLanded", secretData)
	position, _ = publish("airport/ORD", "FlightDeparted", flight)
	reached(position)
	list := decode[parkedList](t, do(0, "parked", "list", "airports", "-o", "json", "--region", "eu").out)
	if m := list.Projections[0]; list.Region != "eu" || m.Parked != 1 || !covers(t, m.Position, position) || len(m.Items) != 1 || m.Items[0].Key != "ORD" || m.Items[0].Sequence != bad {
		t.Fatalf("the list is %+v", list)
	}
	if m := decode[parkedList](t, do(0, "parked", "list", "routes", "-o", "json").out).Projections[0]; m.Parked != 0 || m.Unrouted != 1 || m.UnroutedLast == "" {
		t.Errorf("of routes it is %+v", m)
	}
	if r := do(0, "parked", "list"); !strings.Contains(r.out, "airports") || !strings.Contains(r.err, "1 event unrouted") || !strings.Contains(r.err, "airports: 1 document parked, 0 skips recorded") {
		t.Errorf("the list is %+v", r)
	}

	t.Log("values are hidden unless asked for")
	for _, args := range [][]string{{"list"}, {"list", "-o", "json"}, {"show", "airports", "ORD"}, {"show", "airports", "ORD", "-o", "json"}, {"skip", "airports", "ORD", "--dry-run"}} {
		if r := do(0, append([]string{"parked"}, args...)...); strings.Contains(r.out+r.err, "SECRET") || strings.Contains(r.out+r.err, "4711") {
			t.Errorf("%v shows values: %+v", args, r)
		}
	}
	hidden := decode[parkedShown](t, do(0, "parked", "show", "airports", "ORD", "-o", "json").out)
	if !hidden.Hidden || hidden.Event.Data["delay"] != "<string>" || hidden.Event.Data["distance"] != "<number>" || hidden.Document["departures"] != "<int>" ||
		hidden.Waiting == nil || hidden.Waiting.Events != 1 || hidden.Event.Entity != "airport/ORD" || hidden.Sequence != bad {
		t.Errorf("shown is %+v", hidden)
	}
	shown := decode[parkedShown](t, do(0, "parked", "show", "airports", "ORD", "--reveal", "-o", "json").out)
	if shown.Hidden || shown.Event.Data["delay"] != "SECRET" || shown.Document["departures"] != 1.0 {
		t.Errorf("revealed is %+v", shown)
	}
	if out := do(0, "parked", "show", "airports", "ORD", "--reveal").out; !strings.Contains(out, "SECRET") || !strings.Contains(out, "1 later event") {
		t.Errorf("revealed is %s", out)
	}

	t.Log("nothing is skipped by mistake")
	written := func() string { // but for marks
		m := decode[parkedList](t, do(0, "parked", "list", "airports", "-o", "json").out).Projections[0]
		return fmt.Sprint(do(0, "history", "airport/ORD").out, m.Skips, m.Ignored, m.Items)
	}
	before := written()
	if r := do(2, "parked", "skip", "airports", "ORD"); !strings.Contains(r.err, "--yes") {
		t.Errorf("without a terminal it said %q", r.err)
	}
	if p := do(1, "parked", "skip", "airports", "ORD", "--sequence", "1", "--yes", "-o", "json").problem(t); p.Error.Code != "not-parked" {
		t.Errorf("the error is %+v", p)
	}
	if dry := decode[parkedSkipped](t, do(0, "parked", "skip", "airports", "ORD", "--dry-run", "-o", "json").out); !dry.DryRun || dry.Sequence != bad || dry.Position != "" {
		t.Errorf("the dry run is %+v", dry)
	}
	if out := do(0, "parked", "skip", "airports", "ORD", "--dry-run").out; !strings.Contains(out, "nothing was written") || !strings.Contains(out, "FlightLanded") {
		t.Errorf("the dry run is %s", out)
	}
	if after := written(); after != before {
		t.Errorf("there was\n%s\nand there is\n%s", before, after)
	}

	t.Log("the event is skipped from the region that mirrors, and everywhere")
	skipped := decode[parkedSkipped](t, do(0, "parked", "skip", "airports", "ORD", "--reason", "ticket 12", "--yes", "--wait", "30s", "--region", "eu", "-o", "json").out)
	if skipped.Sequence != bad || skipped.Already || skipped.Document != "folded" || skipped.Position == "" {
		t.Fatalf("the skip is %+v", skipped)
	}
	for _, region := range []string{"us", "eu"} {
		a := decode[answer](t, do(0, "get", "airports", "ORD", "--at-least", skipped.Position, "--wait", "30s", "--region", region, "-o", "json").out)
		if a.Parked != "" || a.Document["departures"] != 2.0 || a.Document["arrivals"] != 0.0 {
			t.Errorf("%s answered %+v", region, a)
		}
	}
	if m := decode[parkedList](t, do(0, "parked", "list", "airports", "-o", "json").out).Projections[0]; m.Parked != 0 || m.Skips != 1 || len(m.Items) != 0 {
		t.Errorf("the list is %+v", m)
	}
	again := decode[parkedSkipped](t, do(0, "parked", "skip", "airports", "ORD", "--sequence", strconv.FormatUint(bad, 10), "--yes", "-o", "json").out)
	if !again.Already || again.Position != skipped.Position {
		t.Errorf("again it is %+v", again)
	}
	if r := do(0, "replay", "airports", "--from-start"); !strings.Contains(r.out, "equal") {
		t.Errorf("the replay printed %s", r.out)
	}

	t.Log("a document that stops again says so")
	publish("airport/ORD", "FlightLanded", secretData)
	_, second := publish("airport/ORD", "FlightLanded", secretData)
	position, _ = publish("airport/ORD", "FlightDeparted", flight)
	reached(position)
	skipped = decode[parkedSkipped](t, do(0, "parked", "skip", "airports", "ORD", "--yes", "--wait", "30s", "-o", "json").out)
	if skipped.Document != "parked" || skipped.Parked == nil || skipped.Parked.Sequence != second {
		t.Errorf("the skip is %+v", skipped)
	}
	completes(t, dir, "parked show airports", "ORD\n")
	completes(t, dir, "parked skip", "airports\nroutes\n")

	t.Log("the log of the regions has no values either")
	if last := up.stop(); strings.Contains(last.err, "SECRET") || !strings.Contains(last.err, "documents were parked") || !strings.Contains(last.err, "a skip record is obeyed") {
		t.Errorf("up said %s", last.err)
	}
}
