package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/httpapi"
)

// held answers with the floors of two regions; the second one holds nothing of what is appended now.
type held struct{ level bool }

func (h held) Floors(context.Context) ([]events.Floor, error) {
	other := events.Floor{Region: "eu"}
	if h.level {
		other.Sequence = 1 << 40
	}
	return []events.Floor{other, {Region: "us", Sequence: 1 << 40}}, nil
}

func TestAnAppendCanWaitForOtherRegions(t *testing.T) {
	f := newFixture(t, httpapi.Options{Floors: held{level: true}})
	w := f.to(t, "/v1/events?confirm=2", flight, departed("1")...)
	status(t, w, http.StatusCreated)
	var got struct {
		Confirmed []string `json:"confirmed"`
	}
	decode(t, w.Body, &got)
	if !slices.Equal(got.Confirmed, []string{"eu", "us"}) {
		t.Errorf("confirmed by %v", got.Confirmed)
	}
}

func TestAnAppendThatIsNotConfirmedInTimeIsStoredAndSaysSo(t *testing.T) {
	f := newFixture(t, httpapi.Options{Floors: held{}})
	w := f.to(t, "/v1/events?confirm=2&wait=50ms", flight, departed("1")...)
	status(t, w, http.StatusServiceUnavailable)
	var got failure.Report
	decode(t, w.Body, &got)
	if got.Code != events.ErrNotConfirmed || got.Position != "us.abcd@1:2" || w.Header().Get("Tidemark-Position") != got.Position || f.head(t) != 2 {
		t.Errorf("%+v, the head is %d", got, f.head(t))
	}
}

func TestAConfirmationThatCannotBeMeantWritesNothing(t *testing.T) {
	f := newFixture(t, httpapi.Options{Floors: held{}})
	for _, q := range []string{"confirm=0", "confirm=-1", "confirm=x", "confirm=33", "confirm=", "confirm=2&wait=0", "confirm=2&wait=2m", "confirm=2&confirm=3", "wait=x"} {
		status(t, f.to(t, "/v1/events?"+q, flight, departed("1")...), http.StatusBadRequest)
	}
	alone := newFixture(t, httpapi.Options{})
	status(t, alone.to(t, "/v1/events?confirm=1", flight, departed("1")...), http.StatusBadRequest)
	if f.head(t) != 1 || alone.head(t) != 1 {
		t.Error("something was written")
	}
}

// A service has the resources of its parts only, and while it waits for its servers it says what it waits for.
func TestAServiceWithoutAPartHasNotItsResources(t *testing.T) {
	waits := events.Errorf(failure.ErrStarting, "the query waits: NATS does not answer")
	for _, c := range []struct {
		name, path string
		api        *httpapi.API
		status     int
	}{
		{"a writer has no models", "/v1/models/airports", httpapi.New(appender{}, nil, httpapi.Options{}), http.StatusNotFound},
		{"without metrics there are none", "/metrics", httpapi.New(appender{}, nil, httpapi.Options{}), http.StatusNotFound},
		{"a writer is ready without read models", "/readyz", httpapi.New(appender{}, nil, httpapi.Options{}), http.StatusOK},
		{"a check that fails", "/readyz", httpapi.New(appender{}, nil, httpapi.Options{Check: func(context.Context) []httpapi.Missing {
			return []httpapi.Missing{{Part: "leader", Reason: "it does not answer"}}
		}}), http.StatusServiceUnavailable},
		{"waiting is alive", "/healthz", httpapi.New(nil, nil, httpapi.Options{Waiting: func() error { return waits }}), http.StatusOK},
		{"waiting is not ready", "/readyz", httpapi.New(nil, nil, httpapi.Options{Waiting: func() error { return waits }}), http.StatusServiceUnavailable},
		{"waiting answers nothing", "/v1/models/airports", httpapi.New(nil, nil, httpapi.Options{Waiting: func() error { return waits }}), http.StatusServiceUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			c.api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.path, nil))
			if w.Code != c.status || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

// appender refuses everything.
type appender struct{ events.Appender }
