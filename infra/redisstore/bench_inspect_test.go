package redisstore_test

import (
	"slices"
	"testing"

	"tidemark.dev/projections"
)

// An inspection of all documents, a thousand at once, each with two entries, against loading them.
func BenchmarkInspectAgainstLoad(b *testing.B) {
	w := newWorkload(b)
	w.def.Indexes = []projections.Index{{Name: "by_delay", Fields: []string{"delay"}}, {Name: "by_status_and_delay", Fields: []string{"status", "delay"}}}
	asked := make([][]projections.Inspected, w.g.Partitions)
	for i, d := range w.docs {
		x := projections.Inspected{Key: d.Key}
		for place := range w.def.Indexes {
			value, _ := w.def.IndexValue(w.def.Indexes[place].Name, &d)
			x.Entries = append(x.Entries, projections.IndexEntry{Index: place, Value: value})
		}
		asked[w.refs[i].Partition] = append(asked[w.refs[i].Partition], x)
	}
	for p := range w.commits {
		for i := range w.commits[p].Writes {
			w.commits[p].Writes[i].Index = asked[p][i].Entries
		}
	}
	w.apply(b)
	inspect := func() {
		for p, all := range asked {
			for step := range slices.Chunk(all, projections.MaxInspected) {
				_, got, err := w.store.Inspect(b.Context(), w.g, w.def, p, step)
				must(b, err)
				for i := range got {
					if !got[i].Listed || got[i].Document == nil || !got[i].Has[0] || !got[i].Has[1] {
						b.Fatalf("under %q there is %+v", got[i].Key, got[i])
					}
				}
			}
		}
	}
	rounds(b, inspect, func() {
		_, err := w.store.Load(b.Context(), w.g, w.def, w.refs)
		must(b, err)
	})
}

// A walk for strays against the bare walk through all keys.
func BenchmarkStraysAgainstScan(b *testing.B) {
	w := newWorkload(b)
	strays := func() {
		for ref, err := range w.store.Strays(b.Context(), w.g, nil) {
			must(b, err)
			b.Fatalf("there is the stray %v", ref)
		}
	}
	rounds(b, strays, func() {
		for cursor := uint64(0); ; {
			var err error
			_, cursor, err = w.client.Scan(b.Context(), cursor, "*", 1_000).Result()
			must(b, err)
			if cursor == 0 {
				return
			}
		}
	})
}
