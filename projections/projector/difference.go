package projector

import (
	"context"
	"slices"

	"tidemark.dev/projections"
)

const (
	// maxSamples bounds the documents that a difference shows.
	maxSamples = 20
	// comparePage is how many documents are compared at once.
	comparePage = 1_000
	// maxSampleText bounds a value that a difference shows, and maxSamplesText all of them together.
	maxSampleText  = 200
	maxSamplesText = 16 << 10
)

// Side is a generation that is compared with another one.
type Side struct {
	Generation projections.Generation
	Definition *projections.Definition
}

// Compare says in which documents two generations of a read model differ: in the fields that both have, and in what is there at all. before goes on being followed meanwhile; a document of it that
// changed after a sequence, to which after is folded, says nothing and is unsettled.
func Compare(ctx context.Context, store projections.Store, before, after Side, upto uint64) (projections.Difference, error) {
	c := &comparing{store: store, upto: upto, fields: commonFields(before.Definition, after.Definition), changed: make(map[string]bool), looked: make([]uint64, before.Generation.Partitions)}
	c.whole = slices.Equal(before.Definition.Fields, after.Definition.Fields)
	err := c.walk(ctx, after, before, after, func(b, a *projections.Document) {
		switch {
		case a == nil && c.changed[b.Key]: // it was removed since
			c.Unsettled++
		case a == nil:
			c.add(b.Key, nil, shown(after.Definition, b))
			c.Added++
		case c.late(a):
			c.Unsettled++
		case c.same(a, b):
			c.Same++
		default:
			c.Changed++
			c.add(b.Key, c.differing(before.Definition, a, b, pair.inBefore, pair.inAfter), c.differing(after.Definition, b, a, pair.inAfter, pair.inBefore))
		}
	})
	if err == nil {
		err = c.walk(ctx, before, after, after, func(a, b *projections.Document) {
			if b != nil {
				return
			}
			if c.late(a) {
				c.Unsettled++
				return
			}
			c.Removed++
			c.add(a.Key, shown(before.Definition, a), nil)
		})
	}
	return c.Difference, err
}

type comparing struct {
	projections.Difference
	store  projections.Store
	upto   uint64
	fields []pair
	whole  bool // both have the same fields
	size   int  // of the samples

	changed map[string]bool // what changed in the generation before since, of documents that are not there
	looked  []uint64        // by its partitions: up to where that is known; 0: not at all
}

// pair is where a field is in both.
type pair struct {
	name          string
	before, after int
}

func (f pair) inBefore() int { return f.before }
func (f pair) inAfter() int  { return f.after }

func commonFields(before, after *projections.Definition) (list []pair) {
	for i, f := range after.Fields {
		if at := slices.Index(before.Fields, f); at >= 0 {
			list = append(list, pair{name: f.Name, before: at, after: i})
		}
	}
	return list
}

// walk calls each for every document of a generation, with the one of the same key in another; nil: there is none.
func (c *comparing) walk(ctx context.Context, side, other, after Side, each func(d, counterpart *projections.Document)) error {
	for p := range side.Generation.Partitions {
		for last := ""; ; {
			_, page, err := c.store.Page(ctx, side.Generation, side.Definition, p, last, comparePage)
			if err != nil || len(page) == 0 {
				if err != nil {
					return err
				}
				break
			}
			refs := make([]projections.Ref, len(page))
			for i := range page {
				refs[i] = projections.Ref{Partition: projections.PartitionOf(page[i].Key, other.Generation.Partitions), Key: page[i].Key}
			}
			found, err := c.store.Load(ctx, other.Generation, other.Definition, refs)
			if err != nil {
				return err
			}
			for i := range page {
				if found[i] == nil && side == after {
					if err := c.changes(ctx, other.Generation, refs[i].Partition); err != nil {
						return err
					}
				}
				each(&page[i], found[i])
			}
			last = page[len(page)-1].Key
			if len(page) < comparePage {
				break
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// changes takes note of what changed in a partition of the generation before since the other one was folded, as far as its change log tells.
func (c *comparing) changes(ctx context.Context, gen projections.Generation, partition int) error {
	const step = 5_000
	for {
		from := max(c.looked[partition], c.upto)
		h, list, floor, err := c.store.Changes(ctx, gen, partition, from, step)
		if err != nil || floor > from {
			return err
		}
		for i := range list {
			c.changed[list[i].Key] = true
			c.looked[partition] = list[i].Sequence
		}
		if len(list) < step {
			c.looked[partition] = max(c.looked[partition], projections.SequenceOf(h.Checkpoint))
			return nil
		}
	}
}

// late reports whether a document of the generation before changed after what the other one is folded to.
func (c *comparing) late(d *projections.Document) bool {
	seq, ok := projections.SequenceIn(d.At)
	return ok && seq > c.upto
}

func (c *comparing) same(before, after *projections.Document) bool {
	if before.Values == nil || after.Values == nil || (before.Parked != "") != (after.Parked != "") || c.whole && before.At != after.At {
		return false
	}
	return !slices.ContainsFunc(c.fields, func(f pair) bool { return before.Values[f.before] != after.Values[f.after] })
}

// differing returns the fields of a document in which another one differs. from and to say where a field is in the one and in the other.
func (c *comparing) differing(def *projections.Definition, d, other *projections.Document, from, to func(pair) int) map[string]string {
	if d.Values == nil || other.Values == nil {
		return shown(def, d)
	}
	fields := map[string]string{}
	for _, f := range c.fields {
		if v := d.Values[from(f)]; v != other.Values[to(f)] {
			fields[f.name] = short(v)
		}
	}
	if d.Parked != other.Parked {
		fields["_parked"] = projections.PlaceOf(d.Parked)
	}
	if c.whole && d.At != other.At {
		fields["_at"] = d.At
	}
	return fields
}

// shown returns all fields of a document.
func shown(def *projections.Definition, d *projections.Document) map[string]string {
	if d.Values == nil {
		return map[string]string{"_damaged": "it is not what was written"}
	}
	fields := map[string]string{}
	for i, f := range def.Fields {
		fields[f.Name] = short(d.Values[i])
	}
	if d.Parked != "" {
		fields["_parked"] = projections.PlaceOf(d.Parked)
	}
	return fields
}

func (c *comparing) add(key string, before, after map[string]string) {
	if len(c.Samples) == maxSamples || c.size > maxSamplesText {
		return
	}
	c.size += len(key)
	for _, fields := range [...]map[string]string{before, after} {
		for name, value := range fields {
			c.size += len(name) + len(value)
		}
	}
	c.Samples = append(c.Samples, projections.Differing{Key: key, Before: before, After: after})
}

func short(s string) string {
	if r := []rune(s); len(r) > maxSampleText {
		return string(r[:maxSampleText]) + "…"
	}
	return s
}
