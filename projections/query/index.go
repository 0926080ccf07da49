package query

import (
	"context"
	"unicode/utf8"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Range is a part of an index. The zero Range is all documents, by key.
type Range struct {
	// Index is the name of an index of the projection, or projections.ParkedIndexName; empty: by key.
	Index string
	// Equal are the values that the first fields of the index must have, in its order. Values are written as documents have them: digits, true or false, or text.
	Equal []string
	// From and To bound the next field: from From on, up to To and without it; nil: no bound.
	From, To *string
}

// maxBound is the longest text that bounds a range, in bytes: an index has longer ones in no order.
const maxBound = 1_024

// unbounded returns an error when there are bounds and no index that they are of.
func (x *Range) unbounded() error {
	if len(x.Equal) > 0 || x.From != nil || x.To != nil {
		return events.Errorf(projections.ErrInvalidQuery, "values were given, and no index that they are of").Hint("Name an index.")
	}
	return nil
}

// bounds returns the encoded values from which and up to which the range goes. Errors: ErrUnknownIndex, ErrInvalidQuery.
func (x *Range) bounds(def *projections.Definition) (from, to string, err error) {
	kinds, err := def.IndexKinds(x.Index)
	if err != nil {
		return "", "", err
	}
	prefix, err := projections.EncodeIndex(kinds, x.Equal...)
	if err != nil {
		return "", "", x.explain(def, kinds, err)
	}
	if from = prefix; prefix != "" {
		to = projections.IndexAfter(prefix)
	}
	for _, bound := range [...]struct {
		given *string
		into  *string
	}{{x.From, &from}, {x.To, &to}} {
		if bound.given == nil {
			continue
		}
		if len(x.Equal) == len(kinds) {
			return "", "", events.Errorf(projections.ErrInvalidQuery, "all %d fields of the index %s have a value already, and from and to bound another one", len(kinds), x.Index).
				Hint("Leave from and to out, or the last value.")
		}
		if kinds[len(x.Equal)] == projections.KindString && len(*bound.given) > maxBound {
			return "", "", events.Errorf(projections.ErrInvalidQuery, "a text that bounds a range has %d bytes, over the bound of %d", len(*bound.given), maxBound)
		}
		values := append(append([]string(nil), x.Equal...), *bound.given)
		if *bound.into, err = projections.EncodeIndex(kinds, values...); err != nil {
			return "", "", x.explain(def, kinds, err)
		}
	}
	return from, to, nil
}

// explain adds to the error of a value which fields there are.
func (x *Range) explain(def *projections.Definition, kinds []projections.Kind, err error) error {
	text := ""
	for i, k := range kinds {
		name := "sequence"
		for j := range def.Indexes {
			if def.Indexes[j].Name == x.Index {
				name = def.Indexes[j].Fields[i]
			}
		}
		if i > 0 {
			text += ", "
		}
		text += name + " (" + string(k) + ")"
	}
	return events.Errorf(projections.ErrInvalidQuery, "the values do not fit the index %s: %w", x.Index, err).Hint("It is of %s.", text)
}

// validate refuses what no index can have.
func (x *Range) validate() error {
	for _, v := range x.Equal {
		if !utf8.ValidString(v) {
			return events.Errorf(projections.ErrInvalidQuery, "a value is not valid UTF-8")
		}
	}
	for _, v := range [...]*string{x.From, x.To} {
		if v != nil && !utf8.ValidString(*v) {
			return events.Errorf(projections.ErrInvalidQuery, "a value is not valid UTF-8")
		}
	}
	if x.Index == "" {
		return x.unbounded()
	}
	return nil
}

// fetchIndex reads entries of an index. A document that has left its place since the index was read is marked as gone: encoding it again tells.
func (r *Reader) fetchIndex(m *model, l *listing) (fetch, error) {
	from, to, err := l.bounds(&m.def)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, partition int, after place, n int) (projections.Header, []entry, error) {
		h, found, err := r.store.Find(ctx, m.gen, &m.def, partition, projections.IndexQuery{
			Index: l.Index, From: from, To: to, After: after.value, AfterKey: after.key, Limit: n, Reverse: l.descending,
		})
		entries := make([]entry, len(found))
		for i := range found {
			d := found[i].Document
			value, is := m.def.IndexValue(l.Index, &d)
			gone := d.Values != nil && (!is || value != found[i].Value)
			entries[i] = entry{place: place{value: found[i].Value, key: d.Key}, document: d, gone: gone}
		}
		return h, entries, err
	}, nil
}
