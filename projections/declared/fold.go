package declared

import (
	"bytes"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Outcome is what a projection makes of some events.
type Outcome struct {
	Fields    []projections.Field
	Documents []Document // sorted by key
	Unrouted  []Unrouted // in the order of the log
}

// Document is a document of an outcome. Values are in the order of the fields, as they are stored.
type Document struct {
	Key      string
	Values   []string
	Parked   string // why its fold stopped; empty: it did not
	ParkedAt uint64 // the sequence of the event that could not be applied
}

// Unrouted is an event whose document cannot be told.
type Unrouted struct {
	Sequence uint64
	Reason   string
}

// entry is a document that is being folded.
type entry struct {
	state    projections.State
	exists   bool
	document Document
}

// Fold applies records to a projection, be it declared or written in Go, in memory and without servers: for tests, and to look at a sample. It
// does what a projector does: a document whose fold fails is parked and stays as it was before the event, later events leave it alone. A mark removes
// the documents that have expired.
func Fold(p projections.Projection, records iter.Seq[*events.Record]) Outcome {
	all := map[string]*entry{}
	out := Outcome{Fields: p.Definition().Fields}
	var ops projections.Ops
	for r := range records {
		if at, ok := events.MarkTime(r); ok {
			expire(p.Definition(), all, at)
		}
		if r.Kind != events.KindEvent && r.Kind != events.KindMessage {
			continue
		}
		ops.Reset()
		p.Route(r, 0, &ops)
		for i := range ops.List() {
			op := &ops.List()[i]
			if op.Key == "" {
				out.Unrouted = append(out.Unrouted, Unrouted{r.Sequence, projections.ReasonOf(op.Err)})
				continue
			}
			d := all[op.Key]
			if d == nil {
				d = &entry{state: p.NewState(), document: Document{Key: op.Key}}
				all[op.Key] = d
			}
			if d.document.Parked != "" || slices.ContainsFunc(ops.List()[:i], func(before projections.Op) bool { return before.Key == op.Key }) {
				continue // stopped earlier, or changed together with its first operation
			}
			var err error
			if d.state, d.exists, err = change(p, d.state, d.exists, r, ops.List()[i:]); err != nil {
				d.exists = true
				d.document.Parked, d.document.ParkedAt = projections.ReasonOf(err), r.Sequence
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if d := all[key]; d.exists {
			d.document.Values = d.state.AppendFields(nil)
			out.Documents = append(out.Documents, d.document)
		}
	}
	return out
}

// newMark returns the mark of a time.
func newMark(seq uint64, at time.Time) *events.Record {
	data, err := json.Marshal(events.Mark{Time: at})
	if err != nil {
		panic(err) // the years are those of RFC 3339
	}
	return &events.Record{Sequence: seq, Kind: events.KindControl, Time: at, Control: events.Control{Name: events.ControlMark, Data: data}}
}

// expire removes the documents that a mark removes.
func expire(d *projections.Definition, all map[string]*entry, mark time.Time) {
	i := slices.IndexFunc(d.Fields, func(f projections.Field) bool { return f.Name == d.Expires })
	if i < 0 {
		return
	}
	for key, e := range all {
		if e.exists && projections.Expired(e.state.AppendFields(nil)[i], e.document.Parked, mark) {
			delete(all, key)
		}
	}
}

// Digest returns the digest of the outcome's documents without their positions: equal outcomes have equal ones.
func (o *Outcome) Digest() projections.Digest {
	hasher := projections.NewHasher(&projections.Definition{Fields: o.Fields})
	var sum projections.Digest
	for _, d := range o.Documents {
		sum = sum.Add(hasher.Document(d.Key, "", "", d.Values))
	}
	return sum
}

// firstByte returns the first byte of a text that is not blank.
func firstByte(text []byte) byte {
	if text = bytes.TrimLeft(text, " \t\r\n"); len(text) > 0 {
		return text[0]
	}
	return 0
}
