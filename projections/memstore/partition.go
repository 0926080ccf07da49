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
	keys      *sortedSet
	indexes   map[string]*sortedSet // by name; an entry is value and key
	changes   changeLog
	marks     *sortedSet // text of a mark
}

func newPartition() *partition {
	return &partition{
		documents: map[string]map[string]string{}, foreign: map[string]bool{}, keys: newSortedSet(), indexes: map[string]*sortedSet{}, marks: newSortedSet(),
	}
}

func (p *partition) clone() *partition {
	q := newPartition()
	q.exists, q.header, q.foreign, q.keys, q.changes = p.exists, p.header, maps.Clone(p.foreign), p.keys.clone(), p.changes.clone()
	for k, d := range p.documents {
		q.documents[k] = maps.Clone(d)
	}
	q.marks = p.marks.clone()
	for name, x := range p.indexes {
		q.indexes[name] = x.clone()
	}
	return q
}

// index returns the index of a name, which may be empty.
func (p *partition) index(name string) *sortedSet {
	x := p.indexes[name]
	if x == nil {
		x = newSortedSet()
		p.indexes[name] = x
	}
	return x
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
func (p *partition) check(a address, def *projections.Definition, c *projections.Commit) error {
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
		w := &c.Writes[i]
		if err := p.checkType(a, w.Key); err != nil {
			return err
		}
		for _, e := range slices.Concat(w.Unindex, w.Index) {
			name, err := def.IndexName(e.Index)
			if err == nil {
				err = p.checkIndex(a, name)
			}
			if err != nil {
				return err
			}
		}
	}
	if p.marks.foreign && len(c.Marks)+len(c.Unmark) > 0 {
		return events.Errorf(projections.ErrWrongType, "the marks of %s are something else", a)
	}
	if c.Next.State == projections.Live && (len(c.Writes) > 0 || h.State != projections.Live) {
		return p.checkChanges(a)
	}
	return nil
}

// listed returns a document of which a list has the key.
func (p *partition) listed(def *projections.Definition, key string) projections.Document {
	if p.foreign[key] {
		return projections.Document{Key: key}
	}
	return *decode(def, key, p.documents[key])
}

func (p *partition) checkType(a address, key string) error {
	if p != nil && p.foreign[key] {
		return events.Errorf(projections.ErrWrongType, "the key %q of %s holds no document", key, a)
	}
	return nil
}

func (p *partition) checkIndex(a address, name string) error {
	if x := p.indexes[name]; x != nil && x.foreign {
		return events.Errorf(projections.ErrWrongType, "the index %s of %s holds something else", name, a)
	}
	return nil
}

func (p *partition) checkChanges(a address) error {
	if p.changes.foreign {
		return events.Errorf(projections.ErrWrongType, "the change log of %s holds something else", a)
	}
	return nil
}

// commit makes the commit take effect. It was checked.
func (p *partition) commit(def *projections.Definition, c *projections.Commit) {
	for i := range c.Writes {
		w := &c.Writes[i]
		for _, e := range w.Unindex {
			name, _ := def.IndexName(e.Index)
			p.index(name).remove(e.Value + w.Key)
		}
		for _, e := range w.Index {
			name, _ := def.IndexName(e.Index)
			p.index(name).add(e.Value + w.Key)
		}
		if w.Remove {
			delete(p.documents, w.Key)
			p.keys.remove(w.Key)
			continue
		}
		if _, known := p.documents[w.Key]; w.Create || !known {
			p.keys.add(w.Key)
		}
		p.documents[w.Key] = encode(def, &w.Document)
	}
	for i := range c.Unmark {
		p.marks.remove(c.Unmark[i].String())
	}
	for i := range c.Marks {
		p.marks.add(c.Marks[i].String())
	}
	switch {
	case c.Next.State != projections.Live:
	case p.header.State != projections.Live:
		p.changes.begin(projections.SequenceOf(c.Next.Checkpoint))
	default:
		p.changes.add(c.LogSequence(), c.Writes)
	}
	p.header = c.Next
}

// setState changes the state.
func (p *partition) setState(a address, owner uint64, state projections.PartitionState) error {
	if p.header.Owner != owner {
		return events.Errorf(projections.ErrFenced, "%s is owned by %d, not by %d; its state was not changed", a, p.header.Owner, owner)
	}
	if state == projections.Live && p.header.State != projections.Live {
		if err := p.checkChanges(a); err != nil {
			return err
		}
		p.changes.begin(projections.SequenceOf(p.header.Checkpoint))
	}
	p.header.State = state
	return nil
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
