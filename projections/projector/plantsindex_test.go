package projector_test

import (
	"slices"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// inWrites returns a plant that changes writes. bend makes the change for each world anew.
func inWrites(bend func() func(w *projections.Write)) func(*world) {
	return inStore(func(_ *world, b *bentStore) {
		change := bend()
		b.commits = func(_ projections.Generation, list []projections.Commit) {
			for i := range list {
				for j := range list[i].Writes {
					change(&list[i].Writes[j])
				}
			}
		}
	})
}

// always changes every write, and onceIn the nth that the change means something to.
func always(change func(w *projections.Write)) func(*world) {
	return inWrites(func() func(w *projections.Write) { return change })
}

func onceIn(n int, change func(w *projections.Write) bool) func(*world) {
	return inWrites(func() func(w *projections.Write) {
		now := nth(n)
		return func(w *projections.Write) {
			if tried := *w; change(&tried) && now() {
				*w = tried
			}
		}
	})
}

// without returns the entries that are not of the parked, or those alone.
func without(list []projections.IndexEntry, parked bool) []projections.IndexEntry {
	return slices.DeleteFunc(slices.Clone(list), func(e projections.IndexEntry) bool { return (e.Index == projections.ParkedIndex) == parked })
}

func indexPlants() map[string]func(*world) {
	return map[string]func(*world){
		"an index entry is lost": onceIn(5, func(w *projections.Write) bool {
			if len(w.Index) == 0 {
				return false
			}
			w.Index = w.Index[1:]
			return true
		}),
		"a document stays under its old value": onceIn(3, func(w *projections.Write) bool {
			old := !w.Remove && len(w.Unindex) > 0
			w.Unindex = nil
			return old
		}),
		"a removed document stays in the indexes": always(func(w *projections.Write) {
			if w.Remove {
				w.Unindex = nil
			}
		}),
		"a document is indexed under another value": onceIn(4, func(w *projections.Write) bool {
			w.Index = slices.Clone(w.Index)
			for i := range w.Index {
				if w.Index[i].Index == 0 {
					w.Index[i].Value = "p0000000000000000999"
					return true
				}
			}
			return false
		}),
		"an index gets what belongs to another one": always(func(w *projections.Write) {
			w.Index = slices.Clone(w.Index)
			for i := range w.Index {
				if w.Index[i].Index == projections.ParkedIndex {
					w.Index[i].Index = 0
				}
			}
		}),
		"parked documents are not indexed": always(func(w *projections.Write) {
			w.Index = without(w.Index, true)
		}),
		"a document that is parked leaves the other indexes": always(func(w *projections.Write) {
			if w.Parked != "" {
				w.Index = without(w.Index, false)
			}
		}),
		"left-over entries stay when a partition is made": inStore(func(w *world, b *bentStore) {
			b.created = func(g projections.Generation, h projections.Header) {
				w.store.PutEntry(g, h.Partition, "by_sum", sortable(1)+"a1")
			}
		}),
	}
}

func changePlants() map[string]func(*world) {
	// logged changes a change log after commits that were logged.
	logged := func(change func(c *projections.Commit, list []memstore.ChangeEntry) []memstore.ChangeEntry) func(*world) {
		return inStore(func(w *world, b *bentStore) {
			b.done = func(g projections.Generation, c *projections.Commit) {
				w.store.EditChanges(g, c.Partition, func(list []memstore.ChangeEntry) []memstore.ChangeEntry {
					if len(list) == 0 || len(c.Writes) == 0 {
						return list
					}
					return change(c, list)
				})
			}
		})
	}
	answered := func(change func(after uint64, list []projections.Change, floor uint64) ([]projections.Change, uint64)) func(*world) {
		return inStore(func(_ *world, b *bentStore) { b.changes = change })
	}
	return map[string]func(*world){
		"a change is not logged": inStore(func(w *world, b *bentStore) {
			now := nth(4)
			b.done = func(g projections.Generation, c *projections.Commit) {
				w.store.EditChanges(g, c.Partition, func(list []memstore.ChangeEntry) []memstore.ChangeEntry {
					if len(list) > 1 && len(c.Writes) > 0 && now() {
						list = list[:len(list)-1]
					}
					return list
				})
			}
		}),
		"a change is logged under the checkpoint before": logged(func(c *projections.Commit, list []memstore.ChangeEntry) []memstore.ChangeEntry {
			if last := &list[len(list)-1]; len(last.Keys) > 0 {
				last.Sequence = projections.SequenceOf(c.Expect)
			}
			return list
		}),
		"a change is logged under a later sequence": logged(func(_ *projections.Commit, list []memstore.ChangeEntry) []memstore.ChangeEntry {
			if last := &list[len(list)-1]; len(last.Keys) > 0 {
				last.Sequence++
			}
			return list
		}),
		"a change log keeps one key of a commit": logged(func(_ *projections.Commit, list []memstore.ChangeEntry) []memstore.ChangeEntry {
			if last := &list[len(list)-1]; len(last.Keys) > 1 {
				last.Keys = last.Keys[:1]
			}
			return list
		}),
		"removed documents are no changes": logged(func(c *projections.Commit, list []memstore.ChangeEntry) []memstore.ChangeEntry {
			last := &list[len(list)-1]
			last.Keys = slices.DeleteFunc(slices.Clone(last.Keys), func(key string) bool {
				return slices.ContainsFunc(c.Writes, func(w projections.Write) bool { return w.Remove && w.Key == key })
			})
			if len(list) > 1 && len(last.Keys) == 0 {
				list = list[:len(list)-1]
			}
			return list
		}),
		"a document that came and went in one commit is no change": inStore(func(_ *world, b *bentStore) {
			b.commits = func(_ projections.Generation, list []projections.Commit) {
				for i := range list {
					list[i].Writes = slices.DeleteFunc(list[i].Writes, func(x projections.Write) bool {
						return x.Remove && len(x.Unindex) == 0
					})
				}
			}
		}),
		"a change log has no beginning": inStore(func(w *world, b *bentStore) {
			b.done = func(g projections.Generation, c *projections.Commit) {
				w.store.EditChanges(g, c.Partition, func(list []memstore.ChangeEntry) []memstore.ChangeEntry {
					return slices.DeleteFunc(list, func(e memstore.ChangeEntry) bool { return len(e.Keys) == 0 })
				})
			}
		}),
		"a change log claims to begin with the log": inStore(func(w *world, b *bentStore) {
			b.done = func(g projections.Generation, c *projections.Commit) {
				w.store.EditChanges(g, c.Partition, func(list []memstore.ChangeEntry) []memstore.ChangeEntry {
					if len(list) > 0 && len(list[0].Keys) == 0 {
						list[0].Sequence = 0
					}
					return list
				})
			}
		}),
		"a partition that is being built is logged": inStore(func(w *world, b *bentStore) {
			b.done = func(g projections.Generation, c *projections.Commit) {
				if c.Next.State != projections.Live && len(c.Writes) > 0 {
					w.store.EditChanges(g, c.Partition, func(list []memstore.ChangeEntry) []memstore.ChangeEntry {
						return append(list, memstore.ChangeEntry{Sequence: projections.SequenceOf(c.Next.Checkpoint), Keys: []string{c.Writes[0].Key}})
					})
				}
			}
		}),
		"changes are answered without the oldest": answered(func(_ uint64, list []projections.Change, floor uint64) ([]projections.Change, uint64) {
			if len(list) > 1 {
				list = list[1:]
			}
			return list, floor
		}),
		"changes end inside of a commit": answered(func(_ uint64, list []projections.Change, floor uint64) ([]projections.Change, uint64) {
			if n := len(list); n > 1 && list[n-1].Sequence == list[n-2].Sequence {
				list = list[:n-1]
			}
			return list, floor
		}),
		"a change log that does not reach back says nothing": answered(func(after uint64, list []projections.Change, floor uint64) ([]projections.Change, uint64) {
			return list, min(floor, after)
		}),
	}
}
