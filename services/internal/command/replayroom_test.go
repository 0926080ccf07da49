package command_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestAReplayMakesRoomForWhatIsLive brings a real Redis near its memory limit: a replay that does not fit is not begun, one that runs stands still, and what is live goes on.
func TestAReplayMakesRoomForWhatIsLive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir, "--regions", "us", "--redis", "server")
	want(t, cli(t, "", importFlights(t, dir)...), 0)
	position := strings.TrimSpace(want(t, cli(t, "", "--dir", dir, "publish", "airport/ZZZ", "FlightDeparted", "--data", flight), 0).out)
	want(t, cli(t, "", "--dir", dir, "get", "airports", "ZZZ", "--at-least", position, "--wait", "30s"), 0)
	redis := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "redis-cli", append([]string{"-s", filepath.Join(dir, "us", "redis.sock")}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("redis-cli %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	share := func(of float64) { // lets Redis use a share of its memory
		t.Helper()
		for line := range strings.Lines(redis("info", "memory")) {
			if text, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
				used, err := strconv.ParseFloat(text, 64)
				if err != nil {
					t.Fatal(err)
				}
				redis("config", "set", "maxmemory", fmt.Sprintf("%.0f", used/of))
				return
			}
		}
		t.Fatal("Redis does not say how much memory it uses")
	}
	look := func() (r struct {
		State  string `json:"state"`
		Yields string `json:"yields"`
	}) {
		t.Helper()
		var l struct{ Replays []json.RawMessage }
		if err := json.Unmarshal([]byte(want(t, cli(t, "", "--dir", dir, "replay", "list", "airports", "-o", "json"), 0).out), &l); err != nil || len(l.Replays) == 0 {
			t.Fatalf("%v, %v", l, err)
		}
		if err := json.Unmarshal(l.Replays[0], &r); err != nil {
			t.Fatal(err)
		}
		return r
	}

	redis("setrange", "filler", "50000000", "x") // so that buffers of connections are no share worth mentioning
	share(0.96)
	if p := want(t, cli(t, "", "--dir", dir, "replay", "airports", "--from-start", "-o", "json"), 1).problem(t); p.Error.Code != "store-full" || !strings.Contains(p.Error.Message, "it was not begun") {
		t.Errorf("a replay that does not fit: %+v", p)
	}
	share(0.7)
	running := watch(t, "--dir", dir, "replay", "airports", "--from-start", "--rate", "500")
	eventually(t, "the replay builds", func() (bool, string) { r := look(); return r.State == "building", fmt.Sprint(r) })
	share(0.93)
	eventually(t, "the replay stands still", func() (bool, string) { r := look(); return r.Yields != "", fmt.Sprint(r) })
	position = strings.TrimSpace(want(t, cli(t, "", "--dir", dir, "publish", "airport/ZZZ", "FlightDeparted", "--data", flight), 0).out)
	want(t, cli(t, "", "--dir", dir, "get", "airports", "ZZZ", "--at-least", position, "--wait", "30s"), 0)
	if r := look(); r.State != "building" || r.Yields == "" {
		t.Errorf("meanwhile the replay is %+v", r)
	}
	redis("config", "set", "maxmemory", "0")
	if r := running.end(); r.code != 0 || !strings.Contains(r.err, "stands still") {
		t.Errorf("the replay ended with %+v", r)
	}
	if r := cli(t, "", "--dir", dir, "replay", "list", "airports"); !strings.Contains(r.out, "equal") {
		t.Errorf("the replay is %+v", r)
	}
}
