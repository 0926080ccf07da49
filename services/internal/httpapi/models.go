package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/failure"
)

// get answers with one document.
func (a *API) get(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r, "at-least", "wait")
	if err != nil {
		return err
	}
	o, err := readOptions(r, values)
	if err != nil {
		return err
	}
	ctx, done, err := a.patient(r.Context(), o.AtLeast)
	if err != nil {
		return err
	}
	defer done()
	projection, key := r.PathValue("projection"), r.PathValue("key")
	begun := time.Now()
	found, err := a.reader.Get(ctx, projection, key, o)
	a.waited(r.Context(), o.AtLeast, begun, err)
	if err != nil {
		return failure.Reached(r.Context(), err, func(ctx context.Context, o query.Options) (events.Position, error) {
			found, err := a.reader.Get(ctx, projection, key, o)
			return found.Position, err
		})
	}
	h := w.Header()
	stand(h, found.Position, found.Lag)
	h.Set("Cache-Control", "no-cache") // a cache may keep it, and asks again before it uses it
	tag := entityTag(&found)
	h.Set("ETag", tag)
	if matches(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return answer(w, http.StatusOK, found)
}

// list answers with a page of documents.
func (a *API) list(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r, "at-least", "wait", "limit", "after")
	if err != nil {
		return err
	}
	o := query.ListOptions{After: values.Get("after")}
	if o.Options, err = readOptions(r, values); err != nil {
		return err
	}
	if values.Has("limit") {
		if o.Limit, err = strconv.Atoi(values.Get("limit")); err != nil || o.Limit == 0 {
			return events.Errorf(projections.ErrInvalidQuery, "a limit of %q is not a number from 1 to %d", clip(values.Get("limit")), query.MaxLimit)
		}
	}
	ctx, done, err := a.patient(r.Context(), o.AtLeast)
	if err != nil {
		return err
	}
	defer done()
	projection := r.PathValue("projection")
	begun := time.Now()
	page, err := a.reader.List(ctx, projection, o)
	a.waited(r.Context(), o.AtLeast, begun, err)
	if err != nil {
		return failure.Reached(r.Context(), err, func(ctx context.Context, o query.Options) (events.Position, error) {
			page, err := a.reader.List(ctx, projection, query.ListOptions{Options: o, Limit: 1})
			return page.Position, err
		})
	}
	stand(w.Header(), page.Position, page.Lag)
	w.Header().Set("Cache-Control", "no-cache")
	return answer(w, http.StatusOK, page)
}

// stand says where the read model stands.
func stand(h http.Header, p events.Position, lag *query.Lag) {
	h.Set(headerPosition, p.String())
	if lag == nil {
		h.Set(headerLag, "unknown")
		return
	}
	h.Set(headerLag, strconv.FormatUint(lag.Events, 10))
}

// entityTag identifies a document's content: it changes only at the position at which an event changed it, or when another generation, which
// may be of another version, took over. Weak, because position and lag beside the document move on.
func entityTag(a *query.Answer) string {
	tag := `W/"` + strconv.FormatUint(uint64(a.Generation), 10) + "/" + a.Changed
	if a.Parked != "" {
		parked, _, _ := strings.Cut(a.Parked, " ")
		tag += "/" + parked
	}
	return strings.ReplaceAll(tag, ",", ";") + `"` // a comma separates tags in If-None-Match
}

func matches(headers []string, tag string) bool {
	for _, h := range headers {
		for candidate := range strings.SplitSeq(h, ",") {
			if candidate = strings.TrimSpace(candidate); candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
	}
	return false
}

// readOptions reads what a read asks of the position.
func readOptions(r *http.Request, values url.Values) (o query.Options, err error) {
	given := r.Header.Values(headerAtLeast)
	if values.Has("at-least") {
		given = append(slices.Clone(given), values.Get("at-least"))
	}
	for i, text := range given {
		if text == "" {
			// An empty variable in a script: answering from anywhere would look like keeping the promise.
			return o, events.Errorf(events.ErrInvalidPosition, "the position to wait for is empty").Hint("Leave at-least out to read without one.")
		}
		p, err := events.ParsePosition(text)
		if err != nil {
			return o, err
		}
		if i > 0 && !p.Equal(o.AtLeast) {
			return o, events.Errorf(events.ErrInvalidPosition, "the request names two different positions").Hint("Name one.")
		}
		o.AtLeast = p
	}
	if !values.Has("wait") {
		return o, nil
	}
	wait, err := time.ParseDuration(values.Get("wait"))
	switch {
	case err != nil || wait < 0:
		return o, events.Errorf(projections.ErrInvalidQuery, "a wait of %q is not a duration such as 5s or 250ms", clip(values.Get("wait")))
	case wait == 0:
		wait = -1
	}
	o.Wait = wait
	return o, nil
}

// parameters reads the query and refuses what it does not know: a misspelt at-least would be a promise not kept.
func parameters(r *http.Request, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, events.Errorf(projections.ErrInvalidQuery, "the query cannot be read: %w", err)
	}
	for name, list := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, events.Errorf(projections.ErrInvalidQuery, "there is no parameter %q here", clip(name)).
				Hint("%s", allowed(known))
		case len(list) > 1:
			return nil, events.Errorf(projections.ErrInvalidQuery, "the parameter %s is there %d times", name, len(list))
		}
	}
	return values, nil
}

func allowed(known []string) string {
	if len(known) == 0 {
		return "This resource takes none."
	}
	return "There are " + strings.Join(known, ", ") + "."
}
