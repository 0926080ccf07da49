package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/services/internal/httpapi"
)

func TestFindingsAreAnsweredWithoutValues(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	const path = "/v1/projections/airports/findings"
	w := f.get(t, path)
	status(t, w, http.StatusOK)
	if body := w.Body.String(); !strings.Contains(body, `"projection":"airports"`) || strings.Contains(body, "scrubbed") {
		t.Errorf("before anything was examined it answered %s", body)
	}
	secret := "4711"
	record := reconcile.Record{
		Region: "us", Projection: "airports", Scrubbed: &reconcile.Pass{Ended: time.Now(), Documents: 3}, Found: 1, Open: true, TotalFound: 1,
		Findings: []reconcile.Finding{{Key: "ORD", Kind: reconcile.KindAltered, Fields: []reconcile.FieldDifference{{Field: "departures", Expected: &secret, Found: &secret}}}},
	}
	if _, err := projections.WriteJSON(t.Context(), f.kv, reconcile.RecordKey("airports"), record, 0); err != nil {
		t.Fatal(err)
	}
	w = f.get(t, path)
	status(t, w, http.StatusOK)
	if body := w.Body.String(); !strings.Contains(body, `"key":"ORD"`) || !strings.Contains(body, "int") || strings.Contains(body, secret) {
		t.Errorf("it answered %s", body)
	}
	status(t, f.get(t, "/v1/projections/nothing/findings"), http.StatusNotFound)
	status(t, f.get(t, path+"?limit=1"), http.StatusBadRequest)
}

func (f *fixture) everyStatusOfFindings(t *testing.T) {
	t.Helper()
	f.kv.Disarm()
	const path = "/v1/projections/airports/findings"
	status(t, f.get(t, path), http.StatusOK)
	status(t, f.get(t, path+"?x=1"), http.StatusBadRequest)
	status(t, f.get(t, "/v1/projections/nothing/findings"), http.StatusNotFound)
	status(t, f.get(t, path, "Sec-Fetch-Site", "cross-site"), http.StatusForbidden)
	status(t, f.get(t, path, "Host", "evil.example"), http.StatusMisdirectedRequest)
	f.kv.Fail(memstore.Fault{Op: memstore.OpKVGet})
	status(t, f.get(t, path), http.StatusServiceUnavailable)
	f.kv.Disarm()
}
