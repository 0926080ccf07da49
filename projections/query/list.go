package query

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// DefaultLimit is the number of documents of a page that asks for no other.
	DefaultLimit = 50
	// MaxLimit is the largest number of documents of one page.
	MaxLimit = 1_000
)

// ListOptions of a page.
type ListOptions struct {
	Options
	Range
	// Limit is the number of documents; 0 means DefaultLimit, at most MaxLimit.
	Limit int
	// Descending lists from the highest value down. Only with an index.
	Descending bool
	// After is the cursor of the page before; empty for the first page.
	After string
}

// Page is a part of a read model, in the byte order of its keys, or in the order of an index and then of the keys. Each document is at least as new as Position.
type Page struct {
	Projection string `json:"projection"`
	Region     string `json:"region"`
	Index      string `json:"index,omitempty"`
	Items      []Item `json:"items"`
	// Next is the cursor of the next page; empty after the last. Nothing else says that there is no more: a page may be short.
	Next string `json:"next,omitempty"`
	// Watch is the token with which a Watch tells everything that changed since the listing began; empty for a copy.
	Watch string `json:"watch,omitempty"`
	Standing
}

// listing is what is listed.
type listing struct {
	projection, copy string
	Range
	descending bool
}

// fingerprint tells listings apart whose cursors must not be mixed up.
func (l *listing) fingerprint() string {
	var t tag
	t.text(l.Index)
	t.text(strconv.Itoa(len(l.Equal)))
	for _, v := range l.Equal {
		t.text(v)
	}
	for _, bound := range [...]*string{l.From, l.To} {
		if t.flag(bound != nil); bound != nil {
			t.text(*bound)
		}
	}
	t.flag(l.descending)
	if l.copy != "" {
		t.text(l.copy)
	}
	sum := sha256.Sum256(t.content)
	return hex.EncodeToString(sum[:8])
}

// List returns a page. Its errors are those of Get without ErrNoDocument, ErrInvalidCursor, and ErrResync for a cursor of a generation that was replaced; with one, the
// page has no items. A document that stays at its place during the whole listing is listed exactly once, whatever is written meanwhile.
func (r *Reader) List(ctx context.Context, projection string, o ListOptions) (Page, error) {
	limit := o.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	if limit < 1 || limit > MaxLimit {
		return Page{}, events.Errorf(projections.ErrInvalidQuery, "a limit of %d is outside 1 to %d", o.Limit, MaxLimit)
	}
	if err := o.validate(); err != nil {
		return Page{}, err
	}
	l := &listing{projection: projection, copy: o.At, Range: o.Range, descending: o.Descending}
	if l.descending && l.Index == "" {
		return Page{}, events.Errorf(projections.ErrInvalidQuery, "a descending order is there for an index only").Hint("Name an index, or list by key.")
	}
	after, err := parseCursor(l, o.After)
	if err != nil {
		return Page{}, err
	}
	var found []entry
	var last place
	var more bool
	m, h, err := r.read(ctx, question{
		projection: projection, pin: after.pin, from: everywhere,
		do: func(ctx context.Context, m *model) (projections.Header, error) {
			f, err := r.fetchOf(m, l)
			if err != nil {
				return projections.Header{}, err
			}
			g := newGathering(m.gen.Partitions, limit+1, after.at, l.descending, f)
			found, last, more, err = g.take(ctx, limit)
			return g.low, err
		},
	}, o.Options)
	page := Page{Projection: projection, Region: r.region, Index: l.Index, Items: []Item{}, Standing: m.standing(h.Checkpoint)}
	if err != nil {
		return page, err
	}
	page.Lag = r.headsOf(&m).Lag(ctx, h.Checkpoint)
	var t tag
	items := make([]Item, 0, len(found))
	for i := range found {
		d := &found[i].document
		if d.Values == nil {
			return page, m.damaged(d.Key)
		}
		t.document(d)
		items = append(items, m.item(d))
	}
	if page.Watch = after.watch; page.Watch == "" && m.copy == nil {
		begun := token{region: r.region, projection: projection, generation: m.gen.Number, position: h.Checkpoint}
		page.Watch = begun.seal()
	}
	if t.flag(more); more {
		next := cursor{pin: m.pin(), at: last, watch: page.Watch}
		page.Next = next.seal(l)
	}
	page.Items, page.ETag = items, t.of(m.gen.Number)
	return page, nil
}

// fetchOf returns how the entries of a listing are read.
func (r *Reader) fetchOf(m *model, l *listing) (fetch, error) {
	if l.Index != "" {
		return r.fetchIndex(m, l)
	}
	return func(ctx context.Context, partition int, after place, n int) (projections.Header, []entry, error) {
		h, documents, err := r.store.Page(ctx, m.gen, &m.def, partition, after.key, n)
		entries := make([]entry, len(documents))
		for i := range documents {
			entries[i] = entry{place: place{key: documents[i].Key}, document: documents[i]}
		}
		return h, entries, err
	}, nil
}
