package command_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tidemark.dev/events"
)

// TestWhatAUserDoesInThreeRegions writes and reads everywhere. Which region is meant is said by --region; without it, it is the one that leads.
func TestWhatAUserDoesInThreeRegions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "regions")
	up := startAll(t, dir)
	if len(up.all) != 3 || up.all[0].Region != "us" || up.all[1].Leader != "us" || up.all[2].Dir != filepath.Join(dir, "ap") {
		t.Fatalf("up announced %+v", up.all)
	}
	do := func(code int, args ...string) result {
		t.Helper()
		return done(t, code, dir, flight, args...)
	}

	t.Log("write where the log is led, and where it is mirrored; every region confirms")
	first := do(0, "publish", "airport/ORD", "FlightDeparted", "--data", flight, "--expect", "none", "--confirm", "3", "--confirm-wait", "60s")
	if !strings.Contains(first.err, "confirmed by ap, eu, us") {
		t.Errorf("publish said %q", first.err)
	}
	last := sequence(t, first.out)
	second := do(0, "publish", "airport/ORD", "FlightDeparted", "--data", flight, "--expect", fmt.Sprint(last), "--region", "ap", "--id", "two")
	position := strings.TrimSpace(second.out)
	if sequence(t, position) <= last {
		t.Errorf("publish in ap printed %q", position)
	}
	if again := do(0, "publish", "airport/ORD", "FlightDeparted", "--data", flight, "--expect", fmt.Sprint(last), "--region", "eu", "--id", "two"); strings.TrimSpace(again.out) != position {
		t.Errorf("the same in eu printed %+v", again)
	}
	if p := do(1, "publish", "airport/ORD", "FlightDeparted", "--data", flight, "--expect", "none", "--region", "eu", "-o", "json").problem(t); p.Error.Code != "conflict" || *p.Error.Actual != sequence(t, position) {
		t.Errorf("a conflict in eu is %+v", p)
	}

	t.Log("read it everywhere")
	for _, region := range []string{"us", "eu", "ap"} {
		a := decode[answer](t, do(0, "get", "airports", "ORD", "--at-least", position, "--wait", "30s", "--region", region, "-o", "json").out)
		if a.Region != region || a.Document["departures"] != 2.0 || !covers(t, a.Position, position) {
			t.Errorf("%s answered %+v", region, a)
		}
		if out := do(0, "history", "airport/ORD", "--region", region).out; strings.Count(out, "FlightDeparted") != 2 {
			t.Errorf("history in %s printed %s", region, out)
		}
	}
	if out := do(0, "status").out; !strings.Contains(out, "it leads the log") {
		t.Errorf("status printed %s", out)
	}
	eventually(t, "eu says that nothing is behind", func() (bool, string) {
		r := do(0, "status", "--region", "eu")
		return regexp.MustCompile(`(?m)^it mirrors the log of us, nothing behind$`).MatchString(r.out), fmt.Sprint(r)
	})

	t.Log("a strong read sees what was acknowledged elsewhere, without being told where that is")
	for _, region := range []string{"ap", "eu", "us"} {
		written := strings.TrimSpace(do(0, "publish", "airport/JFK", "FlightDeparted", "--data", flight).out)
		a := decode[answer](t, do(0, "get", "airports", "JFK", "--consistency", "strong", "--wait", "30s", "--region", region, "-o", "json").out)
		if !covers(t, a.Position, written) {
			t.Errorf("%s answered at %s, after %s was acknowledged", region, a.Position, written)
		}
		position = written
	}

	t.Log("the same over HTTP")
	body := httpGet(t, up.all[2].HTTP+"/v1/models/airports/ORD?at-least="+position)
	if got := do(0, "get", "airports", "ORD", "-o", "json", "--region", "ap").out; steady(got) != steady(body) {
		t.Errorf("HTTP answered %s and get %s", body, got)
	}
	eventually(t, "the metrics of ap say that nothing is behind", func() (bool, string) { // as of a look that may be older than the read
		metrics := httpGet(t, up.all[2].HTTP+"/metrics")
		return regexp.MustCompile(`(?m)^tidemark_replication_lag_events\{[^}]*region="ap"[^}]*\} 0$`).MatchString(metrics), metrics
	})
}

// sequence returns the sequence of a position that was printed.
func sequence(t *testing.T, printed string) uint64 {
	t.Helper()
	p, err := events.ParsePosition(strings.TrimSpace(printed))
	if err != nil || len(p.Points()) != 1 {
		t.Fatalf("%q is not a position: %v", printed, err)
	}
	return p.Points()[0].Sequence
}

// covers reports whether an answer is of a position or a later one: a mark may have come meanwhile.
func covers(t *testing.T, answered, position string) bool {
	t.Helper()
	return sequence(t, answered) >= sequence(t, position)
}

func httpGet(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url) //nolint:noctx,gosec // a test
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s answered %s %v", url, body, err)
	}
	return string(body)
}
