package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/failure"
)

// Observer is told of every request.
type Observer interface {
	// Begin tells that a request came. What it returns is called once with how it was answered: the route is a pattern, never a path, and empty for none; the
	// code is that of the problem, and empty for none.
	Begin(ctx context.Context, method string) func(route string, status int, code string)
	// Waited tells how long a read with a position, or a strong one, took, and the code of its error, empty for none.
	Waited(ctx context.Context, took time.Duration, code string)
	// Watching tells that a watch has begun: its request is answered, and goes on. What it returns is called with the code of its end.
	Watching(ctx context.Context) func(code string)
}

// observed is an answer that remembers what it was.
type observed struct {
	http.ResponseWriter
	status int
	code   string
	told   func() // tells the observer, once
}

func (o *observed) WriteHeader(status int) {
	if o.status == 0 {
		o.status = status
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *observed) Write(p []byte) (int, error) {
	if o.status == 0 {
		o.status = http.StatusOK
	}
	return o.ResponseWriter.Write(p)
}

// Unwrap lets a http.ResponseController find the connection.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// observe answers a request and tells the observer.
func (a *API) observe(w http.ResponseWriter, r *http.Request) {
	if a.options.Observer == nil {
		a.serve(w, r)
		return
	}
	end := a.options.Observer.Begin(r.Context(), r.Method)
	answered := &observed{ResponseWriter: w}
	otherwise := http.StatusInternalServerError // it panicked
	answered.told = sync.OnceFunc(func() {
		_, route, _ := strings.Cut(r.Pattern, " ")
		end(route, cmp.Or(answered.status, otherwise), answered.code)
	})
	defer answered.told()
	a.serve(answered, r)
	otherwise = http.StatusOK
}

// watching tells the observer that a watch has begun, and that its request is answered with that.
func (a *API) watching(ctx context.Context, w http.ResponseWriter) func(code string) {
	if o, ok := w.(*observed); ok {
		o.told()
	}
	if a.options.Observer == nil {
		return func(string) {}
	}
	return a.options.Observer.Watching(ctx)
}

// waited tells the observer of a read that could wait.
func (a *API) waited(ctx context.Context, o query.Options, begun time.Time, err error) {
	if a.options.Observer == nil || !o.Waits() {
		return
	}
	code := ""
	if err != nil {
		code = string(failure.Code(err))
	}
	a.options.Observer.Waited(ctx, time.Since(begun), code)
}
