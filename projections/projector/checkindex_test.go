package projector_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// sortable writes an integer as an index has it: plainly, and with nothing of the packages under test.
func sortable(n int64) string {
	if n >= 0 {
		return fmt.Sprintf("p%019d", n)
	}
	return "n" + strings.Map(func(r rune) rune { return '9' - r + '0' }, fmt.Sprintf("%019d", -n))
}

// indexed returns what each index must hold of a document. The notes of these tests hold no zero byte.
func (d *expected) indexed(key string) map[string]string {
	odd := "0"
	if d.odd {
		odd = "1"
	}
	entries := map[string]string{"by_sum": sortable(d.sum) + key, "by_odd_and_note": odd + d.note + "\x00\x01" + key}
	if d.parked != "" {
		var seq int64
		if _, err := fmt.Sscan(d.parked[strings.LastIndexByte(d.parked, ':')+1:], &seq); err != nil {
			panic(err)
		}
		entries["_parked"] = sortable(seq) + key
	}
	return entries
}

// checkIndexes compares the indexes of a partition. What somebody did to a document by hand changes nothing in them.
func checkIndexes(store *memstore.Store, gen projections.Generation, partition int, seq uint64, o *oracle) error {
	want := map[string][]string{"by_sum": nil, "by_odd_and_note": nil, "_parked": nil}
	for key := range o.docs {
		if d, ok := o.get(key, seq); ok && projections.PartitionOf(key, gen.Partitions) == partition {
			for index, entry := range d.indexed(key) {
				want[index] = append(want[index], entry)
			}
		}
	}
	for _, index := range slices.Sorted(maps.Keys(want)) {
		slices.Sort(want[index])
		if got := store.Entries(gen, partition, index); !slices.Equal(got, want[index]) {
			return fmt.Errorf("the index %s has\n%q, expected\n%q", index, got, want[index])
		}
	}
	return nil
}

// checkChanges compares a partition's change log. Whoever reads it from any sequence on that it reaches back to must be told of every document
// that is not now what it was then; and of none that no event of that commit touched, unless somebody else did. Without edits it is not known whether
// somebody did.
func checkChanges(store *memstore.Store, gen projections.Generation, h projections.Header, seq uint64, o *oracle, edited edits) error {
	entries := store.ChangeLog(gen, h.Partition)
	switch {
	case h.State == projections.Building && len(entries) > 0:
		return fmt.Errorf("it is being built, and its change log has %v", entries)
	case h.State == projections.Building, h.State == projections.Retired: // it begins anew when it is live again
		return nil
	case len(entries) == 0 || len(entries[0].Keys) > 0:
		return fmt.Errorf("its change log has no beginning: %v", entries)
	case entries[0].Sequence > seq || !o.boundary(entries[0].Sequence):
		return fmt.Errorf("its change log begins at %d", entries[0].Sequence)
	}
	last := map[string]uint64{}
	before := entries[0].Sequence
	for _, e := range entries[1:] {
		at := e.Sequence
		if o.repairs && (at > seq || !o.boundary(at)) {
			at-- // that of a repair, see Commit.LogSequence
		}
		switch {
		case e.Sequence < before, at > seq, !o.boundary(at), len(e.Keys) == 0:
			return fmt.Errorf("its change log has %v after %d", e, before)
		}
		for _, key := range e.Keys {
			if edited != nil && !edited[edit{gen.Number, key}] && !o.touched(key, before, e.Sequence) {
				return fmt.Errorf("its change log has %v after %d, and nothing touched %s", e, before, key)
			}
			last[key] = e.Sequence
		}
		before = e.Sequence
	}
	return o.told(gen, h.Partition, entries[0].Sequence, seq, last)
}

// touched reports whether an event after one sequence and up to another changed a document.
func (o *oracle) touched(key string, after, upto uint64) bool {
	return slices.ContainsFunc(o.docs[key], func(d expected) bool { return after < d.seq && d.seq <= upto })
}

// told says which document of a partition a reader would not be told of that begins at the floor or later. last is the last sequence under
// which each is logged.
func (o *oracle) told(gen projections.Generation, partition int, floor, seq uint64, last map[string]uint64) error {
	for key, versions := range o.docs {
		if projections.PartitionOf(key, gen.Partitions) != partition {
			continue
		}
		now, is := o.get(key, seq)
		for _, d := range versions {
			if d.seq <= floor || d.seq > seq {
				continue
			}
			then, was := o.get(key, d.seq-1)
			if (is != was || is && then.seq != now.seq) && last[key] < d.seq {
				return fmt.Errorf("its change log from %d on does not tell who knows it at %d that %s changed", floor, d.seq-1, key)
			}
		}
	}
	return nil
}
