package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/httpapi"
)

// held answers with the floors of two regions; the second one holds nothing of what is appended now.
type held struct{ level bool }

func (h held) Floors(context.Context) ([]events.Floor, error) {
	other := events.Floor{Region: "eu", Connected: true}
	if h.level {
		other.Sequence = 1 << 40
	}
	return []events.Floor{other, {Region: "us", Sequence: 1 << 40, Connected: true}}, nil
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
	status(t, w, http.StatusConflict)
	var got failure.Report
	decode(t, w.Body, &got)
	if got.Code != events.ErrNotConfirmed || got.Position != "us.abcd@1:2" || w.Header().Get("Tidemark-Position") != got.Position || f.head(t) != 2 {
		t.Errorf("%+v, the head is %d", got, f.head(t))
	}
}

// TestAConfirmationEndsWhenTheServiceStops: the answer says that the event is stored, instead of the connection being cut.
func TestAConfirmationEndsWhenTheServiceStops(t *testing.T) {
	f := newFixture(t, httpapi.Options{Floors: held{}, MaxWaits: 1})
	answered := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/events?confirm=2&wait=1m", strings.NewReader(flight))
		set(r, departed("1"))
		r.Host = host
		f.api.ServeHTTP(w, r)
		answered <- w
	}()
	eventually(t, "the event is stored and the wait has begun", func() bool { return f.head(t) == 2 && httpapi.Waiting(f.api) == 1 })
	status(t, f.to(t, "/v1/events?confirm=2", flight, departed("2")...), http.StatusServiceUnavailable) // no place, and nothing written
	if f.head(t) != 2 {
		t.Error("a request without a place wrote")
	}
	f.api.Stop()
	w := <-answered
	status(t, w, http.StatusConflict)
	if !strings.Contains(w.Body.String(), "us.abcd@1:2") {
		t.Errorf("the answer is %s", w.Body)
	}
}

func TestAConfirmationThatCannotBeMeantWritesNothing(t *testing.T) {
	f := newFixture(t, httpapi.Options{Floors: held{}})
	for _, q := range []string{"confirm=0", "confirm=-1", "confirm=x", "confirm=33", "confirm=", "confirm=2&wait=0", "confirm=2&wait=2m", "confirm=2&confirm=3", "wait=x", "wait=1s"} {
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
