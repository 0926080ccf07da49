package failure_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/forward"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/topology"
	"tidemark.dev/infra/topology/probe"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/declared"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/services/internal/demo"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/importer"
	"tidemark.dev/services/internal/service"
)

func infraCodes() []events.Code {
	return slices.Concat(embedded.Codes(), region.Codes(), topology.Codes(), probe.Codes(), demo.Codes(), service.Codes(), forward.Codes(), queryservice.Codes(), []events.Code{redisstore.ErrInvalidOptions})
}

func allCodes() []events.Code {
	return slices.Concat(events.Codes(), projections.Codes(), declared.Codes(), catalog.Codes(), reconcile.Codes(), infraCodes(), importer.Codes(), failure.Codes())
}

func TestEveryCodeHasAClass(t *testing.T) {
	seen := map[events.Code]bool{}
	for _, code := range allCodes() {
		c, ok := failure.ClassOf(code)
		if !ok {
			t.Errorf("the code %s is in no table", code)
			continue
		}
		if seen[code] {
			t.Errorf("the code %s is listed twice", code)
		}
		seen[code] = true
		if c.Exit < failure.ExitNotMet || c.Exit > failure.ExitUnknown || c.Title == "" || http.StatusText(c.Status) == "" || c.Status < 400 {
			t.Errorf("the class of %s is %+v", code, c)
		}
	}
	if _, ok := failure.ClassOf("no-such-code"); ok {
		t.Error("a code that nobody has is in a table")
	}
}

var update = flag.Bool("update", false, "write CODES.md anew")

// CODES.md is the contract as users read it.
func TestTheDocumentListsEveryCode(t *testing.T) {
	const file = "../../CODES.md"
	var want strings.Builder
	want.WriteString(`# Codes

Every failure has a stable code. The command line prints it and exits with the code's exit code; HTTP answers with a problem document
(RFC 9457) whose type is urn:tidemark:problem:CODE. Exit codes: 0 done, 1 a condition is not met, 2 bad input, 3 unreachable or unknown.
"Again" says that the same request may succeed later; HTTP then adds Retry-After.

This file is written by go test ./internal/failure -update.

| code | meaning | exit | HTTP | again |
|---|---|---|---|---|
`)
	for _, code := range slices.Sorted(slices.Values(allCodes())) {
		c, _ := failure.ClassOf(code)
		again := ""
		if c.Later {
			again = "yes"
		}
		fmt.Fprintf(&want, "| `%s` | %s | %d | %d | %s |\n", code, c.Title, c.Exit, c.Status, again)
	}
	if *update {
		if err := os.WriteFile(file, []byte(want.String()), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want.String() {
		t.Errorf("CODES.md is not what the table says (%v): write it anew with -update", err)
	}
}

func TestTheTableOfTheAdaptersNamesOnlyTheirCodes(t *testing.T) {
	source, err := os.ReadFile("table.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`case "([a-z-]+)"`).FindAllSubmatch(source, -1)
	if len(found) == 0 {
		t.Fatal("no literal code was found in table.go")
	}
	for _, match := range found {
		if !slices.Contains(infraCodes(), events.Code(match[1])) {
			t.Errorf("table.go names %s, which no adapter lists", match[1])
		}
	}
}

func TestQueriesOverNATSUseOurCodes(t *testing.T) {
	for _, code := range queryservice.SharedCodes() {
		if !slices.Contains(failure.Codes(), code) {
			t.Errorf("queries over NATS say %s, which is no code of ours", code)
		}
	}
}

func TestErrorsWithoutACodeHaveOne(t *testing.T) {
	for _, c := range []struct {
		err  error
		code events.Code
		exit int
	}{
		{errors.New("oops"), failure.ErrInternal, 3},
		{fmt.Errorf("reading: %w", context.Canceled), failure.ErrInterrupted, 3},
		{context.DeadlineExceeded, failure.ErrTimedOut, 3},
		{&http.MaxBytesError{Limit: 5}, events.ErrTooLarge, 2},
		{events.Errorf("no-such-code", "x"), "no-such-code", 3},
		{fmt.Errorf("get: %w", events.Errorf(events.ErrConflict, "x")), events.ErrConflict, 1},
		{&query.Absence{}, projections.ErrNoDocument, 1},
	} {
		if got, exit := failure.Code(c.err), failure.ExitCode(c.err); got != c.code || exit != c.exit {
			t.Errorf("%v has the code %s and the exit code %d, want %s and %d", c.err, got, exit, c.code, c.exit)
		}
	}
	if failure.ExitCode(nil) != 0 {
		t.Error("success does not exit with 0")
	}
}

func TestAReportTakesAnErrorApart(t *testing.T) {
	base := events.Errorf(events.ErrInvalidEvent, "it is wrong").Hint("Mend it.")
	r := failure.Tell(fmt.Errorf("event 3: %w", base))
	if r.Code != events.ErrInvalidEvent || r.Message != "event 3: it is wrong" || r.Next != "Mend it." {
		t.Errorf("the report is %+v", r)
	}
	if got, want := r.String(), "tidemark: invalid-event: event 3: it is wrong. Mend it."; got != want {
		t.Errorf("the line is %q, want %q", got, want)
	}
	conflict := &events.ConflictError{Entity: events.Entity{Type: "airport", ID: "ORD"}, Expected: 4, Actual: 7}
	r = failure.Tell(conflict)
	if r.Entity != "airport/ORD" || *r.Expected != 4 || *r.Actual != 7 || r.Message != `"airport/ORD" is at sequence 7, expected 4; nothing was written` || r.Next != "Read it again and decide anew" {
		t.Errorf("the report is %+v", r)
	}
}

func TestAProblemDocumentIsThatOfTheStandard(t *testing.T) {
	w := httptest.NewRecorder()
	failure.WriteProblem(w, &events.ConflictError{Entity: events.Entity{Type: "airport", ID: "ORD"}, Actual: 7})
	if w.Code != http.StatusConflict || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("the answer is %d %v", w.Code, w.Header())
	}
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"type": "urn:tidemark:problem:conflict", "title": "The entity is not where the writer expected it", "status": 409.0, "code": "conflict",
		"detail": `"airport/ORD" is at sequence 7, expected 0; nothing was written`, "next": "Read it again and decide anew",
		"entity": "airport/ORD", "expected": 0.0, "actual": 7.0,
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %v, want %v", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the document is %v", got)
	}
}

func TestAProblemCarriesThePositionAndWhenToComeBack(t *testing.T) {
	p, err := events.ParsePosition("us.7f3a@1:12")
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	failure.WriteProblem(w, failure.At(events.Errorf(projections.ErrNotReached, "not there yet"), p))
	var got failure.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || got.Position != "us.7f3a@1:12" {
		t.Errorf("the answer is %d %v %+v", w.Code, w.Header(), got)
	}
}

func TestAnInternalErrorTellsTheCallerNoDetails(t *testing.T) {
	p := failure.ProblemOf(errors.New("open /etc/secret: denied"))
	if p.Status != 500 || p.Code != "internal" || regexp.MustCompile("secret").MatchString(p.Detail) {
		t.Errorf("the problem is %+v", p)
	}
}
