package httpapi_test

import (
	"fmt"
	"net/http"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/httpapi"
)

// mark writes a mark.
func (f *fixture) mark(t *testing.T) events.Position {
	t.Helper()
	at, err := marks.New(f.log, marks.Options{}).Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// everyStatusOfMarks brings the resource to every status that the document names.
func (f *fixture) everyStatusOfMarks(t *testing.T) {
	t.Helper()
	f.kv.Disarm()
	const path = "/v1/projections/airports/marks"
	status(t, f.get(t, path), http.StatusOK)
	for _, q := range []string{"?at=0", "?at=x", "?at=-1", "?x=1", "?at-least=x"} {
		status(t, f.get(t, path+q), http.StatusBadRequest)
	}
	status(t, f.get(t, path+"?at=1"), http.StatusNotFound)
	status(t, f.get(t, "/v1/projections/nothing/marks"), http.StatusNotFound)
	status(t, f.get(t, path+"?at-least=us.ffff@1:2"), http.StatusGone)
	status(t, f.get(t, path+"?at-least=us.abcd@1:99&wait=0"), http.StatusServiceUnavailable)
	status(t, f.get(t, path, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden)
	status(t, f.get(t, path, "Host", "evil.example"), http.StatusMisdirectedRequest)
}

func TestAReadModelSaysWhatItWasAtItsMarks(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	status(t, f.post(t, flight, departed("1")...), http.StatusCreated)
	at := f.mark(t)
	w := f.get(t, fmt.Sprintf("/v1/projections/airports/marks?at-least=%s&at=%d&wait=20s", at, at.Points()[0].Sequence))
	status(t, w, http.StatusOK)
	var m query.Marks
	decode(t, w.Body, &m)
	if len(m.Marks) != 1 || m.Marks[0].Documents != 1 || m.At == nil || len(m.At.Partitions) != m.Partitions || m.Unhealthy != nil || m.Region != "us" || m.Lag == nil || m.Age == nil ||
		w.Header().Get("Tidemark-Position") != m.Position.String() || w.Header().Get("Tidemark-Generation") != "1" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("it says %+v with %v", m, w.Header())
	}
}
