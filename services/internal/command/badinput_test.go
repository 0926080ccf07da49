package command_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// mistakes are command lines that must be refused; DIR stands for a directory of files.
func mistakes() []struct {
	name string
	args []string
	exit int
	code string
} {
	publish := func(more ...string) []string {
		return append([]string{"publish", "airport/ORD", "FlightDeparted"}, more...)
	}
	long := strings.Repeat("x", 4096)
	return []struct {
		name string
		args []string
		exit int
		code string
	}{
		{"an unknown command", []string{"replicate"}, 2, "usage"},
		{"an unknown flag", []string{"status", "--loud"}, 2, "usage"},
		{"a missing argument", []string{"get", "airports"}, 2, "usage"},
		{"an unknown output", []string{"status", "-o", "json", "--timeout", "0s"}, 2, "usage"},
		{"no data", publish(), 2, "usage"},
		{"a file that is not there", publish("--data", "@DIR/none"), 2, "usage"},
		{"no entity", []string{"publish", "ORD", "T", "--data", "{}"}, 2, "invalid-entity"},
		{"an entity without an id", []string{"publish", "airport/", "T", "--data", "{}"}, 2, "invalid-entity"},
		{"an entity with a dotted type", []string{"publish", "air.port/ORD", "T", "--data", "{}"}, 2, "invalid-entity"},
		{"an entity with a star", []string{"publish", "*/ORD", "T", "--data", "{}"}, 2, "invalid-entity"},
		{"an entity of 4 kB", []string{"publish", "airport/" + long, "T", "--data", "{}"}, 2, "invalid-entity"},
		{"an entity that is not UTF-8", []string{"publish", "airport/\xff", "T", "--data", "{}"}, 2, "invalid-entity"},
		{"a type with a blank", []string{"publish", "airport/ORD", "Flight departed", "--data", "{}"}, 2, "invalid-event"},
		{"an empty id", publish("--data", "{}", "--id", ""), 2, "invalid-event"},
		{"an id with a line break", publish("--data", "{}", "--id", "a\r\nNats-Rollup: all"), 2, "invalid-event"},
		{"a blank id", publish("--data", "{}", "--id", " "), 2, "invalid-event"},
		{"an empty source", publish("--data", "{}", "--source", ""), 2, "invalid-event"},
		{"data that is not JSON", publish("--data", "{"), 2, "invalid-data"},
		{"a key twice", publish("--data", `{"a":1,"a":2}`), 2, "invalid-data"},
		{"a number beyond floats", publish("--data", "1e400"), 2, "invalid-data"},
		{"deep nesting", publish("--data", strings.Repeat("[", 100)+strings.Repeat("]", 100)), 2, "invalid-data"},
		{"data over a mebibyte", publish("--data", "@DIR/large.json"), 2, "too-large"},
		{"a time that is none", publish("--data", "{}", "--time", "now"), 2, "usage"},
		{"a time ten years ahead", publish("--data", "{}", "--time", "2099-01-01T00:00:00Z"), 2, "clock-ahead"},
		{"an expectation that is none", publish("--data", "{}", "--expect", "soon"), 2, "invalid-batch"},
		{"an expectation that does not hold", publish("--data", "{}", "--expect", "7"), 1, "conflict"},
		{"an entity that is there already", publish("--data", "{}", "--expect", "none"), 1, "conflict"},
		{"an id with other content", publish("--data", "{}", "--id", "before"), 1, "id-conflict"},

		{"an unknown projection", []string{"get", "nothing", "ORD"}, 2, "unknown-projection"},
		{"a projection that cannot be", []string{"get", "No Name", "ORD"}, 2, "unknown-projection"},
		{"an empty key", []string{"get", "airports", ""}, 2, "invalid-key"},
		{"a key that is not there", []string{"get", "airports", "NONE"}, 1, "no-document"},
		{"an empty position", []string{"get", "airports", "ORD", "--at-least", ""}, 2, "invalid-position"},
		{"a malformed position", []string{"get", "airports", "ORD", "--at-least", "us@1"}, 2, "invalid-position"},
		{"a forged position", []string{"get", "airports", "ORD", "--at-least", "us.ffffffff@1:1"}, 2, "lost-position"},
		{"a foreign position", []string{"get", "airports", "ORD", "--at-least", "eu.ffffffff@1:1"}, 2, "lost-position"},
		{"a future position", []string{"get", "airports", "ORD", "--at-least", "FUTURE", "--wait", "50ms"}, 1, "not-reached"},
		{"a negative wait", []string{"get", "airports", "ORD", "--wait", "-1s"}, 2, "invalid-query"},
		{"a wait of an hour", []string{"get", "airports", "ORD", "--wait", "1h"}, 2, "invalid-query"},
		{"a limit of 0", []string{"list", "airports", "--limit", "0"}, 2, "invalid-query"},
		{"a limit of a billion", []string{"list", "airports", "--limit", "1000000000"}, 2, "invalid-query"},
		{"a forged cursor", []string{"list", "airports", "--after", "zzz"}, 2, "invalid-cursor"},
		{"a cursor that is empty", []string{"list", "airports", "--after", ""}, 2, "invalid-cursor"},
		{"a cursor of another query", []string{"list", "airports", "--index", "_parked", "--after", "CURSOR"}, 2, "invalid-cursor"},
		{"a cursor of another projection", []string{"list", "routes", "--after", "CURSOR"}, 2, "invalid-cursor"},
		{"half a cursor", []string{"list", "airports", "--after", "HALF"}, 2, "invalid-cursor"},
		{"a token for a cursor", []string{"list", "airports", "--after", "TOKEN"}, 2, "invalid-cursor"},
		{"an unknown index", []string{"list", "airports", "--index", "colour"}, 2, "unknown-index"},
		{"an unknown index to count", []string{"count", "airports", "--index", "colour"}, 2, "unknown-index"},
		{"a value and no index", []string{"list", "airports", "--eq", "1"}, 2, "invalid-query"},
		{"a bound and no index", []string{"count", "airports", "--from", "1"}, 2, "invalid-query"},
		{"a value of the wrong kind", []string{"list", "airports", "--index", "_parked", "--eq", "many"}, 2, "invalid-query"},
		{"an empty bound", []string{"list", "airports", "--index", "_parked", "--to", ""}, 2, "invalid-query"},
		{"a number beyond 64 bits", []string{"list", "airports", "--index", "_parked", "--from", "9223372036854775808"}, 2, "invalid-query"},
		{"more values than fields", []string{"list", "airports", "--index", "_parked", "--eq", "1", "--eq", "2"}, 2, "invalid-query"},
		{"an order by key", []string{"list", "airports", "--order", "desc"}, 2, "invalid-query"},
		{"an order that is none", []string{"list", "airports", "--index", "_parked", "--order", "up"}, 2, "usage"},
		{"a limit that is no number", []string{"list", "airports", "--limit", "many"}, 2, "usage"},
		{"a count of nothing", []string{"count", "nothing"}, 2, "unknown-projection"},
		{"a consistency that is none", []string{"get", "airports", "ORD", "--consistency", "linear"}, 2, "usage"},
		{"strong and a position", []string{"get", "airports", "ORD", "--consistency", "strong", "--at-least", "FUTURE"}, 2, "invalid-query"},
		{"eventual and a position", []string{"list", "airports", "--consistency", "eventual", "--at-least", "FUTURE"}, 2, "invalid-query"},
		{"a future position for a count", []string{"count", "airports", "--at-least", "FUTURE", "--wait", "50ms"}, 1, "not-reached"},
		{"a forged position for several", []string{"get", "airports", "ORD", "JFK", "--at-least", "us.ffffffff@1:1"}, 2, "lost-position"},
		{"an empty key among several", []string{"get", "airports", "ORD", ""}, 2, "invalid-key"},
		{"a watch of nothing", []string{"watch", "nothing"}, 2, "unknown-projection"},
		{"an empty token", []string{"watch", "airports", "--token", ""}, 2, "invalid-cursor"},
		{"a forged token", []string{"watch", "airports", "--token", "zzz"}, 2, "invalid-cursor"},
		{"a cursor for a token", []string{"watch", "airports", "--token", "CURSOR"}, 2, "invalid-cursor"},
		{"a token of another projection", []string{"watch", "routes", "--token", "TOKEN"}, 2, "invalid-cursor"},
		{"a heartbeat of a day", []string{"watch", "airports", "--heartbeat", "24h"}, 2, "invalid-query"},
		{"a watch for less than no time", []string{"watch", "airports", "--for", "-1s"}, 2, "usage"},
		{"a watch of less than nothing", []string{"watch", "airports", "--limit", "-1"}, 2, "usage"},
		{"a history of nothing", []string{"history", "airport/NONE"}, 1, "not-found"},
		{"a history of no entity", []string{"history", "ORD"}, 2, "invalid-entity"},

		{"parked documents of nothing", []string{"parked", "list", "nothing"}, 2, "unknown-projection"},
		{"a limit of 0 of parked documents", []string{"parked", "list", "--limit", "0"}, 2, "invalid-query"},
		{"a forged cursor of parked documents", []string{"parked", "list", "airports", "--after", "zzz"}, 2, "invalid-cursor"},
		{"a cursor of parked documents of no projection", []string{"parked", "list", "--after", "zzz"}, 2, "invalid-cursor"},
		{"a parked document that is not there", []string{"parked", "show", "airports", "NONE"}, 1, "no-document"},
		{"a parked document that is not parked", []string{"parked", "show", "airports", "ORD"}, 1, "not-parked"},
		{"a parked document without a key", []string{"parked", "show", "airports", ""}, 2, "invalid-key"},
		{"a skip for nothing", []string{"parked", "skip", "airports", "NONE", "--yes"}, 1, "no-document"},
		{"a skip for what is not parked", []string{"parked", "skip", "airports", "ORD", "--yes"}, 1, "not-parked"},
		{"a skip of an event that is not parked at", []string{"parked", "skip", "airports", "ORD", "--sequence", "2", "--yes"}, 1, "not-parked"},
		{"a skip of sequence 0", []string{"parked", "skip", "airports", "ORD", "--sequence", "0", "--yes"}, 2, "usage"},
		{"a skip with a wait of an hour", []string{"parked", "skip", "airports", "ORD", "--wait", "1h", "--yes"}, 2, "usage"},
		{"a dry run that waits", []string{"parked", "skip", "airports", "ORD", "--dry-run", "--wait", "1s"}, 2, "usage"},
		{"a skip of an unknown projection", []string{"parked", "skip", "nothing", "ORD", "--yes"}, 2, "unknown-projection"},
		{"a deep look at nothing", []string{"verify", "nothing", "--deep"}, 2, "unknown-projection"},
		{"a deep look into a region that is not there", []string{"verify", "--deep", "--region", "mars"}, 3, "not-running"},
		{"values of no findings", []string{"verify", "--reveal"}, 2, "usage"},
		{"a repair of nothing", []string{"repair", "nothing"}, 2, "unknown-projection"},
		{"a repair of a projection that cannot be", []string{"repair", "No Name"}, 2, "unknown-projection"},
		{"a repair of two", []string{"repair", "airports", "routes"}, 2, "usage"},
		{"a repair in a region that is not there", []string{"repair", "--region", "mars"}, 3, "not-running"},
		{"a share of nothing", []string{"repair", "--share", "0%"}, 2, "usage"},
		{"a share of more than all", []string{"repair", "--share", "100.5%"}, 2, "usage"},
		{"a share below nothing", []string{"repair", "--share", "-1%"}, 2, "usage"},
		{"a share that is no number", []string{"repair", "--share", "NaN%"}, 2, "usage"},
		{"a share of what", []string{"repair", "--share", "10"}, 2, "usage"},
		{"a plan that is not there", []string{"repair", "--resume", "01977a5c-7d5e-7c4f-9d6a-2f1f5f0c8b11", "--yes"}, 2, "unknown-plan"},
		{"a plan of no id", []string{"repair", "--resume", "", "--yes"}, 2, "usage"},
		{"a plan and another share", []string{"repair", "--resume", "x", "--share", "10%"}, 2, "usage"},
		{"a plan that is made anew", []string{"repair", "--resume", "x", "--deep"}, 2, "usage"},
		{"a replay from nowhere", []string{"replay", "airports"}, 2, "usage"},
		{"a replay of nothing", []string{"replay", "nothing", "--from-start"}, 2, "unknown-projection"},
		{"an import without a map", []string{"import", "DIR/lines"}, 2, "usage"},
		{"a map that is not there", []string{"import", "DIR/lines", "--map", "DIR/none"}, 2, "usage"},
		{"a map with an unknown key", []string{"import", "DIR/lines", "--map", "DIR/unknown.yaml"}, 2, "invalid-map"},
		{"a map that is a bomb", []string{"import", "DIR/lines", "--map", "DIR/bomb.yaml"}, 2, "invalid-map"},
		{"an input that is not there", []string{"import", "DIR/none", "--map", "DIR/good.yaml"}, 2, "usage"},
		{"an input that is a directory", []string{"import", "DIR", "--map", "DIR/good.yaml"}, 2, "usage"},
		{"a line that lacks a field", []string{"import", "DIR/lines", "--map", "DIR/good.yaml"}, 2, "invalid-line"},
		{"a level of the log", []string{"up", "--log-level", "loud"}, 2, "usage"},
		{"a format of the log", []string{"up", "--log-format", "xml"}, 2, "usage"},
		{"a region that cannot be", []string{"up", "--regions", "us,E U", "--dir", "DIR/new"}, 2, "invalid-event"},
		{"a region twice", []string{"up", "--regions", "us,us", "--dir", "DIR/new"}, 2, "usage"},
		{"a beginning that is none", []string{"up", "--log-from", "eu", "--dir", "DIR/new"}, 2, "usage"},
		{"a beginning at 0", []string{"up", "--log-from", "eu=0", "--dir", "DIR/new"}, 2, "usage"},
		{"a later beginning of the leader", []string{"up", "--regions", "us,eu", "--log-from", "us=7", "--dir", "DIR/new"}, 2, "usage"},
		{"one region of those that do not run yet", []string{"up", "--region", "us", "--dir", "DIR/new"}, 2, "usage"},
		{"a region that does not run", []string{"status", "--region", "mars", "--dir", "DIR"}, 3, "not-running"},
		{"fewer than no region", publish("--data", "{}", "--confirm", "-1"), 2, "usage"},
		{"more regions than there are", publish("--data", "{}", "--confirm", "33"), 2, "usage"},
		{"no region to confirm", publish("--data", "{}", "--confirm", "0"), 2, "usage"},
		{"time to confirm nothing", publish("--data", "{}", "--confirm-wait", "1s"), 2, "usage"},
		{"a Redis beside a region of its own", []string{"status", "--redis", "localhost:1"}, 2, "usage"},
		{"a demo that would empty somebody's Redis", []string{"demo", "--redis", "localhost:1"}, 2, "usage"},
		{"a NATS of no region", []string{"status", "--nats", "nats://127.0.0.1:1", "--redis", "localhost:1"}, 2, "usage"},
		{"an address with a password that is none", []string{"status", "--region", "us", "--nats", "nats://u:SECRET@127.0.0.1:x1", "--redis", "localhost:1"}, 2, "bad-address"},
		{"no Redis at an address", []string{"get", "airports", "ORD", "--region", "us", "--nats", "nats://127.0.0.1:1", "--redis", "auto"}, 2, "bad-address"},
		{"no time to confirm", publish("--data", "{}", "--confirm", "1", "--confirm-wait", "0s"), 2, "usage"},
		{"an address that cannot be", []string{"up", "--http", "nowhere", "--redis", "mini", "--dir", "DIR/new"}, 2, "cannot-listen"},
		{"a data directory that is a file", []string{"up", "--dir", "DIR/lines"}, 2, "unsafe-data-directory"},
		{"a Redis that cannot be, for the demo", []string{"demo", "--redis", "::"}, 2, "usage"},
		{"a Redis that cannot be", []string{"up", "--redis", "::", "--dir", "DIR/new"}, 2, "bad-address"},
	}
}

func TestAMistakeIsRefusedWithItsCodeAndChangesNothing(t *testing.T) {
	files := t.TempDir()
	for name, text := range map[string]string{
		"large.json": `"` + strings.Repeat("x", 1<<20) + `"`, "lines": `{"b":1}` + "\n",
		"unknown.yaml": "name: a\nsource: urn:a\ncolour: red\n",
		"bomb.yaml":    "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b]\n",
		"good.yaml":    "name: a\nsource: urn:a\nevents:\n  - {type: T, entity: 't/{a}'}\n",
	} {
		if err := os.WriteFile(filepath.Join(files, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	want(t, cli(t, "", "--dir", dir, "publish", "airport/JFK", "FlightDeparted", "--data", flight), 0)
	position := strings.TrimSpace(want(t, cli(t, "", "--dir", dir, "publish", "airport/ORD", "FlightDeparted", "--data", flight, "--id", "before"), 0).out)
	page := decode[struct{ Next, Watch string }](t, want(t, cli(t, "", "--dir", dir, "-o", "json", "list", "airports", "--limit", "1", "--at-least", position), 0).out)
	future, _, _ := strings.Cut(position, ":")
	state := func() string {
		read := []string{"--dir", dir, "-o", "json", "--at-least", position}
		return steady(want(t, cli(t, "", "--dir", dir, "status", "-o", "json"), 0).out +
			want(t, cli(t, "", append(read, "list", "airports")...), 0).out + want(t, cli(t, "", append(read, "list", "routes")...), 0).out)
	}
	eventually(t, "both read models have begun, and every partition knows that there is nothing more", func() (bool, string) {
		r := cli(t, "", "--dir", dir, "status", "-o", "json")
		at := regexp.MustCompile(`"position":"([^"]+)"`).FindAllStringSubmatch(r.out, -1)
		return strings.Count(r.out, `"state":"live"`) == 2 && len(at) == 2 && covers(t, at[0][1], position) && covers(t, at[1][1], position), fmt.Sprint(r)
	})
	before := state()
	for _, m := range mistakes() {
		t.Run(m.name, func(t *testing.T) {
			args := []string{"--dir", dir, "-o", "json"}
			for _, a := range m.args {
				switch a {
				case "FUTURE":
					a = future + ":1000"
				case "CURSOR":
					a = page.Next
				case "HALF":
					a = page.Next[:len(page.Next)/2]
				case "TOKEN":
					a = page.Watch
				}
				args = append(args, strings.ReplaceAll(a, "DIR", files))
			}
			r := want(t, cli(t, "", args...), m.exit)
			p := r.problem(t)
			if strings.Contains(r.err, "SECRET") {
				t.Errorf("the error shows a password: %s", r.err)
			}
			if p.Error.Code != m.code || p.Error.Message == "" || r.out != "" {
				t.Errorf("the error is %s, want the code %s", r.err, m.code)
			}
			if m.code == "not-reached" && (p.Error.Next == "" || !strings.HasPrefix(p.Error.Position, future+":")) {
				t.Errorf("the error says not what to do, or where the read model is: %s", r.err)
			}
		})
	}
	if after := state(); after != before {
		t.Errorf("the region changed from\n%s to\n%s", before, after)
	}
}

// steady leaves out of answers when it was looked how far the log is, how far that is, and how much is missing: a mark may come at any moment. An event would show in the documents, or be
// counted as unrouted or parked.
func steady(text string) string {
	text = regexp.MustCompile(`,"at":"[^"]*"|"watch":"[^"]*",`).ReplaceAllString(text, "")
	return regexp.MustCompile(`@1:\d+|"sequence":\d+|"events":\d+`).ReplaceAllString(text, "")
}

func TestASecondReplayAtOnceIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	want(t, cli(t, "", importFlights(t, dir)...), 0)
	results := make(chan result, 4)
	for range cap(results) {
		go func() { results <- cli(t, "", "--dir", dir, "-o", "json", "replay", "routes", "--from-start") }()
	}
	refused := 0
	for range cap(results) {
		switch r := <-results; r.code {
		case 0:
		case 1:
			if p := r.problem(t); p.Error.Code != "replay-running" {
				t.Errorf("the error is %s", r.err)
			}
			refused++
		default:
			t.Errorf("replay ended with %+v", r)
		}
	}
	if refused == 0 {
		t.Error("four replays at once were all accepted")
	}
}

func TestNothingThatATerminalObeysIsPrinted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "region")
	start(t, dir)
	const id = "a\x1b[2J\u202eb"
	want(t, cli(t, "", "--dir", dir, "publish", "airport/"+id, "FlightDeparted", "--data", `{"date":"\u001b[2J"}`), 0)
	position := strings.TrimSpace(want(t, cli(t, "", "--dir", dir, "publish", "airport/"+id, "FlightLanded", "--data", `{"delay":"\u001b[2J","\u001b[2J":1}`), 0).out)
	want(t, cli(t, "", "--dir", dir, "get", "airports", id, "--at-least", position), 0)
	for _, args := range [][]string{
		{"parked", "list"}, {"parked", "show", "airports", id}, {"parked", "show", "airports", id, "--reveal"}, {"parked", "skip", "airports", id},
		{"parked", "skip", "airports", id, "--dry-run"}, {"parked", "skip", "airports", id, "--sequence", "1"}, {"parked", "skip", "airports", id + "x"},
		{"get", "airports", id}, {"list", "airports"}, {"history", "airport/" + id}, {"get", "airports", id + "x"}, {"history", "airport/" + id + "x"},
		{"get", "airports\x1b[2J", "x"}, {"publish", "airport/x", "T", "--data", "\x1b"}, {"get", "airports", "x", "--at-least", "\x1b[2J"}, {"\x1b[2J"},
	} {
		t.Run(fmt.Sprintf("%q", args), func(t *testing.T) {
			if len(args) > 1 && args[0] != "publish" && args[0] != "history" && args[0] != "parked" && len(args) < 4 {
				args = append(args, "--at-least", position)
			}
			r := cli(t, "", append([]string{"--dir", dir}, args...)...)
			if strings.ContainsAny(r.out+r.err, "\x1b\u202e") {
				t.Errorf("it printed %q and %q", r.out, r.err)
			}
		})
	}
}
