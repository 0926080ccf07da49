package command_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tidemark.dev/projections/declared"
)

// projectionFile writes a file and returns its path.
func projectionFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const smallProjection = "projection: p\nversion: 3\nfields: {n: int, s: string}\non: [{event: E, do: [{add: {n: data.n}}, {set: {s: \"default(data.s, '')\"}}]}]\n"

func TestTheExampleOfProjectionInitIsValidAndItsTestsPass(t *testing.T) {
	file := projectionFile(t, "a.yaml", want(t, cli(t, "", "projection", "init"), 0).out)
	if out := want(t, cli(t, "", "projection", "check", file), 0).out; !strings.Contains(out, "a.yaml is valid: projection airports, version 1, 9 fields, 4 tests, meaning ") ||
		!strings.Contains(out, "\nindex by_delay: delay_total\nindex by_arrivals: open, arrivals\ndocuments expire at the first mark from expires on\n") {
		t.Errorf("the summary is %q", out)
	}
	out := want(t, cli(t, "", "projection", "test", file), 0).out
	if strings.Count(out, "ok      ") != 4 || !strings.HasSuffix(out, "4 tests, 0 failed\n") {
		t.Errorf("the tests are\n%s", out)
	}
}

func TestProjectionSchemaPrintsTheSchema(t *testing.T) {
	if out := want(t, cli(t, "", "projection", "schema"), 0).out; out != declared.Schema() || !json.Valid([]byte(out)) {
		t.Errorf("the schema is %q", out)
	}
}

func TestProjectionCheckPrintsEveryMistakeWithItsPlace(t *testing.T) {
	file := projectionFile(t, "a.yaml", strings.NewReplacer("version: 3", "version: 0", "data.n", "dat.n").Replace(smallProjection))
	r := want(t, cli(t, "", "projection", "check", file), 2)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	for i, s := range []string{`:2:10: projection-bad-value: version is 0`, `:4:32: projection-bad-expression: add n: undeclared reference to 'dat'`} {
		if len(lines) != 2 || !strings.HasPrefix(lines[i], file+s) {
			t.Errorf("the output is\n%s, want %s", r.out, s)
		}
	}
	if !strings.HasPrefix(r.err, "tidemark: invalid-projection: "+file+" has 2 mistakes.") {
		t.Errorf("the error is %q", r.err)
	}
	machine := want(t, cli(t, "", "projection", "check", file, "-o", "json"), 2)
	got := decode[struct {
		Valid    bool
		Findings []declared.Finding
	}](t, machine.out)
	if got.Valid || len(got.Findings) != 2 || got.Findings[1].Line != 4 || got.Findings[1].Column != 32 || got.Findings[1].Code != declared.ErrExpression ||
		machine.problem(t).Error.Code != "invalid-projection" {
		t.Errorf("the findings are %+v", got)
	}
}

func TestProjectionCheckShowsTheDocumentsOfASample(t *testing.T) {
	file := projectionFile(t, "a.yaml", smallProjection)
	sample := `{"entity":"x/a","type":"E","data":{"n":2,"s":"<b>"}}
{"entity":"x/a","type":"E","data":{"n":40},"more":1}
{"entity":"x/b","type":"E","data":{}}
{"entity":"x/c","type":"Other","data":{}}
{"entity":"x/c","malformed":"it has no type"}
`
	out := want(t, cli(t, sample, "projection", "check", file, "--sample", "-"), 0).out
	for _, s := range []string{`the sample: 5 events, 2 documents, 0 unrouted`, `(?m)^KEY +N +S +PARKED$`, `(?m)^a +42`, `(?m)^b +0 +at 3: on E: add n: data.n is missing$`} {
		if !regexp.MustCompile(s).MatchString(out) {
			t.Errorf("the output lacks %s:\n%s", s, out)
		}
	}
	list := "[" + strings.ReplaceAll(strings.TrimSpace(sample), "\n", ",\n") + "]"
	machine := want(t, cli(t, "", "projection", "check", file, "--sample", projectionFile(t, "s.json", list), "-o", "json"), 0).out
	for _, s := range []string{`"documents":[{"key":"a","document":{"n":42,"s":""}},{"key":"b","document":{"n":0,"s":""},"parked":"on E: add n: data.n is missing","parked_at":3}]`, `"events":5`} {
		if !strings.Contains(machine, s) {
			t.Errorf("the output lacks %s: %s", s, machine)
		}
	}
}

func TestTheSampleOfAStreamIsOfPlainMessages(t *testing.T) {
	file := projectionFile(t, "a.yaml", "projection: p\nversion: 1\nstream: {name: ORDERS, type: {text: E}, entity: {type: {text: order}, id: data.id}}\n"+
		"fields: {n: int}\non: [{event: E, do: [{count: n}]}]\n")
	sample := `{"subject":"orders.placed","data":{"id":"a"}}
{"subject":"orders.placed","headers":{"X":"y"},"data":{"id":"a"}}
{"subject":"orders.placed","text":"nonsense"}
`
	out := want(t, cli(t, sample, "projection", "check", file, "--sample", "-"), 0).out
	for _, s := range []string{`(?m)^of the messages of the stream ORDERS$`, `the sample: 3 events, 1 document, 1 unrouted`, `(?m)^a +2`, `(?m)^3 +the payload is not JSON: `} {
		if !regexp.MustCompile(s).MatchString(out) {
			t.Errorf("the output lacks %s:\n%s", s, out)
		}
	}
	if r := want(t, cli(t, `{"entity":"x/a","type":"E"}`, "projection", "check", file, "--sample", "-"), 2); !strings.Contains(r.err, "message 1 of the sample has no subject") {
		t.Errorf("an event where a message is wanted: %q", r.err)
	}
}

func TestASampleShowsListsAndWhatExpires(t *testing.T) {
	text := strings.NewReplacer("s: string", "s: set, l: {kind: list, keep: 2}", "{set: {s: \"default(data.s, '')\"}}",
		"{append: {l: data.n}, collect: {s: data.n}, expire: 'event.time + duration(\"1h\")'}").Replace(smallProjection)
	file := projectionFile(t, "a.yaml", text)
	const sample = `{"entity":"x/a","type":"E","time":"2001-01-01T00:00:00Z","data":{"n":3}} {"entity":"x/b","type":"E","time":"2001-01-01T02:00:00Z","data":{"n":3}}
{"mark":"2001-01-01T01:00:00Z"} {"entity":"x/b","type":"E","time":"2001-01-01T02:00:00Z","data":{"n":2}}`
	out := want(t, cli(t, sample, "projection", "check", file, "--sample", "-"), 0).out
	for _, line := range []string{"the sample: 3 events, 1 document, 0 unrouted\n", "b    5  [2,3]  [3,2]  2001-01-01T03:00:00.000000000Z"} {
		if !strings.Contains(out, line) {
			t.Errorf("the output lacks %q:\n%s", line, out)
		}
	}
	out = want(t, cli(t, sample, "projection", "check", file, "--sample", "-", "-o", "json"), 0).out
	var report struct {
		Expires   string
		Documents []struct{ Document json.RawMessage }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Expires != "expires" || len(report.Documents) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	var document bytes.Buffer
	if err := json.Compact(&document, report.Documents[0].Document); err != nil || document.String() != `{"n":5,"s":[2,3],"l":[3,2],"expires":"2001-01-01T03:00:00.000000000Z"}` {
		t.Errorf("%v: %s", err, document.String())
	}
}

func TestABadSampleIsRefusedWithTheNumberOfTheEvent(t *testing.T) {
	file := projectionFile(t, "a.yaml", smallProjection)
	for _, c := range []struct{ sample, says string }{
		{`{"entity":"x/a","type":"E"} {"entity":"x"}`, `event 2 of the sample: .*"x" is not an entity`},
		{`{"entity":"x/a"}`, "event 1 of the sample: .*is not an event type"},
		{`{"entity":"x/a","type":"E"} nonsense`, "event 2 of the sample cannot be read"},
		{`[{"entity":"x/a","type":"E"},{"entity":"x/a","type":"E","data":{"a":1,"a":2}}]`, "event 2 of the sample: .*twice"},
	} {
		r := want(t, cli(t, c.sample, "projection", "check", file, "--sample", "-"), 2)
		if !regexp.MustCompile(c.says).MatchString(r.err) || r.out != "" {
			t.Errorf("%s: the error is %q, want %s", c.sample, r.err, c.says)
		}
	}
}

func TestProjectionTestRunsTheTestsInTheFileAndBesideIt(t *testing.T) {
	file := projectionFile(t, "p.yaml", smallProjection+"tests:\n  - {name: inside, given: [{event: E, entity: x/a, data: {n: 1}}], expect: {a: {n: 1}}}\n")
	beside := strings.TrimSuffix(file, ".yaml") + "_test.yaml"
	text := "tests:\n  - {name: wrong, given: [{event: E, entity: x/a, data: {n: 1}}], expect: {a: {n: 2}, b: {n: 0}}}\n  - {name: parks, given: [{event: E, entity: x/a}], parked: {a: is missing}}\n"
	if err := os.WriteFile(beside, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := want(t, cli(t, "", "projection", "test", file), 1)
	for _, s := range []string{"ok      " + file + ":6  inside", "failed  " + beside + ":2  wrong\n        a: n is 1, expected 2\n        b is no document\n", "ok      " + beside + ":3  parks", "3 tests, 1 failed"} {
		if !strings.Contains(r.out, s) {
			t.Errorf("the output lacks %q:\n%s", s, r.out)
		}
	}
	if !strings.Contains(r.err, "1 of 3 tests failed") {
		t.Errorf("the error is %q", r.err)
	}
	if err := os.WriteFile(beside, []byte("test: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := want(t, cli(t, "", "projection", "test", file), 2); !strings.Contains(r.out, beside+":1:1: projection-unknown-key: a file of tests has no key \"test\"") {
		t.Errorf("the output is %q", r.out)
	}
}

func TestProjectionCommandsRefuseWhatTheyCannotUse(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.yaml")
	file := projectionFile(t, "p.yaml", smallProjection)
	for _, args := range [][]string{{"check", none}, {"test", none}, {"test", file}, {"check", file, "--sample", none}, {"check", "-", "--sample", "-"}, {"check"}, {"tset"}} {
		r := cli(t, "", append([]string{"projection"}, args...)...)
		if r.code != 2 || !strings.HasPrefix(r.err, "tidemark: usage: ") {
			t.Errorf("%v: exit code %d, %q", args, r.code, r.err)
		}
	}
}

func TestProjectionCommandsHaveHelpWithExamples(t *testing.T) {
	for _, name := range []string{"", "init", "check", "test", "schema"} {
		args := strings.Fields("projection " + name)
		if out := want(t, cli(t, "", append(args, "--help")...), 0).out; !strings.Contains(out, "Examples:\n  tidemark projection") {
			t.Errorf("the help of %v has no example:\n%s", args, out)
		}
	}
}
