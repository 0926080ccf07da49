package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"

	"tidemark.dev/events"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/failure"
)

// MaxLookupBytes bounds the body of a lookup: a thousand keys of 2 kB each, escaped.
const MaxLookupBytes = 8 << 20

// lookup answers with several documents, whose keys are in the query.
func (a *API) lookup(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r, []string{"key"}, modelParameters("key")...)
	if err != nil {
		return err
	}
	o, err := modelOptions(r, values)
	if err != nil {
		return err
	}
	return a.lookUp(w, r, values["key"], o)
}

// lookupBody answers with several documents, whose keys are in the body: a query has no room for a thousand.
func (a *API) lookupBody(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r, nil, modelParameters()...)
	if err != nil {
		return err
	}
	o, err := modelOptions(r, values)
	if err != nil {
		return err
	}
	keys, err := a.keys(w, r)
	if err != nil {
		return err
	}
	return a.lookUp(w, r, keys, o)
}

func (a *API) lookUp(w http.ResponseWriter, r *http.Request, keys []string, o query.Options) error {
	var found query.Documents
	err := a.asked(r, o, func(ctx context.Context) (err error) {
		found, err = a.reader.Lookup(ctx, r.PathValue("projection"), keys, o)
		return err
	})
	if err != nil {
		return err
	}
	return tell(w, r, &found.Standing, found)
}

// keys reads a body of the form {"keys": ["ORD", "JFK"]}.
func (a *API) keys(w http.ResponseWriter, r *http.Request) ([]string, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, events.Errorf(failure.ErrMediaType, "the body has the type %q, and only application/json is read here", clip(r.Header.Get("Content-Type")))
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, events.Errorf(failure.ErrMediaType, "a body with the encoding %q is not read", clip(e)).Hint("Send it as it is.")
	}
	text, err := a.body(w, r, MaxLookupBytes)
	if errors.Is(err, events.ErrTooLarge) {
		err = events.Errorf(events.ErrTooLarge, "the body has more than %d bytes", MaxLookupBytes).Hint("Ask for fewer keys: at most %d at once.", query.MaxKeys)
	}
	if err != nil {
		return nil, err
	}
	malformed := func(format string, args ...any) error {
		return events.Errorf(failure.ErrInvalidRequest, format, args...).Hint(`Send {"keys": ["ORD", "JFK"]}.`)
	}
	if err := events.CheckJSON(text); err != nil {
		return nil, err
	}
	var body struct {
		Keys []string `json:"keys"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		return nil, malformed("the body cannot be read: %w", err)
	}
	return body.Keys, nil
}
