package query

import (
	"context"
	"strings"

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
	seq, ok := projections.SequenceIn(at)
	return Parked{Key: key, Sequence: seq, At: at, Reason: reason}, ok
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
	// Next is the cursor of the next page; empty after the last.
	Next string `json:"next,omitempty"`
	// Parked counts all parked documents.
	Parked uint64 `json:"parked"`
	// Unrouted counts the events whose document cannot be told; UnroutedLast is the position of the last one, and why.
	Unrouted     uint64 `json:"unrouted"`
	UnroutedLast string `json:"unrouted_last,omitempty"`
	Standing
}

// Hide takes the values out of all reasons.
func (p *ParkedPage) Hide() {
	for i := range p.Items {
		p.Items[i].Hide()
	}
	p.UnroutedLast = projections.Mask(p.UnroutedLast)
}

// Parked returns a page of parked documents. Its errors are those of List. A document that stays parked at its event during the whole listing appears
// exactly once. The counts are of a moment soon after the page was read.
func (r *Reader) Parked(ctx context.Context, projection string, o ParkedOptions) (ParkedPage, error) {
	listed, err := r.List(ctx, projection, ListOptions{Options: o.Options, Range: Range{Index: projections.ParkedIndexName}, Limit: o.Limit, After: o.After})
	page := ParkedPage{Projection: projection, Region: r.region, Items: []Parked{}, Standing: listed.Standing}
	page.ETag = "" // it knows nothing of the counts
	if err != nil {
		return page, err
	}
	var headers []projections.Header
	_, _, err = r.read(ctx, question{
		projection: projection, from: everywhere,
		do: func(ctx context.Context, m *model) (_ projections.Header, err error) {
			if headers, err = r.store.Headers(ctx, m.gen); err != nil {
				return projections.Header{}, err
			}
			return least(headers), nil
		},
	}, Options{At: o.At})
	if err != nil {
		return page, err
	}
	for i := range headers {
		page.count(&headers[i])
	}
	page.Next = listed.Next
	for i := range listed.Items {
		if parked, ok := ParkedOf(listed.Items[i].Key, listed.Items[i].Parked); ok {
			page.Items = append(page.Items, parked)
		}
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
