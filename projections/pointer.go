package projections

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"tidemark.dev/events"
)

// Pointer says which generation of a projection is live in a region. It is kept in the region's KV under PointerKey and changes by
// compare-and-set only: a reader sees the old generation or the new one.
type Pointer struct {
	Generation uint32 `json:"generation"` // the live one; 0: none yet
	Partitions int    `json:"partitions"` // of the live one
	Version    int    `json:"version"`    // of the definition it was built with
	Definition string `json:"definition"` // fingerprint of that definition
	// Fields of the live generation's documents: a reader needs no code of the projection.
	Fields []Field `json:"fields"`
	// Indexes of the live generation.
	Indexes []Index `json:"indexes,omitempty"`
	// Source is the stream that the live generation is folded from; nil: the installation's own log.
	Source *Source `json:"source,omitempty"`
	// Highest is the largest generation number given out, so that no number is used twice.
	Highest uint32 `json:"highest"`
	// Retired are generations that wait to be dropped.
	Retired []Retiree `json:"retired,omitempty"`
	// Previous is the generation before, which goes on being followed so that it can take over again; nil: there is none.
	Previous *Built `json:"previous,omitempty"`
	// Declined is the fingerprint of a version that was rolled back: it is not built again until a replay is asked for, or another version comes.
	Declined string `json:"declined,omitempty"`
	// Copies are the read model as it was at some positions, by name.
	Copies []Copy `json:"copies,omitempty"`
}

// Built is a generation beside the live one, and what is needed to read it.
type Built struct {
	Retiree
	Version    int     `json:"version"`
	Definition string  `json:"definition"`
	Fields     []Field `json:"fields"`
	Indexes    []Index `json:"indexes,omitempty"`
	Source     *Source `json:"source,omitempty"`
	// Until is when it is dropped; nil: when something takes its place.
	Until *time.Time `json:"until,omitempty"`
}

// Of returns the generation, of a projection.
func (b *Built) Of(projection string) Generation {
	return Generation{Projection: projection, Number: b.Generation, Partitions: b.Partitions}
}

// Copy is a read model as it was at a position. It is never written again.
type Copy struct {
	Name string `json:"name"`
	Built
	Position  string    `json:"position"`
	Documents uint64    `json:"documents"`
	Digest    string    `json:"digest"`
	Made      time.Time `json:"made"`
}

// MaxCopies bounds the copies of one projection.
const MaxCopies = 16

// Copy returns the copy of a name.
func (p *Pointer) Copy(name string) (Copy, bool) {
	for _, c := range p.Copies {
		if c.Name == name {
			return c, true
		}
	}
	return Copy{}, false
}

// UnknownCopy is the error of a name that no copy of a projection has.
func UnknownCopy(projection, name string) error {
	if len(name) > maxName {
		name = name[:maxName] + "…"
	}
	return events.Errorf(ErrUnknownCopy, "%s has no copy %q in this region", projection, name).Hint("tidemark replay list %s shows those that there are.", projection)
}

// ValidCopyName reports whether a copy may have a name: like a projection's.
func ValidCopyName(name string) bool { return ValidName(name) }

// Retiree is a generation that is no longer live.
type Retiree struct {
	Generation uint32 `json:"generation"`
	Partitions int    `json:"partitions"`
}

// Gone is what a region remembers of a projection whose read models were dropped, under GoneKey.
type Gone struct {
	// Highest is the largest generation number given out, so that no number is used twice.
	Highest uint32 `json:"highest"`
}

// GoneKey is the key of what is remembered of a projection whose read models were dropped.
func GoneKey(projection string) string { return "gone." + projection }

// PointerKey is the pointer's key.
func PointerKey(projection string) string { return "live." + projection }

// Live returns the live generation.
func (p Pointer) Live(projection string) Generation {
	return Generation{Projection: projection, Number: p.Generation, Partitions: p.Partitions}
}

// ReadPointer returns the pointer and its revision: a zero pointer at revision 0 when there is none.
func ReadPointer(ctx context.Context, kv KV, projection string) (Pointer, uint64, error) {
	return ReadJSON[Pointer](ctx, kv, PointerKey(projection))
}

// ReadJSON reads a JSON value from the region's KV: the zero value at revision 0 when there is none.
func ReadJSON[T any](ctx context.Context, kv KV, key string) (T, uint64, error) {
	var v T
	e, err := kv.Get(ctx, key)
	if errors.Is(err, ErrNoKey) {
		return v, 0, nil
	}
	if err != nil {
		return v, 0, err
	}
	if err := json.Unmarshal(e.Value, &v); err != nil {
		return v, 0, events.Errorf(ErrUnavailable, "the record %s of this region cannot be read: %w", key, err)
	}
	return v, e.Revision, nil
}

// WriteJSON writes a JSON value if the key is at revision (0: it does not exist), and returns the new revision, or ErrRevision.
func WriteJSON(ctx context.Context, kv KV, key string, v any, revision uint64) (uint64, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	return kv.Put(ctx, key, text, revision)
}
