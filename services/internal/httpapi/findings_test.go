package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tidemark.dev/projections"
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
