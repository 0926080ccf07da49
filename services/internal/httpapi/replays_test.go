package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/services/internal/httpapi"
)

func TestReplaysAreAnsweredWithoutDocuments(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	const path = "/v1/projections/airports/replays"
	w := f.get(t, path)
	status(t, w, http.StatusOK)
	if body := w.Body.String(); !strings.Contains(body, `"projection":"airports","replays":[]`) {
		t.Errorf("before any replay it answered %s", body)
	}
	job := projections.Replay{
		ID: "r1", Projection: "airports", State: projections.ReplayDone, Requested: time.Now(), ReplayRequest: projections.ReplayRequest{Reason: "test"},
		Difference: &projections.Difference{Changed: 1, Samples: []projections.Differing{{Key: "ORD", After: map[string]string{"departures": "4711"}}}},
	}
	if _, err := projections.WriteJSON(t.Context(), f.kv, projections.ReplayKey("airports"), job, 0); err != nil {
		t.Fatal(err)
	}
	w = f.get(t, path)
	status(t, w, http.StatusOK)
	if body := w.Body.String(); !strings.Contains(body, `"id":"r1"`) || !strings.Contains(body, `"changed":1`) || strings.Contains(body, "4711") {
		t.Errorf("it answered %s", body)
	}
	if body := f.get(t, "/v1/status").Body.String(); !strings.Contains(body, `"changed":1`) || strings.Contains(body, "4711") {
		t.Errorf("the status is %s", body)
	}
}

func (f *fixture) everyStatusOfReplays(t *testing.T) {
	t.Helper()
	f.kv.Disarm()
	const path = "/v1/projections/airports/replays"
	status(t, f.get(t, path), http.StatusOK)
	status(t, f.get(t, path+"?x=1"), http.StatusBadRequest)
	status(t, f.get(t, "/v1/projections/nothing/replays"), http.StatusNotFound)
	status(t, f.get(t, path, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden)
	status(t, f.get(t, path, "Host", "evil.example"), http.StatusMisdirectedRequest)
	f.kv.Fail(memstore.Fault{Op: memstore.OpKVGet})
	status(t, f.get(t, path), http.StatusServiceUnavailable)
	f.kv.Disarm()
}
