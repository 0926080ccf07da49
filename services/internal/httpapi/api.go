package httpapi

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/failure"
)

// Headers of our own.
const (
	headerPosition = "Tidemark-Position"
	headerLag      = "Tidemark-Lag"
	headerLagAt    = "Tidemark-Lag-At"
	headerAtLeast  = "Tidemark-At-Least"
	headerExpect   = "Tidemark-Expect"

	headerGeneration = "Tidemark-Generation"
	headerAt         = "Tidemark-At" // the copy that an answer is from
)

const (
	// DefaultMaxWaits is how many requests may wait for a position at once. One costs a goroutine and a poll of the store.
	DefaultMaxWaits = 1_024
	// DefaultMaxWatches is how many watches may run at once. A quiet one costs a goroutine and one small read of the store each second.
	DefaultMaxWatches = 256
	// DefaultMaxBodies is how many large bodies may be in memory at once, each at most MaxBatchBytes.
	DefaultMaxBodies = 32
	// appendPatience bounds one append. It is longer than the log itself pursues an append in doubt, so that the log's answer is the one told.
	appendPatience = 45 * time.Second
)

//go:embed openapi.yaml
var document []byte

// Options of an API. The zero value works.
type Options struct {
	// Floors answer how many regions hold what was appended; nil: confirm is refused.
	Floors events.Floors
	// Metrics is served at /metrics; nil: there are none.
	Metrics http.Handler
	// Observer is told of every request; nil: nobody is.
	Observer Observer
	// Check says what of the service is missing, beside what the API sees itself; nil: nothing.
	Check func(context.Context) []Missing
	// Waiting marks an API of a service whose servers do not answer yet. It says what is waited for; everything but health answers so.
	Waiting func() error
	// Projections that must be live for the service to be ready, beside those that the region knows already.
	Projections []string
	// Expected returns the names of those that must be live, of what the region knows now; nil: Projections and all that it knows.
	Expected func(context.Context, *query.Overview) []string
	// Address is where the API listens. On a loopback address requests for other host names are refused; nil: they are not.
	Address net.Addr
	// MaxWaits, MaxWatches and MaxBodies bound what is served at once; default DefaultMaxWaits, DefaultMaxWatches, DefaultMaxBodies.
	MaxWaits, MaxWatches, MaxBodies int
	// WatchPatience is how long whoever watches may take for a part of what it is sent; default 10 s.
	WatchPatience time.Duration
	// Logger gets errors that have no code, and watches that were cut off; default: none.
	Logger *slog.Logger
}

// API answers requests. It is safe for concurrent use.
type API struct {
	log     events.Appender
	reader  *query.Reader
	options Options
	mux     *http.ServeMux // the resources
	front   *http.ServeMux // the resources, and what is none
	waits   chan struct{}  // one token for each request that waits for a position
	watches chan struct{}  // one token for each watch
	bodies  chan struct{}  // one token for each large body

	stopping context.Context //nolint:containedctx // it ends every wait
	stop     context.CancelCauseFunc
}

// New returns an API that appends to a log and reads with a reader. Either may be nil: then its resources are not there.
func New(log events.Appender, reader *query.Reader, o Options) *API {
	if o.MaxWaits <= 0 {
		o.MaxWaits = DefaultMaxWaits
	}
	if o.MaxWatches <= 0 {
		o.MaxWatches = DefaultMaxWatches
	}
	if o.WatchPatience <= 0 {
		o.WatchPatience = watchPatience
	}
	if o.MaxBodies <= 0 {
		o.MaxBodies = DefaultMaxBodies
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{
		log: log, reader: reader, options: o, mux: http.NewServeMux(), front: http.NewServeMux(),
		waits: make(chan struct{}, o.MaxWaits), watches: make(chan struct{}, o.MaxWatches), bodies: make(chan struct{}, o.MaxBodies),
	}
	a.stopping, a.stop = context.WithCancelCause(context.Background())
	for _, r := range a.routes() {
		a.mux.HandleFunc(r.method+" "+r.pattern, a.handle(r.serve))
		a.front.HandleFunc(r.method+" "+r.pattern, a.handle(r.serve))
	}
	a.front.HandleFunc("/", a.handle(a.noResource))
	return a
}

// Stop ends every wait for a position, and every watch, so that a server can shut down without waiting for them.
func (a *API) Stop() {
	a.stop(events.Errorf(failure.ErrStopping, "the service is stopping; the wait ended early").Hint("Ask again, or ask another one."))
}

// route is one resource and method. GET stands for HEAD too.
type route struct {
	method, pattern string
	serve           func(http.ResponseWriter, *http.Request) error
}

func (a *API) routes() []route {
	var all []route
	if a.log != nil {
		all = append(all, route{http.MethodPost, "/v1/events", a.publish})
	}
	if a.reader != nil {
		all = append(all,
			route{http.MethodGet, "/v1/models/{projection}", a.list},
			route{http.MethodGet, "/v1/models/{projection}/{key...}", a.get},
			route{http.MethodGet, "/v1/projections", a.projections},
			route{http.MethodGet, "/v1/projections/{projection}", a.definition},
			route{http.MethodGet, "/v1/projections/{projection}/marks", a.marks},
			route{http.MethodGet, "/v1/projections/{projection}/findings", a.findings},
			route{http.MethodGet, "/v1/projections/{projection}/replays", a.replays},
			route{http.MethodGet, "/v1/lookup/{projection}", a.lookup},
			route{http.MethodPost, "/v1/lookup/{projection}", a.lookupBody},
			route{http.MethodGet, "/v1/count/{projection}", a.count},
			route{http.MethodGet, "/v1/watch/{projection}", a.watch},
			route{http.MethodGet, "/v1/parked/{projection}", a.parked},
			route{http.MethodGet, "/v1/status", a.status})
	}
	if a.options.Metrics != nil {
		all = append(all, route{http.MethodGet, "/metrics", a.metrics})
	}
	return append(all,
		route{http.MethodGet, "/healthz", a.health},
		route{http.MethodGet, "/readyz", a.ready},
		route{http.MethodGet, "/openapi.yaml", a.openapi},
		route{http.MethodGet, "/{$}", a.index})
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.observe(w, r) }

func (a *API) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if err := a.admit(r); err != nil {
		a.fail(w, r, err)
		return
	}
	if a.options.Waiting != nil && strings.HasPrefix(r.URL.Path, "/v1/") {
		a.fail(w, r, a.options.Waiting())
		return
	}
	a.front.ServeHTTP(w, r)
}

// noResource answers what no resource does. The mux of the resources has an answer of its own, in plain text: no such path, or no such method. Ours is a problem document.
func (a *API) noResource(w http.ResponseWriter, r *http.Request) error {
	r.Pattern = "" // it is none
	var told unrouted
	handler, _ := a.mux.Handler(r)
	handler.ServeHTTP(&told, r)
	if told.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", told.Header().Get("Allow"))
		return events.Errorf(failure.ErrMethod, "%s does not know the method %s", r.URL.Path, r.Method).Hint("Use %s.", told.Header().Get("Allow"))
	}
	return events.Errorf(failure.ErrNoResource, "there is nothing at %s", r.URL.Path).Hint("GET / lists what there is.")
}

// unrouted keeps the status and the headers of an answer.
type unrouted struct {
	header http.Header
	status int
}

func (u *unrouted) Header() http.Header {
	if u.header == nil {
		u.header = make(http.Header)
	}
	return u.header
}

func (u *unrouted) WriteHeader(status int) { u.status = status }

func (u *unrouted) Write(p []byte) (int, error) { return len(p), nil }

func (a *API) handle(serve func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := serve(w, r); err != nil {
			a.fail(w, r, err)
		}
	}
}

// fail answers with a problem document.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	if failure.Code(err) == failure.ErrInternal {
		a.options.Logger.ErrorContext(r.Context(), "an error without a code", "method", r.Method, "path", r.URL.Path, "reason", err.Error())
	}
	if position := failure.Tell(err).Position; position != "" {
		w.Header().Set(headerPosition, position)
	}
	if o, ok := w.(*observed); ok {
		o.code = string(failure.Code(err))
	}
	failure.WriteProblem(w, err)
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, status int, v any) error {
	text, err := jsonOf(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client is gone: nobody is left to be told
	return nil
}

// jsonOf returns v as JSON, on a line of its own. What is asked for most writes itself.
func jsonOf(v any) ([]byte, error) {
	if own, ok := v.(interface {
		AppendJSON(b []byte) ([]byte, error)
	}); ok {
		text, err := own.AppendJSON(make([]byte, 0, 512))
		return append(text, '\n'), err
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return text.Bytes(), err
}

// place takes one of the places for requests that wait, and returns how to give it back.
func (a *API) place() (release func(), err error) {
	select {
	case a.waits <- struct{}{}:
		return func() { <-a.waits }, nil
	default:
		return nil, events.Errorf(events.ErrOverloaded, "%d requests wait already, for a position or for other regions; this one did not begin to", cap(a.waits)).
			Hint("Ask again in a moment.")
	}
}

func (a *API) openapi(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(document)
	return nil
}

func (a *API) metrics(w http.ResponseWriter, r *http.Request) error {
	a.options.Metrics.ServeHTTP(w, r)
	return nil
}

func (a *API) index(w http.ResponseWriter, _ *http.Request) error {
	var text strings.Builder
	text.WriteString("Tidemark\n\n")
	for _, r := range a.routes() {
		if r.pattern != "/{$}" {
			text.WriteString(r.method + strings.Repeat(" ", 5-len(r.method)) + r.pattern + "\n")
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text.String()))
	return nil
}
