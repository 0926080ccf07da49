package query

import (
	"context"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// MaxKeys bounds the keys of one Lookup.
const MaxKeys = 1_000

// Documents are several documents, at one position: each is at least as new.
type Documents struct {
	Projection string `json:"projection"`
	Region     string `json:"region"`
	// Items are in the order of the keys that were asked for.
	Items []Item `json:"items"`
	Standing
}

// Item is one document among several.
type Item struct {
	Key string `json:"key"`
	// Document is null when it is missing.
	Document Document `json:"document"`
	// Missing says that the read model is complete and has no document of that key.
	Missing bool `json:"missing,omitempty"`
	// Parked says where and why the document's fold stopped; empty when it did not.
	Parked string `json:"parked,omitempty"`
}

// Lookup returns the documents of up to MaxKeys keys, in their order; a key may be there twice. The answer's position is the lowest of the partitions that the documents are
// from. Errors are those of Get, without ErrNoDocument.
func (r *Reader) Lookup(ctx context.Context, projection string, keys []string, o Options) (Documents, error) {
	if len(keys) == 0 || len(keys) > MaxKeys {
		return Documents{}, events.Errorf(projections.ErrInvalidQuery, "%d keys were asked for, and a request has 1 to %d", len(keys), MaxKeys)
	}
	for _, key := range keys {
		if err := projections.ValidateKey(key); err != nil {
			return Documents{}, err
		}
	}
	var found []*projections.Document
	m, h, err := r.read(ctx, question{
		projection: projection,
		from: func(m *model) (s projections.PartitionSet) {
			for _, key := range keys {
				s.Add(projections.PartitionOf(key, m.gen.Partitions))
			}
			return s
		},
		do: func(ctx context.Context, m *model) (projections.Header, error) {
			refs := make([]projections.Ref, len(keys))
			for i, key := range keys {
				refs[i] = projections.Ref{Partition: projections.PartitionOf(key, m.gen.Partitions), Key: key}
			}
			headers, documents, err := r.store.Lookup(ctx, m.gen, &m.def, refs)
			if err != nil {
				return projections.Header{}, err
			}
			found = documents
			return least(headers), nil
		},
	}, o)
	a := Documents{Projection: projection, Region: r.region, Items: []Item{}, Standing: m.standing(h.Checkpoint)}
	if err != nil {
		return a, err
	}
	a.Lag = r.headsOf(&m).Lag(ctx, h.Checkpoint)
	var t tag
	items := make([]Item, 0, len(keys))
	for i, key := range keys {
		d := found[i]
		t.flag(d != nil)
		switch {
		case d == nil:
			t.text(key)
			items = append(items, Item{Key: key, Missing: true})
			continue
		case d.Values == nil:
			return a, m.damaged(key)
		}
		t.document(d)
		items = append(items, m.item(d))
	}
	a.Items, a.ETag = items, t.of(m.gen.Number)
	return a, nil
}

// item returns a document that is there.
func (m *model) item(d *projections.Document) Item {
	return Item{Key: d.Key, Document: Document{Fields: m.def.Fields, Values: d.Values}, Parked: d.Parked}
}
