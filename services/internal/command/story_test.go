package command_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/services/internal/command"
)

const flight = `{"date":"2001/01/01 00:47","delay":66,"distance":1750,"origin":"ORD","destination":"LAS"}`

// answer is what get -o json writes.
type answer struct {
	Projection, Key, Region, Position, Parked string
	Document                                  map[string]any
	Lag                                       *struct{ Events *uint64 }
}

func TestWhatAUserDoesInOneRegion(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	up := start(t, dir)
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, flight, args...)
	}

	t.Log("publish, and read one's own write")
	position := strings.TrimSpace(do(0, "publish", "airport/ORD", "FlightDeparted", "--data", flight, "--expect", "none", "--id", "one").out)
	if !regexp.MustCompile(`^us\.[0-9a-f]+@1:[0-9]+$`).MatchString(position) {
		t.Fatalf("publish printed %q", position)
	}
	begun := sequence(t, position) // the genesis, and the catalog of projections, are before it
	a := decode[answer](t, do(0, "get", "airports", "ORD", "--at-least", position, "-o", "json").out)
	if a.Projection != "airports" || a.Key != "ORD" || a.Region != "us" || !covers(t, a.Position, position) || a.Document["departures"] != 1.0 || a.Lag == nil || *a.Lag.Events > 1 {
		t.Errorf("get answered %+v", a)
	}
	again := do(0, "publish", "airport/ORD", "FlightDeparted", "--data", "-", "--id", "one")
	if strings.TrimSpace(again.out) != position || !strings.Contains(again.err, "duplicate") {
		t.Errorf("publishing again answered %+v", again)
	}
	file := filepath.Join(t.TempDir(), "data.json")
	if err := os.WriteFile(file, []byte(flight), 0o600); err != nil {
		t.Fatal(err)
	}
	published := decode[struct{ First, Last uint64 }](t, do(0, "publish", "airport/JFK", "FlightDeparted", "--data", "@"+file, "--time", "2001-01-01T00:47:00Z", "-o", "json").out)
	if published.First <= begun || published.Last != published.First { // a mark may be between them
		t.Errorf("publish answered %+v", published)
	}

	t.Log("look at it as a person")
	if out := do(0, "get", "airports", "ORD").out; !regexp.MustCompile(`(?s)^airports ORD\n.*departures +1\n.*position +us\.`).MatchString(out) {
		t.Errorf("get printed %s", out)
	}
	if out := do(0, "history", "airport/ORD").out; !strings.Contains(out, "FlightDeparted") || !strings.Contains(out, `"origin":"ORD"`) {
		t.Errorf("history printed %s", out)
	}
	past := decode[[]struct {
		Sequence uint64
		ID       string
		Data     json.RawMessage
	}](t, do(0, "history", "airport/ORD", "-o", "json").out)
	if len(past) != 1 || past[0].Sequence != begun || past[0].ID != "one" || string(past[0].Data) != flight {
		t.Errorf("history answered %+v", past)
	}

	t.Log("import the flights, twice")
	type imported struct {
		Added    int `json:"added_events"`
		Events   int
		Position string
	}
	flights := importFlights(t, dir)
	first, second := decode[imported](t, do(0, flights...).out), decode[imported](t, do(0, flights...).out)
	if first.Added != 2*someFlights || second.Added != 0 || second.Events != 2*someFlights || first.Position != second.Position {
		t.Errorf("the imports answered %+v and %+v", first, second)
	}
	a = decode[answer](t, do(0, "get", "airports", "ORD", "--at-least", first.Position, "--wait", "30s", "-o", "json").out)
	departures := 1.0
	for line := range strings.Lines(flightLines(t)) {
		if strings.Contains(line, `"origin":"ORD"`) {
			departures++
		}
	}
	if departures < 20 || a.Document["departures"] != departures {
		t.Errorf("after the import ORD is %v, want %v departures", a.Document, departures)
	}

	t.Log("list")
	page := decode[struct {
		Items []struct{ Key string }
		Next  string
	}](t, do(0, "list", "routes", "--limit", "3", "--at-least", first.Position, "-o", "json").out)
	next := do(0, "list", "routes", "--limit", "3", "--after", page.Next)
	if len(page.Items) != 3 || strings.Contains(next.out, page.Items[2].Key) || !strings.Contains(next.err, "--after") {
		t.Errorf("the pages are %+v and %+v", page, next)
	}

	t.Log("replay")
	replay := decode[struct {
		State           string
		Generation      int
		Compared, Equal bool
	}](t, do(0, "replay", "airports", "--from-start", "-o", "json").out)
	if replay.State != "done" || replay.Generation != 2 || !replay.Compared || !replay.Equal {
		t.Errorf("the replay is %+v", replay)
	}
	if out := do(0, "replay", "routes", "--from-start").out; !strings.Contains(out, "generation 2 is live") || !strings.Contains(out, "equal to the generation before") {
		t.Errorf("replay printed %s", out)
	}
	status := do(0, "status")
	if !regexp.MustCompile(`(?m)^airports +live +following +0 +[0-9]+ +0 `).MatchString(status.out) || !strings.Contains(status.out, "equal to the generation before") {
		t.Errorf("status printed %s", status.out)
	}

	t.Log("the same over HTTP")
	response, err := http.Get(up.HTTP + "/v1/models/airports/ORD") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if got := do(0, "get", "airports", "ORD", "-o", "json").out; err != nil || steady(got) != steady(string(body)) {
		t.Errorf("HTTP answered %s and get %s", body, got)
	}

	t.Log("a second region on the same directory is refused, a second start goes on")
	if p := want(t, cli(t, "", "up", "--dir", dir, "-o", "json"), 1).problem(t); p.Error.Code != "data-directory-in-use" {
		t.Errorf("a second up answered %+v", p)
	}
	if last := up.stop(); last.code != 0 {
		t.Fatalf("up ended with %+v", last)
	}
	if p := want(t, cli(t, "", "status", "--dir", dir, "-o", "json"), 3).problem(t); p.Error.Code != "not-running" {
		t.Errorf("status without a region answered %+v", p)
	}
	start(t, dir)
	a = decode[answer](t, do(0, "get", "airports", "ORD", "--at-least", first.Position, "--wait", "30s", "-o", "json").out)
	if a.Document["departures"] != departures {
		t.Errorf("after the second start ORD is %v", a.Document)
	}
}

func TestARegionOfRunningServersIsTheSame(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	// What up wrote for the other commands is what a person would know of running servers.
	text, err := os.ReadFile(filepath.Join(dir, "us", "region.json"))
	if err != nil {
		t.Fatal(err)
	}
	address := decode[struct{ NATS, User, Password, Redis string }](t, string(text))
	t.Setenv("TIDEMARK_NATS_PASSWORD", address.Password)
	servers := []string{"--region", "us", "--nats", address.NATS, "--nats-user", address.User, "--redis", address.Redis, "--dir", t.TempDir()}
	position := strings.TrimSpace(want(t, cli(t, "", append(servers, "publish", "airport/ORD", "FlightDeparted", "--data", flight)...), 0).out)
	want(t, cli(t, "", append(servers, "get", "airports", "ORD", "--at-least", position)...), 0)
	want(t, cli(t, "", append(servers, "status")...), 0)

	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no Redis":                        {[]string{"--region", "us", "--nats", address.NATS, "status"}, 2, "usage"},
		"a user alone":                    {[]string{"--nats-user", "x", "status"}, 2, "usage"},
		"nobody there":                    {[]string{"--region", "us", "--nats", "nats://127.0.0.1:1", "--redis", address.Redis, "status"}, 3, "unreachable"},
		"a wrong user":                    {[]string{"--region", "us", "--nats", address.NATS, "--nats-user", "nobody", "--redis", address.Redis, "status"}, 3, "unauthorized"},
		"no Redis there":                  {append(servers[:6:6], "--redis", "redis://127.0.0.1:1", "status"), 3, "unreachable"},
		"no such region":                  {append(servers[:8:8], "--region", "eu", "status"), 3, "no-log"},
		"no valid region":                 {append(servers[:8:8], "--region", "E U", "status"), 2, "invalid-event"},
		"a Redis of another installation": {[]string{"up", "--regions", "us", "--http", "127.0.0.1:0", "--redis", address.Redis}, 3, "namespace-taken"},
		"no address":                      {append(servers[:6:6], "--redis", "::", "status"), 2, "bad-address"},
	} {
		t.Run(name, func(t *testing.T) {
			r := want(t, cli(t, "", append(c.args, "-o", "json", "--dir", t.TempDir(), "--timeout", "20s")...), c.code)
			if p := r.problem(t); p.Error.Code != c.says || strings.Contains(r.err, address.Password) {
				t.Errorf("the error is %s", r.err)
			}
		})
	}
}

func TestAnImportThatIsInterruptedGoesOnLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	file := importFlights(t, dir)
	stdin := slices.Clone(file)
	stdin[slices.Index(stdin, "import")+1] = "-"
	ctx, cancel := context.WithCancel(t.Context())
	input, writer := io.Pipe()
	defer writer.Close()
	errs := newWatched()
	code := make(chan int, 1)
	go func() { code <- command.Run(ctx, stdin, input, io.Discard, errs) }()
	// The input stops in the middle, as a slow one does, and the person presses Ctrl-C.
	go func() { _, _ = io.WriteString(writer, flightLines(t)[:len(flightLines(t))/2]) }()
	eventually(t, "a part is imported", func() (bool, string) {
		r := cli(t, "", "--dir", dir, "history", "airport/ORD")
		return strings.Contains(r.out, "FlightDeparted"), fmt.Sprint(r, errs.text())
	})
	cancel()
	if got := <-code; got != 3 || !strings.Contains(errs.text(), "goes on where it stands") {
		t.Errorf("the import ended with %d: %s", got, errs.text())
	}
	r := decode[struct {
		Resumed int `json:"resumed_after_line"`
		Events  int
	}](t, want(t, cli(t, "", file...), 0).out)
	if r.Resumed == 0 || r.Events != 2*someFlights {
		t.Errorf("the second import did %+v", r)
	}
}
