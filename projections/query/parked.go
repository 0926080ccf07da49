package query

import (
	"cmp"
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Parked is a document whose fold stopped.
type Parked struct {
	Key string `json:"key"`
	// Sequence of the event that cannot be applied to it, and At its position.
	Sequence uint64 `json:"sequence"`
	At       string `json:"parked_at"`
	// Reason is why. Values of data stand in it between double quotes; Hide takes them away.
	Reason string `json:"reason"`
}

// ParkedOf reads where and why a document is parked, as an Answer or an Item says it; false when it is not.
func ParkedOf(key, parked string) (Parked, bool) {
	at, reason, _ := strings.Cut(parked, " ")
	seq, err := strconv.ParseUint(at[strings.LastIndexByte(at, ':')+1:], 10, 64)
	return Parked{Key: key, Sequence: seq, At: at, Reason: reason}, err == nil
}

// Hide takes the values out of the reason.
func (p *Parked) Hide() { p.Reason = projections.Mask(p.Reason) }

// ParkedOptions of a page of parked documents.
type ParkedOptions struct {
	Options
	// Limit is the number of documents; 0 means DefaultLimit, at most MaxLimit.
	Limit int
	// After is the cursor of the page before; empty for the first page.
	After string
}

// ParkedPage is a part of the parked documents of a read model, in the order of the events at which they stopped, and then of their keys.
type ParkedPage struct {
	Projection string   `json:"projection"`
	Region     string   `json:"region"`
	Items      []Parked `json:"items"`
	Next       string   `json:"next,omitempty"` // the cursor of the next page; empty after the last
	// Parked counts all parked documents.
	Parked uint64 `json:"parked"`
	// Unrouted counts the events whose document cannot be told; UnroutedLast is the position of the last one, and why.
	Unrouted     uint64          `json:"unrouted"`
	UnroutedLast string          `json:"unrouted_last,omitempty"`
	Position     events.Position `json:"position"`
	Lag          *Lag            `json:"lag"`
	Generation   uint32          `json:"-"`
}

// Hide takes the values out of all reasons.
func (p *ParkedPage) Hide() {
	for i := range p.Items {
		p.Items[i].Hide()
	}
	p.UnroutedLast = projections.Mask(p.UnroutedLast)
}

// Parked returns a page of parked documents. Its errors are those of List. A document that stays parked at its event during the whole listing appears
// exactly once. The counts are those of the moment of the page.
func (r *Reader) Parked(ctx context.Context, projection string, o ParkedOptions) (ParkedPage, error) {
	limit := cmp.Or(o.Limit, DefaultLimit)
	if limit < 1 || limit > MaxLimit {
		return ParkedPage{}, events.Errorf(projections.ErrInvalidQuery, "a limit of %d is outside 1 to %d", o.Limit, MaxLimit)
	}
	value, key, err := parseParkedCursor(projection, o.After)
	if err != nil {
		return ParkedPage{}, err
	}
	page := ParkedPage{Projection: projection, Region: r.region, Items: []Parked{}}
	var found []projections.Found
	m, h, err := r.read(ctx, projection, o.Options, func(ctx context.Context, m model) (projections.Header, error) {
		q := projections.IndexQuery{Index: projections.ParkedIndexName, After: value, AfterKey: key, Limit: limit + 1}
		found, page.Parked, page.Unrouted, page.UnroutedLast = found[:0], 0, 0, ""
		var lowest projections.Header
		for i := range m.gen.Partitions {
			h, list, err := r.store.Find(ctx, m.gen, &m.def, i, q)
			if err != nil {
				return h, err
			}
			if i == 0 || worse(h, lowest) {
				lowest = h
			}
			found = append(found, list...)
			page.count(&h)
		}
		return lowest, nil
	})
	page.Position, page.Generation = h.Checkpoint, m.gen.Number
	if err != nil {
		return page, err
	}
	page.Lag = r.heads.Lag(ctx, h.Checkpoint)
	slices.SortFunc(found, func(a, b projections.Found) int {
		return cmp.Or(cmp.Compare(a.Value, b.Value), cmp.Compare(a.Key, b.Key))
	})
	if len(found) > limit {
		found = found[:limit]
		page.Next = parkedCursor(projection, found[limit-1].Value, found[limit-1].Key)
	}
	for i := range found {
		d := &found[i]
		if now, ok := projections.ParkedValue(d.Parked); d.Values != nil && (!ok || now != d.Value) {
			continue // it was folded again meanwhile
		}
		parked, ok := ParkedOf(d.Key, d.Parked)
		if !ok {
			return page, damaged(projection, d.Key)
		}
		page.Items = append(page.Items, parked)
	}
	return page, nil
}

// count adds what a partition's header counts.
func (p *ParkedPage) count(h *projections.Header) {
	p.Parked += h.Parked
	p.Unrouted += h.Unrouted
	last, _ := ParkedOf("", h.UnroutedLast)
	if so, _ := ParkedOf("", p.UnroutedLast); last.Sequence > so.Sequence {
		p.UnroutedLast = h.UnroutedLast
	}
}

// A cursor of parked documents is the projection, the value of the last entry and its key. It cannot be mistaken for one of another listing.
func parkedCursor(projection, value, key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(projection + "\x00" + projections.ParkedIndexName + "\x00" + value + "\x00" + key))
}

func parseParkedCursor(projection, s string) (value, key string, err error) {
	if s == "" {
		return "", "", nil
	}
	text, decodeErr := base64.RawURLEncoding.DecodeString(s)
	parts := strings.SplitN(string(text), "\x00", 4)
	if decodeErr != nil || len(parts) != 4 || parts[0] != projection || parts[1] != projections.ParkedIndexName || projections.ValidateKey(parts[3]) != nil {
		return "", "", events.Errorf(projections.ErrInvalidCursor, "the cursor is malformed or belongs to another query").
			Hint("Pass the cursor that the page before ended with, or none to begin anew.")
	}
	return parts[2], parts[3], nil
}
