package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// get answers with one document.
func (a *API) get(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r, nil, modelParameters()...)
	if err != nil {
		return err
	}
	o, err := modelOptions(r, values)
	if err != nil {
		return err
	}
	var found query.Answer
	err = a.asked(r, o, func(ctx context.Context) (err error) {
		found, err = a.reader.Get(ctx, r.PathValue("projection"), r.PathValue("key"), o)
		return err
	})
	if absence, ok := errors.AsType[*query.Absence](err); ok {
		stand(w.Header(), &absence.Answer.Standing)
	}
	if err != nil {
		return err
	}
	return tell(w, r, &found.Standing, found)
}

// list answers with a page of documents, by key or by an index.
func (a *API) list(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r, []string{"eq"}, modelParameters("limit", "after", "index", "eq", "from", "to", "order")...)
	if err != nil {
		return err
	}
	o := query.ListOptions{After: values.Get("after"), Range: rangeOf(values)}
	if o.Options, err = modelOptions(r, values); err != nil {
		return err
	}
	if values.Has("limit") {
		if o.Limit, err = strconv.Atoi(values.Get("limit")); err != nil || o.Limit == 0 {
			return events.Errorf(projections.ErrInvalidQuery, "a limit of %q is not a number from 1 to %d", clip(values.Get("limit")), query.MaxLimit)
		}
	}
	if values.Has("after") && o.After == "" {
		return events.Errorf(projections.ErrInvalidCursor, "the cursor is empty").Hint("Leave after out for the first page; a page without next is the last one.")
	}
	switch order := values.Get("order"); {
	case !values.Has("order") || order == "asc":
	case order == "desc":
		o.Descending = true
	default:
		return events.Errorf(projections.ErrInvalidQuery, "%q is not an order", clip(order)).Hint("There are asc and desc.")
	}
	var page query.Page
	err = a.asked(r, o.Options, func(ctx context.Context) (err error) {
		page, err = a.reader.List(ctx, r.PathValue("projection"), o)
		return err
	})
	if err != nil {
		return err
	}
	return tell(w, r, &page.Standing, page)
}

// count answers with a number of documents.
func (a *API) count(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r, []string{"eq"}, modelParameters("index", "eq", "from", "to")...)
	if err != nil {
		return err
	}
	o := query.CountOptions{Range: rangeOf(values)}
	if o.Options, err = modelOptions(r, values); err != nil {
		return err
	}
	var counted query.Count
	err = a.asked(r, o.Options, func(ctx context.Context) (err error) {
		counted, err = a.reader.Count(ctx, r.PathValue("projection"), o)
		return err
	})
	if err != nil {
		return err
	}
	return tell(w, r, &counted.Standing, counted)
}

// rangeOf reads a part of an index.
func rangeOf(values url.Values) (x query.Range) {
	x.Index, x.Equal = values.Get("index"), values["eq"]
	for name, bound := range map[string]**string{"from": &x.From, "to": &x.To} {
		if values.Has(name) {
			text := values.Get(name)
			*bound = &text
		}
	}
	return x
}

// parameters reads the query and refuses what it does not know: a misspelt at-least would be a promise not kept. Those of repeated may be there several times.
func parameters(r *http.Request, repeated []string, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, events.Errorf(projections.ErrInvalidQuery, "the query cannot be read: %w", err)
	}
	for name, list := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, events.Errorf(projections.ErrInvalidQuery, "there is no parameter %q here", clip(name)).
				Hint("%s", allowed(known))
		case len(list) > 1 && !slices.Contains(repeated, name):
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
