package memstore_test

import (
	"context"
	"runtime"
	"slices"
	"strings"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// The bugs of buggyStore that have to do with indexes and change logs.

// moved waits until a partition is at another checkpoint than it was, for a while. It makes happen what a race would.
func (b *buggyStore) moved(g generationOf, partition int, was projections.Header) {
	for range 10_000 {
		if !b.stored(g, partition).Checkpoint.Equal(was.Checkpoint) {
			return
		}
		runtime.Gosched()
	}
}

// bendIndexes changes the index entries of a commit.
func (b *buggyStore) bendIndexes(c *projections.Commit) {
	c.Writes = slices.Clone(c.Writes)
	for i := range c.Writes {
		w := &c.Writes[i]
		w.Unindex, w.Index = slices.Clone(w.Unindex), slices.Clone(w.Index)
		switch {
		case b.bug == "an index entry is lost" && len(w.Index) > 1:
			w.Index = w.Index[1:]
		case b.bug == "a document stays under its old value" && !w.Remove,
			b.bug == "a removed document stays in the indexes" && w.Remove:
			w.Unindex = nil
		case b.bug == "values end at a zero byte":
			for j := range w.Index {
				value, rest, _ := strings.Cut(w.Index[j].Value, "\x00\xff")
				if rest != "" {
					w.Index[j].Value = value + "\x00\x01"
				}
			}
		case b.bug == "indexes are one":
			for j := range w.Index {
				w.Index[j].Index = max(w.Index[j].Index-8, w.Index[j].Index%8)
			}
		}
	}
}

// bendLog changes a change log after a commit on it succeeded.
func (b *buggyStore) bendLog(g generationOf, c *projections.Commit, was projections.Header) {
	live, begins := c.Next.State == projections.Live, was.State != projections.Live
	b.EditChanges(g, c.Partition, func(list []memstore.ChangeEntry) []memstore.ChangeEntry {
		last := len(list) - 1
		switch {
		case b.bug == "a change log begins without an entry" && live && begins:
			return nil
		case b.bug == "a change log begins with the commit before" && live && begins:
			list[last].Sequence = projections.SequenceOf(c.Expect)
		case b.bug == "a commit without writes is logged" && live && !begins && len(c.Writes) == 0:
			return append(list, entryOf(c))
		case !live || begins || len(c.Writes) == 0:
		case b.bug == "a change is not logged":
			return list[:last]
		case b.bug == "removed documents are no changes":
			gone := func(key string) bool {
				return slices.ContainsFunc(c.Writes, func(w projections.Write) bool { return w.Remove && w.Key == key })
			}
			list[last].Keys = slices.DeleteFunc(slices.Clone(list[last].Keys), gone)
		case b.bug == "changes are logged under the checkpoint before":
			for i := range list {
				if list[i].Sequence == projections.SequenceOf(c.Next.Checkpoint) {
					list[i].Sequence = projections.SequenceOf(c.Expect)
				}
			}
		case b.bug == "a change log is cut off too early":
			return list[max(0, len(list)-projections.ChangeEntries/2):]
		}
		return list
	})
}

func entryOf(c *projections.Commit) memstore.ChangeEntry {
	e := memstore.ChangeEntry{Sequence: projections.SequenceOf(c.Next.Checkpoint), Keys: []string{"k"}}
	for i := range c.Writes {
		e.Keys = append(e.Keys, c.Writes[i].Key)
	}
	return e
}

// bendState changes the change logs after the state was changed.
func (b *buggyStore) bendState(g generationOf, before []projections.Header, logs [][]memstore.ChangeEntry) {
	for i := range before {
		begins := before[i].State != projections.Live && b.stored(g, i).State == projections.Live
		b.EditChanges(g, i, func(list []memstore.ChangeEntry) []memstore.ChangeEntry {
			switch {
			case b.bug == "a change log has no beginning when it is made live" && begins:
				return nil
			case b.bug == "a change log begins anew whenever it is made live" && !begins && len(list) > 0:
				return []memstore.ChangeEntry{{Sequence: projections.SequenceOf(before[i].Checkpoint)}}
			case b.bug == "a change log goes on when its partition is live again" && begins:
				return logs[i]
			}
			return list
		})
	}
}

func (b *buggyStore) Find(
	ctx context.Context, g generationOf, def *definitionOf, partition int, q projections.IndexQuery,
) (projections.Header, []projections.Found, error) {
	switch b.bug {
	case "reverse begins at the first":
		if q.Reverse && q.Limit > 0 {
			q.Limit += 1_000
		}
	case "a range has its end too":
		if q.To != "" {
			q.To += "l"
		}
	case "a page of an index begins with the last of before":
		q.AfterKey = strings.TrimSuffix(q.AfterKey, "4")
	case "a page of an index forgets its range":
		if q.AfterKey != "" {
			q.From, q.To = "", ""
		}
	}
	h, found, err := b.Store.Find(ctx, g, def, partition, q)
	switch b.bug {
	case "reverse begins at the first":
		if q.Reverse && q.Limit > 0 && len(found) > q.Limit-1_000 {
			found = found[len(found)-(q.Limit-1_000):]
		}
	case "entries without documents are left out":
		found = slices.DeleteFunc(found, func(f projections.Found) bool { return f.Values == nil })
	case "bare entries are left out that have no document":
		if q.Bare {
			found = slices.DeleteFunc(found, func(f projections.Found) bool { return b.lost(g, partition, f.Key) })
		}
	case "bare entries have no keys":
		for i := range found {
			if q.Bare {
				found[i].Key = ""
			}
		}
	case "find takes the header afterwards":
		b.moved(g, partition, h)
		h = b.stored(g, partition)
	}
	return h, found, err
}

// lost reports whether there is no document under a key.
func (b *buggyStore) lost(g generationOf, partition int, key string) bool {
	gone := true
	b.EditDocument(g, projections.Ref{Partition: partition, Key: key}, func(fields map[string]string) { gone = len(fields) == 0 })
	return gone
}

func (b *buggyStore) Count(
	ctx context.Context, g generationOf, def *definitionOf, partition int, index, from, to string,
) (projections.Header, uint64, error) {
	switch b.bug {
	case "count ignores the range":
		from, to = "", ""
	case "count takes an index that is not there for empty":
		known := func(x projections.Index) bool { return x.Name == index }
		if index != "" && index != projections.ParkedIndexName && !slices.ContainsFunc(def.Indexes, known) {
			return b.stored(g, partition), 0, nil
		}
	}
	return b.Store.Count(ctx, g, def, partition, index, from, to)
}

func (b *buggyStore) Changes(
	ctx context.Context, g generationOf, partition int, after uint64, limit int,
) (projections.Header, []projections.Change, uint64, error) {
	h, list, floor, err := b.Store.Changes(ctx, g, partition, after, limit)
	list, floor = b.bendChanges(g, partition, &h, after, limit, list, floor)
	switch b.bug {
	case "changes end inside of a commit":
		list = list[:max(0, min(limit, len(list)))]
	case "changes begin with the sequence itself":
		if after > 0 {
			_, list, _, err = b.Store.Changes(ctx, g, partition, after-1, limit)
		}
	case "the floor is zero":
		floor = 0
	case "the floor of an empty change log is where it began":
		if len(list) == 0 {
			floor = min(floor, 1)
		}
	case "changes take the header afterwards":
		b.moved(g, partition, h)
		h = b.stored(g, partition)
	case "a change log that is cut off says so late":
		if after < floor { // it begins with what there is, as if nothing were missing
			h, list, _, err = b.Store.Changes(ctx, g, partition, floor, limit)
			floor = after
		}
	}
	return h, list, floor, err
}
