package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/storetest"
	"tidemark.dev/services/internal/httpapi"
)

// copied is a fixture with a copy of the airports, behind which the live read model has moved on, and what the copy is; first is a position before it, and last one behind.
func copied(t *testing.T) (f *fixture, made projections.Copy, first, last string) {
	t.Helper()
	f = newFixture(t, httpapi.Options{})
	depart := func(id, airport string) string {
		t.Helper()
		headers := departed(id)
		headers[len(headers)-1] = "airport/" + airport
		position := f.post(t, flight, headers...).Header().Get("Tidemark-Position")
		status(t, f.get(t, "/v1/models/airports?at-least="+position), http.StatusOK)
		return position
	}
	first = depart("1", "ORD")
	depart("2", "JFK")
	made = storetest.MakeCopy(t, f.store, f.kv, "airports", "before")
	depart("3", "LAX")
	return f, made, first, depart("4", "ORD")
}

func TestACopyIsReadWithTheParameterAt(t *testing.T) {
	f, made, first, _ := copied(t)
	var a query.Answer
	w := f.get(t, "/v1/models/airports/ORD?at=before&at-least="+first)
	status(t, w, http.StatusOK)
	decode(t, strings.NewReader(w.Body.String()), &a)
	h := w.Header()
	if n, _ := a.Document.Field("departures"); n != "1" || a.At != "before" || a.Position.String() != made.Position || !strings.Contains(w.Body.String(), `,"at":"before","etag":"`) ||
		h.Get("Tidemark-At") != "before" || h.Get("Tidemark-Position") != made.Position || h.Get("Tidemark-Generation") != strconv.FormatUint(uint64(made.Generation), 10) {
		t.Errorf("the answer is %s with %v", w.Body, h)
	}
	if again := f.get(t, "/v1/models/airports/ORD?at=before", "If-None-Match", h.Get("ETag")); again.Code != http.StatusNotModified || again.Header().Get("Tidemark-At") != "before" {
		t.Errorf("asked again, the answer is %d with %v", again.Code, again.Header())
	}
	w = f.get(t, "/v1/models/airports/ORD", "If-None-Match", h.Get("ETag"))
	status(t, w, http.StatusOK)
	decode(t, w.Body, &a)
	if n, _ := a.Document.Field("departures"); n != "2" || w.Header().Values("Tidemark-At") != nil {
		t.Errorf("live, the answer is %+v with %v", a, w.Header())
	}
	p := problem(t, f.get(t, "/v1/models/airports/LAX?at=before"), http.StatusNotFound, projections.ErrNoDocument)
	if p.Position != made.Position || !strings.Contains(p.Detail, "the copy before of airports") {
		t.Errorf("the problem is %+v", p)
	}
	var several query.Documents
	decode(t, f.get(t, "/v1/lookup/airports?key=LAX&key=JFK&at=before").Body, &several)
	if len(several.Items) != 2 || !several.Items[0].Missing || several.Items[1].Missing || several.At != "before" {
		t.Errorf("several are %+v", several)
	}
	decode(t, f.to(t, "/v1/lookup/airports?at=before", `{"keys":["LAX"]}`, "Content-Type", "application/json").Body, &several)
	if len(several.Items) != 1 || !several.Items[0].Missing {
		t.Errorf("several are %+v", several)
	}
	var n query.Count
	decode(t, f.get(t, "/v1/count/airports?at=before").Body, &n)
	if n.Count != 2 || n.At != "before" {
		t.Errorf("the count is %+v", n)
	}
	var parked query.ParkedPage
	w = f.get(t, "/v1/parked/airports?at=before")
	decode(t, w.Body, &parked)
	if parked.At != "before" || w.Header().Get("Tidemark-At") != "before" {
		t.Errorf("parked are %+v", parked)
	}
	var o query.Overview
	decode(t, f.get(t, "/v1/status").Body, &o)
	if c := o.Projections[0].Copies; len(c) != 1 || c[0].Name != "before" || c[0].Position != made.Position || c[0].Documents != 2 || o.Projections[1].Copies != nil {
		t.Errorf("the status says %+v", o.Projections)
	}
}

func TestACopyIsListedToItsEndOrSaidToBeGone(t *testing.T) {
	f, _, _, _ := copied(t)
	var page query.Page
	w := f.get(t, "/v1/models/airports?at=before&limit=1")
	status(t, w, http.StatusOK)
	decode(t, w.Body, &page)
	if len(page.Items) != 1 || page.Items[0].Key != "JFK" || page.Next == "" || page.Watch != "" || page.At != "before" {
		t.Errorf("the page is %+v", page)
	}
	next := page.Next
	page = query.Page{}
	decode(t, f.get(t, "/v1/models/airports?at=before&limit=1&after="+next).Body, &page)
	if len(page.Items) != 1 || page.Items[0].Key != "ORD" || page.Next != "" {
		t.Errorf("the last page is %+v", page)
	}
	problem(t, f.get(t, "/v1/models/airports?limit=1&after="+next), http.StatusBadRequest, projections.ErrInvalidCursor)
	decode(t, f.get(t, "/v1/models/airports?limit=1").Body, &page)
	problem(t, f.get(t, "/v1/models/airports?limit=1&at=before&after="+page.Next), http.StatusBadRequest, projections.ErrInvalidCursor)

	storetest.DropCopy(t, f.store, f.kv, "airports", "before")
	for _, target := range []string{
		"/v1/models/airports?at=before&limit=1&after=" + next, "/v1/models/airports/ORD?at=before", "/v1/models/airports/NONE?at=before", "/v1/lookup/airports?key=ORD&at=before",
		"/v1/count/airports?at=before", "/v1/parked/airports?at=before",
	} {
		if p := problem(t, f.get(t, target), http.StatusNotFound, projections.ErrUnknownCopy); !strings.Contains(p.Next, "tidemark replay list airports") {
			t.Errorf("%s: the problem is %+v", target, p)
		}
	}
}

func TestWhatACopyCannotAnswerIsRefused(t *testing.T) {
	f, made, _, last := copied(t)
	const bad = http.StatusBadRequest
	for _, c := range []struct {
		target string
		status int
		code   events.Code
	}{
		{"/v1/models/airports/ORD?at=after", http.StatusNotFound, projections.ErrUnknownCopy},
		{"/v1/models/airports/ORD?at=%2E%2E", http.StatusNotFound, projections.ErrUnknownCopy},
		{"/v1/models/nothing/ORD?at=before", http.StatusNotFound, projections.ErrUnknownProjection},
		{"/v1/models/airports/ORD?at=", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?at=", bad, projections.ErrInvalidQuery},
		{"/v1/lookup/airports?key=ORD&at=", bad, projections.ErrInvalidQuery},
		{"/v1/count/airports?at=", bad, projections.ErrInvalidQuery},
		{"/v1/parked/airports?at=", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?at=before&at=before", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?at=before&consistency=strong", bad, projections.ErrInvalidQuery},
		{"/v1/watch/airports?at=before", bad, projections.ErrInvalidQuery},
		{"/v1/projections/airports/marks?at=before", bad, projections.ErrInvalidQuery},
		{"/v1/count/airports?at=before&index=colour", bad, projections.ErrUnknownIndex},
		{"/v1/models/airports?at=before&at-least=us.ffff@1:1", http.StatusGone, events.ErrLostPosition},
	} {
		t.Run(c.target, func(t *testing.T) { problem(t, f.get(t, c.target), c.status, c.code) })
	}
	p := problem(t, f.get(t, "/v1/models/airports?at=before&wait=1m&at-least="+last), http.StatusServiceUnavailable, projections.ErrNotReached)
	if p.Position != made.Position || !strings.Contains(p.Detail, "does not move") {
		t.Errorf("the problem is %+v", p)
	}
	if text, err := json.Marshal(p); err != nil || !strings.Contains(p.Next, "later copy") {
		t.Errorf("it does not say what to do: %s, %v", text, err)
	}
}
