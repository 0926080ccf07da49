package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/httpapi"
)

// event is a server-sent event.
type event struct{ kind, id, data string }

// events of a stream, one after the other.
type stream struct {
	t    *testing.T
	body io.ReadCloser
	text *bufio.Reader
}

// next returns the next event; false at the end of the stream.
func (s *stream) next() (e event, ok bool) {
	for {
		line, err := s.text.ReadString('\n')
		if err != nil {
			return e, false
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "event":
			e.kind = value
		case "id":
			e.id = value
		case "data":
			if e.data != "" {
				s.t.Errorf("an event has two lines of data: %q, %q", e.data, value)
			}
			e.data = value
		case "":
			if e.kind != "" {
				return e, true
			}
		}
	}
}

// until returns the events up to one of a kind.
func (s *stream) until(kind string) []event {
	s.t.Helper()
	var all []event
	for {
		e, ok := s.next()
		if !ok {
			s.t.Fatalf("the stream ended without %s: %+v", kind, all)
		}
		if all = append(all, e); e.kind == kind {
			return all
		}
	}
}

// served is a fixture whose API listens.
type served struct {
	*fixture
	base string
	stop func()
}

func serve(t *testing.T, o httpapi.Options) *served {
	t.Helper()
	l, err := httpapi.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Address = l.Addr()
	s := &served{fixture: newFixture(t, o), base: "http://" + l.Addr().String()}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- httpapi.Serve(ctx, l, s.api, slog.New(slog.DiscardHandler)) }()
	s.stop = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("serving ended with %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// open begins to watch.
func (s *served) open(t *testing.T, target string, headers ...string) (*http.Response, *stream) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.base+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	set(r, headers)
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Body.Close() })
	return w, &stream{t: t, body: w.Body, text: bufio.NewReader(w.Body)}
}

func (s *served) depart(t *testing.T, id, airport string) string {
	t.Helper()
	headers := departed(id)
	headers[len(headers)-1] = "airport/" + airport
	w := s.post(t, flight, headers...)
	status(t, w, http.StatusCreated)
	return w.Header().Get("Tidemark-Position")
}

func TestAWatchTellsWhatChangesAndGoesOnFromWhereItStood(t *testing.T) {
	s := serve(t, httpapi.Options{})
	position := s.depart(t, "1", "ORD")
	var page struct{ Watch string }
	decode(t, s.get(t, "/v1/models/airports?at-least="+position).Body, &page)
	s.depart(t, "2", "JFK")
	w, watch := s.open(t, "/v1/watch/airports?token="+page.Watch)
	if h := w.Header; w.StatusCode != http.StatusOK || h.Get("Content-Type") != "text/event-stream" || h.Get("Tidemark-Generation") != "1" || h.Get("Tidemark-Position") == "" {
		t.Fatalf("the answer is %d %v", w.StatusCode, h)
	}
	var got []event
	for len(got) < 2 { // the change may come after a first position
		got = append(got, watch.until("position")...)
	}
	change := got[len(got)-2]
	if change.kind != "change" || change.id != "" || !strings.HasPrefix(change.data, `{"key":"JFK","document":{"departures":1,`) || !strings.Contains(change.data, `"changed":"us.abcd@1:3"`) {
		t.Errorf("the events are %+v", got)
	}
	var at struct {
		Position   string
		Generation int
		Lag        *struct{ Events *int }
	}
	if err := json.Unmarshal([]byte(got[len(got)-1].data), &at); err != nil || at.Position == "" || at.Generation != 1 || at.Lag == nil {
		t.Errorf("the position is %+v, %v", at, err)
	}
	token := got[len(got)-1].id
	_ = w.Body.Close()

	s.depart(t, "3", "LAX")
	_, again := s.open(t, "/v1/watch/airports?token="+page.Watch, "Last-Event-ID", token) // as a browser comes back
	for last := ""; !strings.Contains(last, `"key":"LAX"`); {                             // what was told may be told again before
		e := again.until("change")
		if last = e[len(e)-1].data; strings.Contains(last, `"key":"ORD"`) {
			t.Errorf("it goes on with %+v", e)
		}
	}
	s.depart(t, "4", "LAX")
	if e := again.until("change"); !strings.Contains(e[len(e)-1].data, `"departures":2`) {
		t.Errorf("then comes %+v", e)
	}
}

func TestAQuietWatchSaysWhereItStandsAgainAndAgain(t *testing.T) {
	s := serve(t, httpapi.Options{})
	s.depart(t, "1", "ORD")
	_, watch := s.open(t, "/v1/watch/airports?heartbeat=100ms&prefix=X")
	for range 5 {
		if got := watch.until("position"); len(got) != 1 || got[0].id == "" {
			t.Errorf("the events are %+v", got)
		}
	}
}

func TestAWatchEndsWithTheServiceAndSaysSo(t *testing.T) {
	s := serve(t, httpapi.Options{})
	_, watch := s.open(t, "/v1/watch/airports")
	watch.until("position")
	go s.stop()
	got := watch.until("end")
	var p failure.Problem
	if err := json.Unmarshal([]byte(got[len(got)-1].data), &p); err != nil || p.Code != string(failure.ErrStopping) || p.Next == "" {
		t.Errorf("it ends with %+v, %v", p, err)
	}
	if e, more := watch.next(); more {
		t.Errorf("after the end comes %+v", e)
	}
}

func TestAWatchWhoseGenerationIsReplacedEndsAndCannotGoOn(t *testing.T) {
	s := serve(t, httpapi.Options{})
	s.depart(t, "1", "ORD")
	_, watch := s.open(t, "/v1/watch/airports")
	token := watch.until("position")[0].id
	if _, err := projections.RequestReplay(t.Context(), s.kv, "airports", "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	got := watch.until("end")
	if !strings.Contains(got[len(got)-1].data, `"code":"resync"`) {
		t.Errorf("it ends with %+v", got)
	}
	problem(t, s.get(t, "/v1/watch/airports?token="+token), http.StatusGone, projections.ErrResync)
}

func TestWatchesAreBounded(t *testing.T) {
	s := serve(t, httpapi.Options{MaxWatches: 2})
	var first *http.Response
	for range 2 {
		w, watch := s.open(t, "/v1/watch/airports")
		watch.until("position")
		first = w
	}
	w, _ := s.open(t, "/v1/watch/airports")
	if w.StatusCode != http.StatusServiceUnavailable || w.Header.Get("Retry-After") == "" {
		t.Errorf("a third one is answered %d %v", w.StatusCode, w.Header)
	}
	_ = first.Body.Close() // one that goes makes room
	eventually(t, "there is room", func() bool {
		w, _ := s.open(t, "/v1/watch/airports")
		return w.StatusCode == http.StatusOK
	})
}

// pipes is a listener whose connections hold nothing: what is written has to be read.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7070} }

// counted is an observer that counts watches and requests.
type counted struct {
	mu       sync.Mutex
	running  int
	ends     []string
	requests []string
}

func (c *counted) Begin(context.Context, string) func(route string, status int, code string) {
	return func(route string, status int, code string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.requests = append(c.requests, fmt.Sprint(route, " ", status, " ", code))
	}
}

func (c *counted) Waited(context.Context, time.Duration, string) {}

func (c *counted) Watching(context.Context) func(code string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running++
	return func(code string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.running--
		c.ends = append(c.ends, code)
	}
}

func (c *counted) now() (running int, ends string, requests []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running, strings.Join(c.ends, " "), append([]string(nil), c.requests...)
}

func TestAClientThatDoesNotTakeWhatItIsSentIsCutOff(t *testing.T) {
	seen := &counted{}
	f := newFixture(t, httpapi.Options{WatchPatience: 2 * time.Second, Observer: seen})
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- httpapi.Serve(ctx, l, f.api, slog.New(slog.DiscardHandler)) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	ours, theirs := net.Pipe()
	l.conns <- theirs
	if _, err := io.WriteString(ours, "GET /v1/watch/airports HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReaderSize(ours, 16), nil)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", response, err)
	}
	eventually(t, "it runs, and its request is counted as answered", func() bool {
		running, _, requests := seen.now()
		return running == 1 && len(requests) > 0 && requests[len(requests)-1] == "/v1/watch/{projection} 200 "
	})
	eventually(t, "it is cut off", func() bool { // it reads no more
		running, ends, _ := seen.now()
		return running == 0 && ends == string(failure.ErrTooSlow)
	})
	if httpapi.Watching(f.api) != 0 {
		t.Error("its place is not free")
	}
}

func TestAStrongReadAsksTheLogAndFailsWithoutIt(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	targets := []string{"/v1/models/airports/ORD?", "/v1/models/airports?", "/v1/count/airports?", "/v1/lookup/airports?key=ORD&", "/v1/models/airports?index=_parked&"}
	for i, target := range targets {
		position := f.post(t, flight, departed(fmt.Sprint(i))...).Header().Get("Tidemark-Position")
		w := f.get(t, target+"consistency=strong")
		status(t, w, http.StatusOK)
		if got := w.Header().Get("Tidemark-Position"); got != position {
			t.Errorf("%s is answered at %s, after %s was acknowledged", target, got, position)
		}
	}
	f.log.Unreachable(-1)
	for _, target := range targets {
		p := problem(t, f.get(t, target+"consistency=strong"), http.StatusServiceUnavailable, events.ErrUnreachable)
		if p.Position != "" {
			t.Errorf("%s: an answer is in the problem: %+v", target, p)
		}
	}
}

func TestSeveralDocumentsComeAtOnce(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	position := f.post(t, flight, departed("1")...).Header().Get("Tidemark-Position")
	one := f.get(t, "/v1/lookup/airports?key=ORD&key=NONE&key=a%2Fb&consistency=at-least&at-least="+position)
	status(t, one, http.StatusOK)
	many := f.to(t, "/v1/lookup/airports", `{"keys":["ORD","NONE","a/b"]}`, "Content-Type", "application/json; charset=utf-8")
	status(t, many, http.StatusOK)
	if one.Header().Get("ETag") == "" || one.Header().Get("ETag") != many.Header().Get("ETag") || many.Header().Get("Tidemark-Position") != position {
		t.Errorf("the headers are %v and %v", one.Header(), many.Header())
	}
	if !strings.Contains(one.Body.String(), `"items":[{"key":"ORD","document":{"departures":1,`) || !strings.Contains(one.Body.String(), `{"key":"NONE","document":null,"missing":true},{"key":"a/b",`) {
		t.Errorf("the answer is %s", one.Body)
	}
	for body, code := range map[string]events.Code{
		`{"keys":["ORD"],"key":"x"}`: failure.ErrInvalidRequest, `{"keys":"ORD"}`: failure.ErrInvalidRequest, `["ORD"]`: failure.ErrInvalidRequest, `{}`: projections.ErrInvalidQuery,
		`{"keys":[1]}`: failure.ErrInvalidRequest, `{"keys":["ORD"],"keys":["JFK"]}`: events.ErrInvalidData, `{"keys":["ORD"`: events.ErrInvalidData,
		`{"keys":[""]}`: projections.ErrInvalidKey, "": events.ErrInvalidData,
	} {
		problem(t, f.to(t, "/v1/lookup/airports", body, "Content-Type", "application/json"), http.StatusBadRequest, code)
	}
	problem(t, f.to(t, "/v1/lookup/airports", `{"keys":["ORD"]}`, "Content-Type", "application/json", "Content-Encoding", "gzip"), http.StatusUnsupportedMediaType, failure.ErrMediaType)
	problem(t, f.to(t, "/v1/lookup/airports?key=ORD", `{"keys":["ORD"]}`, "Content-Type", "application/json"), http.StatusBadRequest, projections.ErrInvalidQuery)
}

func TestAnAbsentDocumentSaysWhereThatIsTrueInTheHeadersToo(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	position := f.post(t, flight, departed("1")...).Header().Get("Tidemark-Position")
	w := f.get(t, "/v1/models/airports/NONE?at-least="+position)
	status(t, w, http.StatusNotFound)
	if h := w.Header(); h.Get("Tidemark-Position") != position || h.Get("Tidemark-Lag") != "0" || h.Get("Tidemark-Generation") != "1" || h.Get("ETag") != "" {
		t.Errorf("the headers are %v", h)
	}
}
