package memstore

import (
	"fmt"
	"maps"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// The fields that every stored document has beside its own, and the one that only a parked one has.
const (
	fieldAt     = "_at"
	fieldDigest = "_digest"
	fieldParked = "_parked"
)

// address names a partition of a generation.
type address struct {
	projection string
	number     uint32
	partition  int
}

func at(g projections.Generation, partition int) address {
	return address{projection: g.Projection, number: g.Number, partition: partition}
}

func (a address) String() string {
	return fmt.Sprintf("partition %d of %s generation %d", a.partition, a.projection, a.number)
}

// partition is one partition. Documents are maps of fields, so that they can lack a field, or have one too many, as a real store's can.
type partition struct {
	exists    bool
	header    projections.Header
	documents map[string]map[string]string
	foreign   map[string]bool // keys that hold something else than a document
	index     map[string]bool
	sorted    []string // the index in order; nil after a change
}

func newPartition() *partition {
	return &partition{documents: map[string]map[string]string{}, foreign: map[string]bool{}, index: map[string]bool{}}
}

func (p *partition) clone() *partition {
	q := &partition{exists: p.exists, header: p.header, foreign: maps.Clone(p.foreign), index: maps.Clone(p.index)}
	q.documents = make(map[string]map[string]string, len(p.documents))
	for k, d := range p.documents {
		q.documents[k] = maps.Clone(d)
	}
	return q
}

// read returns the header, which says Absent when there is no partition.
func (p *partition) read(number int) projections.Header {
	if p == nil || !p.exists {
		return projections.Header{Partition: number}
	}
	h := p.header
	h.Partition = number
	return h
}

// check says whether the commit may take effect.
func (p *partition) check(a address, c *projections.Commit) error {
	h := p.read(a.partition)
	switch {
	case h.State == projections.Absent:
		return events.Errorf(projections.ErrMoved, "%s is absent; nothing was written", a)
	case h.Owner != c.Next.Owner:
		return events.Errorf(projections.ErrFenced, "%s is owned by %d, not by %d; nothing was written", a, h.Owner, c.Next.Owner)
	case !h.Checkpoint.Equal(c.Expect):
		return events.Errorf(projections.ErrMoved, "%s is at %q, expected %q; nothing was written", a, h.Checkpoint, c.Expect)
	}
	for i := range c.Writes {
		if err := p.checkType(a, c.Writes[i].Key); err != nil {
			return err
		}
	}
	return nil
}

func (p *partition) checkType(a address, key string) error {
	if p != nil && p.foreign[key] {
		return events.Errorf(projections.ErrWrongType, "the key %q of %s holds no document", key, a)
	}
	return nil
}

// commit makes the commit take effect. It was checked.
func (p *partition) commit(def *projections.Definition, c *projections.Commit) {
	for i := range c.Writes {
		w := &c.Writes[i]
		if w.Remove {
			delete(p.documents, w.Key)
			p.unlist(w.Key)
			continue
		}
		if _, known := p.documents[w.Key]; w.Create || !known {
			p.list(w.Key)
		}
		p.documents[w.Key] = encode(def, &w.Document)
	}
	p.header = c.Next
}

func (p *partition) list(key string) {
	if !p.index[key] {
		p.index[key], p.sorted = true, nil
	}
}

func (p *partition) unlist(key string) {
	if p.index[key] {
		delete(p.index, key)
		p.sorted = nil
	}
}

// keysAfter returns up to limit keys of the index above after, in order.
func (p *partition) keysAfter(after string, limit int) []string {
	if p.sorted == nil {
		p.sorted = slices.Sorted(maps.Keys(p.index))
	}
	i, found := slices.BinarySearch(p.sorted, after)
	if found {
		i++
	}
	return p.sorted[i:min(i+max(limit, 0), len(p.sorted))]
}

func encode(def *projections.Definition, d *projections.Document) map[string]string {
	fields := make(map[string]string, len(def.Fields)+3)
	for i, f := range def.Fields {
		fields[f.Name] = d.Values[i]
	}
	fields[fieldAt], fields[fieldDigest] = d.At, d.Digest.String()
	if d.Parked != "" {
		fields[fieldParked] = d.Parked
	}
	return fields
}

// decode reads a document; its Values are nil unless its fields are exactly those of the definition.
func decode(def *projections.Definition, key string, fields map[string]string) *projections.Document {
	d := &projections.Document{Key: key, At: fields[fieldAt], Parked: fields[fieldParked]}
	var whole bool
	d.Digest, whole = projections.ParseDigest(fields[fieldDigest])
	want := len(def.Fields) + 2
	if _, parked := fields[fieldParked]; parked {
		want++
	}
	if _, ok := fields[fieldAt]; !ok || !whole || len(fields) != want {
		return d
	}
	values := make([]string, len(def.Fields))
	for i, f := range def.Fields {
		v, ok := fields[f.Name]
		if !ok {
			return d
		}
		values[i] = v
	}
	d.Values = values
	return d
}
