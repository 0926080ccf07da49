package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/httpapi"
)

func TestADocumentIsReadAtThePositionThatPublishingReturned(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	position := f.post(t, flight, departed("1")...).Header().Get("Tidemark-Position")
	w := f.get(t, "/v1/models/airports/ORD", "Tidemark-At-Least", position)
	status(t, w, http.StatusOK)
	want := regexp.MustCompile(`^{"projection":"airports","key":"ORD","region":"us","document":{"departures":1,"arrivals":0,"delay_total":0,"delay_max":0,"on_time":0,"last_landed":""},` +
		`"position":"us.abcd@1:2","lag":{"events":0,"at":"([0-9TZ:.-]+)"},"generation":1,"etag":"(1-[0-9a-f]{32})"}\n$`)
	got := want.FindStringSubmatch(w.Body.String())
	if got == nil {
		t.Fatalf("the answer is\n%s, want\n%s", w.Body, want)
	}
	h := w.Header()
	if h.Get("Tidemark-Position") != position || h.Get("Tidemark-Lag") != "0" || h.Get("Tidemark-Lag-At") != got[1] || h.Get("Tidemark-Generation") != "1" ||
		h.Get("ETag") != `W/"`+got[2]+`"` || h.Get("Content-Type") != "application/json" {
		t.Errorf("the headers are %v", h)
	}
}

func TestAnAbsentDocumentIsToldWithThePositionAtWhichThatIsTrue(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	position := f.post(t, flight, departed("1")...).Header().Get("Tidemark-Position")
	w := f.get(t, "/v1/models/airports/NONE?at-least="+position)
	p := problem(t, w, http.StatusNotFound, projections.ErrNoDocument)
	if p.Position != position || w.Header().Get("Tidemark-Position") != position {
		t.Errorf("the problem is %+v", p)
	}
}

func TestAPositionThatIsNotReachedIsToldWithTheOneThatIs(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	here := f.post(t, flight, departed("1")...).Header().Get("Tidemark-Position")
	status(t, f.get(t, "/v1/models/airports/ORD?at-least="+here), http.StatusOK)
	status(t, f.get(t, "/v1/models/airports?at-least="+here), http.StatusOK)
	for _, path := range []string{"/v1/models/airports/ORD", "/v1/models/airports/NONE", "/v1/models/airports"} {
		w := f.get(t, path+"?at-least=us.abcd@1:50&wait=10ms")
		p := problem(t, w, http.StatusServiceUnavailable, projections.ErrNotReached)
		if p.Position != here || w.Header().Get("Tidemark-Position") != here || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: the problem is %+v with %v", path, p, w.Header())
		}
	}
}

func TestALostReadModelIsNeverSaidToHaveNoDocument(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	status(t, f.post(t, flight, departed("1")...), http.StatusCreated)
	f.stopProjectors()
	f.store.Flush()
	problem(t, f.get(t, "/v1/models/airports/ORD"), http.StatusServiceUnavailable, projections.ErrUnavailable)
	problem(t, f.get(t, "/v1/models/airports"), http.StatusServiceUnavailable, projections.ErrUnavailable)
	w := f.get(t, "/readyz")
	status(t, w, http.StatusServiceUnavailable)
	if body := w.Body.String(); !strings.Contains(body, `"projection airports"`) || !strings.Contains(body, `"its read model is empty"`) {
		t.Errorf("the readiness is %s", body)
	}
}

func TestADocumentThatDidNotChangeIsNotSentAgain(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	first := f.post(t, flight, departed("1")...).Header().Get("Tidemark-Position")
	tag := f.get(t, "/v1/models/airports/ORD?at-least="+first).Header().Get("ETag")
	other := f.post(t, flight, departed("2", "ce-other", "x")...)
	status(t, other, http.StatusCreated)
	w := f.get(t, "/v1/models/airports/ORD?at-least="+other.Header().Get("Tidemark-Position"), "If-None-Match", tag)
	status(t, w, http.StatusOK)
	tag = w.Header().Get("ETag")
	headers := departed("3")
	headers[len(headers)-1] = "airport/JFK"
	elsewhere := f.post(t, flight, headers...).Header().Get("Tidemark-Position")
	w = f.get(t, "/v1/models/airports/ORD?at-least="+elsewhere, "If-None-Match", `"x", `+tag)
	status(t, w, http.StatusNotModified)
	if w.Header().Get("Tidemark-Position") != elsewhere || w.Body.Len() != 0 {
		t.Errorf("the answer is %v %s", w.Header(), w.Body)
	}
	status(t, f.get(t, "/v1/models/airports/ORD", "If-None-Match", "*"), http.StatusNotModified)
}

func TestKeysAreAnyText(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	for i, id := range []string{"a b", "a/b", "..", "a//b", "ü", "%41", "?&#", "*", ">", "a.b", "{}"} {
		headers := departed(fmt.Sprint(i))
		headers[len(headers)-1] = "airport/" + url.PathEscape(id)
		position := f.post(t, flight, headers...).Header().Get("Tidemark-Position")
		escaped := strings.ReplaceAll(url.PathEscape(id), ".", "%2E")
		w := f.get(t, "/v1/models/airports/"+escaped+"?at-least="+position)
		status(t, w, http.StatusOK)
		var got struct{ Key string }
		decode(t, w.Body, &got)
		if got.Key != id {
			t.Errorf("the key is %q, want %q", got.Key, id)
		}
	}
	status(t, f.get(t, "/v1/models/airports/a/b"), http.StatusOK)
}

func TestPagesListEveryDocumentOnce(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	var position string
	for i := range 7 {
		headers := departed(fmt.Sprint(i))
		headers[len(headers)-1] = fmt.Sprintf("airport/A%d", i)
		position = f.post(t, flight, headers...).Header().Get("Tidemark-Position")
	}
	var keys []string
	for after := ""; ; {
		target := "/v1/models/airports?limit=3&at-least=" + position
		if after != "" {
			target += "&after=" + after
		}
		w := f.get(t, target)
		status(t, w, http.StatusOK)
		var page struct {
			Items []struct {
				Key      string
				Document map[string]any
			}
			Next     string
			Position string
			Lag      *struct{ Events *int }
		}
		decode(t, w.Body, &page)
		for _, item := range page.Items {
			keys = append(keys, item.Key)
		}
		if page.Position != position || page.Lag == nil || page.Lag.Events == nil {
			t.Errorf("the page is %+v", page)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if got := strings.Join(keys, " "); got != "A0 A1 A2 A3 A4 A5 A6" {
		t.Errorf("the keys are %s", got)
	}
}

func TestABadQueryIsRefused(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	for i := range 2 {
		headers := departed(fmt.Sprint(i))
		headers[len(headers)-1] = fmt.Sprintf("airport/A%d", i)
		position := f.post(t, flight, headers...).Header().Get("Tidemark-Position")
		status(t, f.get(t, "/v1/models/airports?at-least="+position), http.StatusOK)
	}
	var page struct{ Next, Watch string }
	decode(t, f.get(t, "/v1/models/airports?limit=1").Body, &page)
	const bad = http.StatusBadRequest
	for _, c := range []struct {
		target string
		status int
		code   events.Code
	}{
		{"/v1/models/airports?limit=0", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?limit=-1", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?limit=1000000000", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?limit=many", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?limit=1&limit=2", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?after=forged", bad, projections.ErrInvalidCursor},
		{"/v1/models/routes?after=" + page.Next, bad, projections.ErrInvalidCursor},
		{"/v1/models/airports?after=", bad, projections.ErrInvalidCursor},
		{"/v1/models/airports?after=" + page.Next[1:], bad, projections.ErrInvalidCursor},
		{"/v1/models/airports?after=" + page.Next + "x", bad, projections.ErrInvalidCursor},
		{"/v1/models/airports?after=" + page.Watch, bad, projections.ErrInvalidCursor},
		{"/v1/models/airports?index=_parked&after=" + page.Next, bad, projections.ErrInvalidCursor},
		{"/v1/models/airports?index=colour", bad, projections.ErrUnknownIndex},
		{"/v1/models/airports?index=_parked&eq=many", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?index=_parked&eq=1&eq=2", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?index=_parked&eq=1&from=2", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?index=_parked&from=1.5", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?index=_parked&to=", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?index=_parked&order=up", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?order=desc", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?eq=1", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?from=1", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?index=_parked&index=_parked", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?consistency=linear", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?consistency=", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?consistency=at-least", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?consistency=strong&at-least=us.abcd@1:2", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?consistency=eventual&at-least=us.abcd@1:2", bad, projections.ErrInvalidQuery},
		{"/v1/count/airports?limit=1", bad, projections.ErrInvalidQuery},
		{"/v1/count/airports?index=colour", bad, projections.ErrUnknownIndex},
		{"/v1/count/airports?index=_parked&eq=x", bad, projections.ErrInvalidQuery},
		{"/v1/count/airports?to=1", bad, projections.ErrInvalidQuery},
		{"/v1/count/nothing", http.StatusNotFound, projections.ErrUnknownProjection},
		{"/v1/count/airports?at-least=us.ffff@1:1", http.StatusGone, events.ErrLostPosition},
		{"/v1/lookup/airports", bad, projections.ErrInvalidQuery},
		{"/v1/lookup/airports?key=", bad, projections.ErrInvalidKey},
		{"/v1/lookup/airports?key=A0&key=%FF", bad, projections.ErrInvalidKey},
		{"/v1/lookup/airports?key=A0" + strings.Repeat("&key=A0", 1_000), bad, projections.ErrInvalidQuery},
		{"/v1/lookup/airports?keys=A0", bad, projections.ErrInvalidQuery},
		{"/v1/lookup/airports?key=A0&at-least=us.abcd@7:1000&wait=1ms", http.StatusServiceUnavailable, projections.ErrNotReached},
		{"/v1/watch/airports?token=", bad, projections.ErrInvalidCursor},
		{"/v1/watch/airports?token=forged", bad, projections.ErrInvalidCursor},
		{"/v1/watch/airports?token=" + page.Next, bad, projections.ErrInvalidCursor},
		{"/v1/watch/routes?token=" + page.Watch, bad, projections.ErrInvalidCursor},
		{"/v1/watch/airports?token=" + page.Watch[2:], bad, projections.ErrInvalidCursor},
		{"/v1/watch/airports?from=" + page.Watch, bad, projections.ErrInvalidQuery},
		{"/v1/watch/airports?heartbeat=1h", bad, projections.ErrInvalidQuery},
		{"/v1/watch/airports?heartbeat=soon", bad, projections.ErrInvalidQuery},
		{"/v1/watch/airports?heartbeat=0", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?atleast=us.abcd@1:2", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports?%zz", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports/A0?limit=3", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports/A0?at-least=", bad, events.ErrInvalidPosition},
		{"/v1/models/airports/A0?at-least=yesterday", bad, events.ErrInvalidPosition},
		{"/v1/models/airports/A0?at-least=us.abcd@1:-1", bad, events.ErrInvalidPosition},
		{"/v1/models/airports/A0?at-least=us.ffff@1:1", http.StatusGone, events.ErrLostPosition},
		{"/v1/models/airports/A0?at-least=mars.abcd@1:1", http.StatusGone, events.ErrLostPosition},
		{"/v1/models/airports/A0?at-least=us.abcd@7:1000&wait=1ms", http.StatusServiceUnavailable, projections.ErrNotReached},
		{"/v1/models/airports/A0?at-least=us.abcd@1:2&wait=soon", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports/A0?at-least=us.abcd@1:2&wait=-1s", bad, projections.ErrInvalidQuery},
		{"/v1/models/airports/A0?at-least=us.abcd@1:2&wait=1h", bad, projections.ErrInvalidQuery},
		{"/v1/models/nothing/A0", http.StatusNotFound, projections.ErrUnknownProjection},
		{"/v1/models/No%20Name/A0", http.StatusNotFound, projections.ErrUnknownProjection},
		{"/v1/models/airports/", bad, projections.ErrInvalidKey},
		{"/v1/models/airports/%FF", bad, projections.ErrInvalidKey},
		{"/v1/models/airports/" + strings.Repeat("x", 3000), bad, projections.ErrInvalidKey},
		{"/v1/models/airports/a//b", bad, failure.ErrInvalidRequest},
		{"/v1/models/airports/../routes", bad, failure.ErrInvalidRequest},
		{"/v2/models", http.StatusNotFound, failure.ErrNoResource},
	} {
		t.Run(c.target[:min(len(c.target), 60)], func(t *testing.T) {
			problem(t, f.get(t, c.target), c.status, c.code)
		})
	}
	problem(t, f.get(t, "/v1/models/airports/A0?at-least=us.abcd@1:2", "Tidemark-At-Least", "us.abcd@1:3"), bad, events.ErrInvalidPosition)
}

func TestAMethodThatIsNotKnownIsToldWithThoseThatAre(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	for target, allow := range map[string]string{"/v1/events": "POST", "/v1/models/airports": "GET, HEAD", "/": "GET, HEAD"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodDelete, target, nil)
		w := f.do(t, r)
		problem(t, w, http.StatusMethodNotAllowed, failure.ErrMethod)
		if got := w.Header().Get("Allow"); got != allow {
			t.Errorf("%s allows %q, want %q", target, got, allow)
		}
	}
}

func TestAServerThatDoesNotAnswerIsNamed(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	position := f.post(t, flight, departed("1")...).Header().Get("Tidemark-Position")
	status(t, f.get(t, "/v1/models/airports/ORD?at-least="+position), http.StatusOK)
	f.stopProjectors()
	f.log.Unreachable(-1)
	eventually(t, "the head is not known any more", func() bool {
		w := f.get(t, "/v1/models/airports/ORD")
		status(t, w, http.StatusOK) // an old answer with its position is still a true one
		return w.Header().Get("Tidemark-Lag") == "unknown" && strings.Contains(w.Body.String(), `"lag":null`)
	})
	problem(t, f.get(t, "/v1/models/airports/ORD?at-least="+position), http.StatusServiceUnavailable, events.ErrUnreachable)
	if body := f.get(t, "/readyz").Body.String(); !strings.Contains(body, `"part":"log"`) {
		t.Errorf("the readiness is %s", body)
	}
	f.store.Fail(memstore.Fault{Op: memstore.OpGet})
	problem(t, f.get(t, "/v1/models/airports/ORD"), http.StatusServiceUnavailable, projections.ErrStoreUnreachable)
}

func TestTheStatusShowsEveryProjection(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	w := f.get(t, "/v1/status")
	status(t, w, http.StatusOK)
	var got struct {
		Region      string
		Head        string
		Projections []struct{ Name, State, Projector string }
	}
	decode(t, w.Body, &got)
	if got.Region != "us" || got.Head == "" || len(got.Projections) != 2 || got.Projections[0].Name != "airports" || got.Projections[0].State != "live" {
		t.Errorf("the status is %+v", got)
	}
}

func TestAProjectionThatNobodyBeganIsNotReady(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	more := httpapi.New(f.log, reader(f), httpapi.Options{Projections: []string{"airports", "missing"}})
	w := httptest.NewRecorder()
	more.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
	var got struct {
		Ready   bool
		Missing []struct{ Part, Reason string }
	}
	decode(t, w.Body, &got)
	if w.Code != http.StatusServiceUnavailable || got.Ready || len(got.Missing) != 1 || got.Missing[0].Part != "projection missing" {
		t.Errorf("the readiness is %d %+v", w.Code, got)
	}
}

func TestWaitsAreBoundedAndEndWhenTheServiceStops(t *testing.T) {
	f := newFixture(t, httpapi.Options{MaxWaits: 1})
	answers := make(chan *httptest.ResponseRecorder)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/models/airports/ORD?at-least=us.abcd@1:50&wait=1m", nil)
		r.Host = host
		f.api.ServeHTTP(w, r)
		answers <- w
	}()
	eventually(t, "the first wait has begun", func() bool { return httpapi.Waiting(f.api) == 1 })
	w := f.get(t, "/v1/models/airports/ORD?at-least=us.abcd@1:50&wait=0")
	problem(t, w, http.StatusServiceUnavailable, events.ErrOverloaded)
	f.api.Stop()
	problem(t, <-answers, http.StatusServiceUnavailable, failure.ErrStopping)
	status(t, f.get(t, "/readyz"), http.StatusServiceUnavailable)
}
