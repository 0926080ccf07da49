// Package query answers from the read models of a region.
//
// Every answer says at which position it was true. A document and its partition's header come from one atomic read, so a read model that is
// missing, building or retired is never mistaken for one without the document.
package query

import (
	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Reader answers queries in one region. It is safe for concurrent use.
//
// Its operations are Get, Lookup, List, Count and Watch, and Overview for whoever operates the region. Each takes names and options, and returns an answer that says where
// it stands, ready to be written as JSON.
type Reader struct {
	region   string
	store    projections.Store
	kv       projections.KV
	heads    *Heads
	attached attached
	waiting  waiting
	models   models
	heard    heard
}

// New returns a Reader.
func New(region string, store projections.Store, kv projections.KV, heads *Heads) *Reader {
	return &Reader{
		region: region, store: store, kv: kv, heads: heads, models: models{kv: kv, known: make(map[string]model)}, heard: heard{last: make(map[string]sound)},
	}
}

// Use lets the reader tell projectors that it waits, and hear from them what moved. Without it, reads that wait look again and again, and take longer. It is called before
// the first query.
func (r *Reader) Use(s projections.Signals) *Reader {
	r.waiting.signals = s
	return r
}

// Standing is where an answer stands.
type Standing struct {
	// Position is where the read model was: every event up to it is in the answer.
	Position events.Position `json:"position"`
	// Lag is nil when it is not known.
	Lag *Lag `json:"lag"`
	// Generation of the read model.
	Generation uint32 `json:"generation"`
	// At is the name of the copy that the answer is from; empty: it is from the live read model.
	At string `json:"at,omitempty"`
	// ETag is another one whenever the content of the answer is. Position and lag are not content.
	ETag string `json:"etag,omitempty"`
}
