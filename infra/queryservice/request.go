package queryservice

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// maxRequestBytes bounds a request. What a server lets through is mostly less.
const maxRequestBytes = 8 << 20

// The consistencies that a request can name.
const (
	consistencyEventual = "eventual"
	consistencyAtLeast  = "at-least"
	consistencyStrong   = "strong"
)

// Reading is what every request about a read model says. Its members mean what the parameters of the HTTP API mean.
type Reading struct {
	Projection string `json:"projection"`
	// Consistency is eventual, at-least or strong; nil: at-least where a position is named, otherwise eventual.
	Consistency *string `json:"consistency,omitempty"`
	// AtLeast is the position from which on to answer; nil: wherever the read model is.
	AtLeast *string `json:"at_least,omitempty"`
	// Wait is how long to wait for that, such as 250ms; 0s: not at all; nil: query.DefaultWait.
	Wait *string `json:"wait,omitempty"`
	// At is the name of a copy to read; nil: the live read model. In a MarksRequest the name is that of another member: marks are of the live read model only.
	At *string `json:"at,omitempty"`
}

// NewReading returns what options say about a projection.
func NewReading(projection string, o query.Options) Reading {
	r := Reading{Projection: projection}
	if !o.AtLeast.IsZero() {
		r.AtLeast = pointer(o.AtLeast.String())
	}
	if o.Strong {
		r.Consistency = pointer(consistencyStrong)
	}
	if o.Wait != 0 {
		r.Wait = pointer(max(o.Wait, 0).String())
	}
	if o.At != "" {
		r.At = &o.At
	}
	return r
}

func pointer[T any](v T) *T { return &v }

// options returns how new the answer must be. Contradictions are refused: one of the two would be a promise that is not kept.
func (r *Reading) options() (o query.Options, err error) {
	if r.At != nil {
		if o.At = *r.At; o.At == "" {
			return o, invalid("the name of the copy is empty").Hint("Leave at out to read the live read model.")
		}
	}
	if r.AtLeast != nil {
		if *r.AtLeast == "" {
			// An empty variable in a script: answering from anywhere would look like keeping the promise.
			return o, events.Errorf(events.ErrInvalidPosition, "the position to wait for is empty").Hint("Leave at_least out to read without one.")
		}
		if o.AtLeast, err = events.ParsePosition(*r.AtLeast); err != nil {
			return o, err
		}
	}
	if r.Consistency != nil {
		switch consistency := *r.Consistency; {
		case consistency == consistencyStrong:
			o.Strong = true // beside a position it is refused by whoever reads
		case consistency == consistencyEventual && r.AtLeast != nil:
			return o, invalid("an eventual read takes whatever is there, and the position %s was asked for beside it", o.AtLeast).Hint("Leave one of them out.")
		case consistency == consistencyAtLeast && r.AtLeast == nil:
			return o, invalid("at least from which position on is not said").Hint("Add at_least.")
		case consistency == consistencyEventual, consistency == consistencyAtLeast:
		default:
			return o, invalid("%q is not a consistency", clip(consistency)).Hint("There are eventual, at-least and strong.")
		}
	}
	if r.Wait == nil {
		return o, nil
	}
	wait, err := time.ParseDuration(*r.Wait)
	switch {
	case err != nil || wait < 0:
		return o, invalid("a wait of %q is not a duration such as 5s or 250ms", clip(*r.Wait))
	case wait == 0:
		wait = -1
	}
	o.Wait = wait
	return o, nil
}

// GetRequest asks for one document.
type GetRequest struct {
	Reading
	Key string `json:"key"`
}

// LookupRequest asks for several documents.
type LookupRequest struct {
	Reading
	Keys []string `json:"keys,omitempty"`
}

// Ranging is what a request says about an index.
type Ranging struct {
	Index string `json:"index,omitempty"`
	// Equal are the values of the index's first fields, as texts.
	Equal []string `json:"eq,omitempty"`
	// From and To bound the next field: from From on, up to To and without it.
	From *string `json:"from,omitempty"`
	To   *string `json:"to,omitempty"`
}

func newRanging(x query.Range) Ranging {
	return Ranging{Index: x.Index, Equal: x.Equal, From: x.From, To: x.To}
}

func (r *Ranging) ranged() query.Range {
	return query.Range{Index: r.Index, Equal: r.Equal, From: r.From, To: r.To}
}

// ListRequest asks for a page.
type ListRequest struct {
	Reading
	Ranging
	// Order is asc or desc; nil: asc.
	Order *string `json:"order,omitempty"`
	Limit *int    `json:"limit,omitempty"`
	// After is the cursor of the page before; nil for the first page.
	After *string `json:"after,omitempty"`
}

// The orders that a request can name.
const (
	orderAscending  = "asc"
	orderDescending = "desc"
)

// NewListRequest returns the request for a page.
func NewListRequest(projection string, o query.ListOptions) ListRequest {
	r := ListRequest{Reading: NewReading(projection, o.Options), Ranging: newRanging(o.Range)}
	if o.Descending {
		r.Order = pointer(orderDescending)
	}
	if o.Limit != 0 {
		r.Limit = &o.Limit
	}
	if o.After != "" {
		r.After = &o.After
	}
	return r
}

// options returns what is asked for.
func (r *ListRequest) options() (o query.ListOptions, err error) {
	if o.Options, err = r.Reading.options(); err != nil {
		return o, err
	}
	o.Range = r.ranged()
	switch {
	case r.After == nil:
	case *r.After == "":
		return o, events.Errorf(projections.ErrInvalidCursor, "the cursor is empty").Hint("Leave after out for the first page; a page without next is the last one.")
	default:
		o.After = *r.After
	}
	switch {
	case r.Order == nil || *r.Order == orderAscending:
	case *r.Order == orderDescending:
		o.Descending = true
	default:
		return o, invalid("%q is not an order", clip(*r.Order)).Hint("There are asc and desc.")
	}
	switch {
	case r.Limit == nil:
	case *r.Limit == 0:
		return o, invalid("a limit of 0 is not a number from 1 to %d", query.MaxLimit)
	default:
		o.Limit = *r.Limit
	}
	return o, nil
}

// CountRequest asks how many documents there are.
type CountRequest struct {
	Reading
	Ranging
}

// NewCountRequest returns the request for a number.
func NewCountRequest(projection string, o query.CountOptions) CountRequest {
	return CountRequest{Reading: NewReading(projection, o.Options), Ranging: newRanging(o.Range)}
}

// MarksRequest asks what a read model was at the marks that it passed.
type MarksRequest struct {
	Reading
	// At is the sequence of a mark at which every partition is told; nil: none.
	At *uint64 `json:"at,omitempty"`
}

// NewMarksRequest returns the request for marks.
func NewMarksRequest(projection string, o query.MarksOptions) MarksRequest {
	r := MarksRequest{Reading: NewReading(projection, o.Options)}
	if o.At != 0 {
		r.At = &o.At
	}
	return r
}

// options returns what is asked for.
func (r *MarksRequest) options() (o query.MarksOptions, err error) {
	if o.Options, err = r.Reading.options(); err != nil || r.At == nil {
		return o, err
	}
	if o.At = *r.At; o.At == 0 {
		return o, invalid("no mark is at sequence 0").Hint("Leave at out.")
	}
	return o, nil
}

// StatusRequest asks how the region does. It may also be empty.
type StatusRequest struct{}

// decode reads a request, which is one JSON object with members that are all known, and none twice.
func decode[Q any](data []byte, known []string) (q Q, err error) {
	if len(data) > maxRequestBytes {
		return q, events.Errorf(events.ErrTooLarge, "the request has %d bytes, over the bound of %d", len(data), maxRequestBytes)
	}
	if len(bytes.TrimSpace(data)) == 0 && len(known) == 0 {
		return q, nil
	}
	if err := events.CheckJSON(data); err != nil {
		what := err.Error()
		if told, ok := errors.AsType[*events.Error](err); ok {
			what = told.What
		}
		return q, invalid("the request is not valid JSON: %s", what)
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(data, &given); err != nil || given == nil {
		return q, invalid("the request is not a JSON object")
	}
	for name, value := range given {
		switch {
		case !slices.Contains(known, name):
			return q, invalid("a request of this kind has no member %q", clip(name)).Hint("%s", allowed(known))
		case string(bytes.TrimSpace(value)) == "null":
			return q, invalid("the member %s is null", name).Hint("Leave it out.")
		}
	}
	if err := json.Unmarshal(data, &q); err != nil {
		return q, invalid("the request cannot be read: %w", err)
	}
	return q, nil
}

func invalid(format string, args ...any) *events.Error {
	return events.Errorf(projections.ErrInvalidQuery, format, args...)
}

func allowed(known []string) string {
	if len(known) == 0 {
		return "It takes none."
	}
	return "There are " + strings.Join(known, ", ") + "."
}

// members returns the names of a request's members, those of embedded structs too, each once.
func members(t reflect.Type) (names []string) {
	add := func(more ...string) {
		for _, name := range more {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			add(members(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		add(name)
	}
	return names
}
