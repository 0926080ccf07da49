package query

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// ListOptions of a page.
type ListOptions struct {
	Options
	// Limit is the number of documents; 0 means DefaultLimit, at most MaxLimit.
	Limit int
	// After is the cursor of the page before; empty for the first page.
	After string
}

// Item is one document of a page.
type Item struct {
	Key      string   `json:"key"`
	Document Document `json:"document"`
	Parked   string   `json:"parked,omitempty"`
}

// Page is a part of a read model in the byte order of its keys. Each document is at least as new as Position.
type Page struct {
	Projection string          `json:"projection"`
	Region     string          `json:"region"`
	Items      []Item          `json:"items"`
	Next       string          `json:"next,omitempty"` // the cursor of the next page; empty after the last
	Position   events.Position `json:"position"`
	Lag        *Lag            `json:"lag"`
	Generation uint32          `json:"-"`
}

// List returns a page. Its errors are those of Get without ErrNoDocument, and ErrInvalidCursor; with one, the page has no items.
// Keys that are there during the whole listing appear exactly once, whatever is written meanwhile.
func (r *Reader) List(ctx context.Context, projection string, o ListOptions) (Page, error) {
	limit := o.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	if limit < 1 || limit > MaxLimit {
		return Page{}, events.Errorf(projections.ErrInvalidQuery, "a limit of %d is outside 1 to %d", o.Limit, MaxLimit)
	}
	after, err := parseCursor(projection, o.After)
	if err != nil {
		return Page{}, err
	}
	var found []projections.Document
	m, h, err := r.read(ctx, projection, o.Options, func(ctx context.Context, m model) (projections.Header, error) {
		var lowest projections.Header
		found = found[:0]
		for i := range m.gen.Partitions {
			h, documents, err := r.store.Page(ctx, m.gen, &m.def, i, after, limit+1)
			if err != nil {
				return h, err
			}
			if i == 0 || worse(h, lowest) {
				lowest = h
			}
			found = append(found, documents...)
		}
		return lowest, nil
	})
	page := Page{Projection: projection, Region: r.region, Items: []Item{}, Position: h.Checkpoint, Generation: m.gen.Number}
	if err != nil {
		return page, err
	}
	page.Lag = r.heads.Lag(ctx, h.Checkpoint)
	slices.SortFunc(found, func(a, b projections.Document) int { return strings.Compare(a.Key, b.Key) })
	for i := range found {
		d := &found[i]
		if i == limit {
			page.Next = cursor(projection, found[i-1].Key)
			break
		}
		if d.Values == nil {
			page.Items, page.Next = []Item{}, ""
			return page, damaged(projection, d.Key)
		}
		page.Items = append(page.Items, Item{Key: d.Key, Document: Document{Fields: m.def.Fields, Values: d.Values}, Parked: d.Parked})
	}
	return page, nil
}

// worse reports whether a says less than b: a partition that cannot answer, or an earlier checkpoint.
func worse(a, b projections.Header) bool {
	if aLive, bLive := a.State == projections.Live, b.State == projections.Live; aLive != bLive {
		return bLive
	}
	return sequences(a.Checkpoint) < sequences(b.Checkpoint)
}

func sequences(p events.Position) (sum uint64) {
	for _, pt := range p.Points() {
		sum += pt.Sequence
	}
	return sum
}

// A cursor is the projection and the last key, so that a cursor of another query is refused.
func cursor(projection, key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(projection + "\x00" + key))
}

func parseCursor(projection, s string) (key string, err error) {
	if s == "" {
		return "", nil
	}
	text, decodeErr := base64.RawURLEncoding.DecodeString(s)
	name, key, ok := strings.Cut(string(text), "\x00")
	if decodeErr != nil || !ok || name != projection || projections.ValidateKey(key) != nil {
		return "", events.Errorf(projections.ErrInvalidCursor, "the cursor is malformed or belongs to another query").
			Hint("Pass the cursor that the page before ended with, or none to begin anew.")
	}
	return key, nil
}
