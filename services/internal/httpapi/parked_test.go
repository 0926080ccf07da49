package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/httpapi"
)

func TestParkedDocumentsAreListedWithoutTheirValues(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	for _, airport := range []string{"ORD", "JFK"} {
		headers := departed(airport, "ce-subject", "airport/"+airport)
		status(t, f.post(t, `{"delay":"SECRET"}`, append(headers[:len(headers)-4], headers[len(headers)-2:]...)...), http.StatusCreated)
	}
	eventually(t, "every partition is there", func() bool {
		return f.get(t, "/v1/parked/airports").Header().Get("Tidemark-Position") == "us.abcd@1:3"
	})
	var all []string
	for after := ""; ; {
		w := f.get(t, "/v1/parked/airports?limit=1&after="+after)
		status(t, w, http.StatusOK)
		if strings.Contains(w.Body.String(), "SECRET") || w.Header().Get("Tidemark-Position") != "us.abcd@1:3" || w.Header().Get("Tidemark-Lag") == "" {
			t.Errorf("the answer is %s with %v", w.Body, w.Header())
		}
		var page query.ParkedPage
		decode(t, w.Body, &page)
		for _, d := range page.Items {
			all = append(all, d.Key+" "+d.At+" "+d.Reason)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	const reason = " the data of FlightDeparted cannot be read: delay is a JSON string, and int64 is wanted"
	if len(all) != 2 || all[0] != "ORD us.abcd@1:2"+reason || all[1] != "JFK us.abcd@1:3"+reason {
		t.Errorf("listed are %q", all)
	}
	problem(t, f.get(t, "/v1/parked/airports?limit=0"), http.StatusBadRequest, projections.ErrInvalidQuery)
	problem(t, f.get(t, "/v1/parked/airports?limit=x"), http.StatusBadRequest, projections.ErrInvalidQuery)
	problem(t, f.get(t, "/v1/parked/airports?reveal=true"), http.StatusBadRequest, projections.ErrInvalidQuery)
	problem(t, f.get(t, "/v1/parked/airports?after=zzz"), http.StatusBadRequest, projections.ErrInvalidCursor)
}
