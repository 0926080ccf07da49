package memstore_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"tidemark.dev/projections"
)

// The bugs of buggyStore that have to do with inspection and strays.

func (b *buggyStore) Inspect(
	ctx context.Context, g generationOf, def *definitionOf, partition int, asked []projections.Inspected,
) (projections.Header, []projections.Inspected, error) {
	h, got, err := b.Store.Inspect(ctx, g, def, partition, b.bendAsked(def, asked))
	if b.bug == "an inspection takes a spoilt index for empty" && errors.Is(err, projections.ErrWrongType) {
		h, got, err = b.Store.Inspect(ctx, g, def, partition, keysOf(asked))
	}
	if err != nil {
		return h, got, err
	}
	if h.State == projections.Absent {
		if b.bug == "an inspection answers for partitions that are absent" {
			got = keysOf(asked)
		}
		return h, got, nil
	}
	for len(got) < len(asked) {
		got = append(got, projections.Inspected{Key: asked[len(got)].Key})
	}
	for i := range got {
		got[i].Entries = asked[i].Entries
		for len(got[i].Has) < len(asked[i].Entries) {
			got[i].Has = append(got[i].Has, false)
		}
		b.bendInspected(def, &got[i])
	}
	return b.bendAnswers(ctx, g, def, h, got)
}

func keysOf(asked []projections.Inspected) []projections.Inspected {
	out := make([]projections.Inspected, len(asked))
	for i := range asked {
		out[i].Key = asked[i].Key
	}
	return out
}

// bendAsked changes what is asked for.
func (b *buggyStore) bendAsked(def *definitionOf, asked []projections.Inspected) []projections.Inspected {
	asked = slices.Clone(asked)
	switch b.bug {
	case "an inspection has no bound":
		asked = asked[:min(len(asked), projections.MaxInspected)]
	case "an inspection ends early":
		asked = asked[:min(len(asked), projections.MaxInspected/2)]
	}
	for i := range asked {
		entries := slices.Clone(asked[i].Entries)
		switch b.bug {
		case "an inspection takes an index that is not there for empty":
			entries = slices.DeleteFunc(entries, func(e projections.IndexEntry) bool {
				return e.Index >= len(def.Indexes) || e.Index < projections.FirstIndex
			})
		case "an inspection looks for entries in one index":
			for j := range entries {
				entries[j].Index = 0
			}
		case "an inspection cuts entries":
			for j := range entries {
				entries[j].Value, _, _ = strings.Cut(entries[j].Value, "\x00\xff")
			}
		}
		asked[i].Entries = entries
	}
	return asked
}

// bendInspected changes one answer.
func (b *buggyStore) bendInspected(def *definitionOf, x *projections.Inspected) {
	switch b.bug {
	case "an inspection takes what is there for listed":
		x.Listed = x.Document != nil
	case "an inspection takes what is damaged for missing":
		if x.Document != nil && x.Document.Values == nil {
			x.Document = nil
		}
	case "an inspection computes digests":
		if x.Document != nil && x.Document.Values != nil {
			x.Document.Digest = projections.NewHasher(def).Stored(x.Document)
		}
	case "an inspection takes something else for nothing":
		x.Foreign = false
	case "an inspection believes entries":
		for j := range x.Has {
			x.Has[j] = true
		}
	}
}

// bendAnswers changes the answers as a whole.
func (b *buggyStore) bendAnswers(
	ctx context.Context, g generationOf, def *definitionOf, h projections.Header, got []projections.Inspected,
) (projections.Header, []projections.Inspected, error) {
	switch b.bug {
	case "an inspection sorts":
		slices.SortStableFunc(got, func(x, y projections.Inspected) int { return strings.Compare(x.Key, y.Key) })
	case "an inspection answers each key once":
		seen := make(map[string]bool)
		got = slices.DeleteFunc(got, func(x projections.Inspected) bool {
			defer func() { seen[x.Key] = true }()
			return seen[x.Key]
		})
	case "an inspection reads documents afterwards", "an inspection reads entries afterwards":
		b.moved(g, h.Partition, h)
		_, again, err := b.Store.Inspect(ctx, g, def, h.Partition, got)
		if err != nil {
			return h, nil, err
		}
		for i := range got {
			if b.bug == "an inspection reads entries afterwards" {
				got[i].Has = again[i].Has
			} else {
				got[i].Document = again[i].Document
			}
		}
	}
	return h, got, nil
}

func (b *buggyStore) Sizes(
	ctx context.Context, g generationOf, def *definitionOf, partition int,
) (projections.Header, uint64, map[string]uint64, error) {
	h, keys, entries, err := b.Store.Sizes(ctx, g, def, partition)
	switch b.bug {
	case "sizes count what the header says":
		keys = h.Documents
	case "sizes leave out the index of those that expire":
		delete(entries, projections.ExpiryIndexName)
	case "sizes leave out what is empty":
		for name, n := range entries {
			if n == 0 {
				delete(entries, name)
			}
		}
	case "sizes take the header afterwards":
		b.moved(g, partition, h)
		h = b.stored(g, partition)
	case "sizes take a spoilt index for empty":
		if errors.Is(err, projections.ErrWrongType) {
			return h, 0, map[string]uint64{}, nil
		}
	}
	return h, keys, entries, err
}

func (b *buggyStore) Members(
	ctx context.Context, g generationOf, def *definitionOf, partition int, index, after string, limit int,
) (projections.Header, []string, error) {
	if b.bug == "members begin with the last of before" {
		after = strings.TrimSuffix(after, "1")
	}
	h, got, err := b.Store.Members(ctx, g, def, partition, index, after, limit)
	switch b.bug {
	case "members have to be readable":
		if kinds, failed := def.IndexKinds(index); failed == nil {
			got = slices.DeleteFunc(got, func(m string) bool {
				_, _, ok := projections.CutIndexEntry(kinds, m)
				return !ok
			})
		}
	case "members without a document are left out":
		got = slices.DeleteFunc(got, func(m string) bool {
			return index == "" && !b.there(ctx, g, projections.Ref{Partition: partition, Key: m})
		})
	case "members are documents":
		if _, docs, loaded := b.Store.Page(ctx, g, def, partition, after, limit); index == "" && loaded == nil {
			got = slices.DeleteFunc(got, func(key string) bool {
				return slices.ContainsFunc(docs, func(d projections.Document) bool { return d.Key == key && d.Values == nil })
			})
		}
	case "members are in another order":
		slices.SortStableFunc(got, func(x, y string) int { return strings.Compare(strings.ToLower(x), strings.ToLower(y)) })
	case "members of an absent partition":
		if h.State == projections.Absent {
			got = b.Entries(g, partition, "by_count")
		}
	case "members of an index that is not there are none":
		if errors.Is(err, projections.ErrUnknownIndex) {
			return b.stored(g, partition), nil, nil
		}
	case "members of a spoilt index are none":
		if errors.Is(err, projections.ErrWrongType) {
			return h, nil, nil
		}
	case "members take the header afterwards":
		b.moved(g, partition, h)
		h = b.stored(g, partition)
	}
	return h, got, err
}

func (b *buggyStore) Strays(ctx context.Context, g generationOf) iter.Seq2[projections.Ref, error] {
	return func(yield func(projections.Ref, error) bool) {
		for _, ref := range b.moreStrays(ctx, g) {
			if !yield(ref, nil) {
				return
			}
		}
		seen := 0
		for ref, err := range b.Store.Strays(ctx, g) {
			if b.bug == "a stray has to be a document" && err == nil {
				if _, failed := b.Store.Load(ctx, g, definition(), []projections.Ref{ref}); failed != nil {
					continue
				}
			}
			seen++
			if b.bug == "a walk for strays ends early" && seen > 100 {
				return
			}
			if !yield(ref, err) && b.bug != "a walk for strays goes on" {
				return
			}
		}
	}
}

// moreStrays returns what the bug takes for a stray.
func (b *buggyStore) moreStrays(ctx context.Context, g generationOf) (refs []projections.Ref) {
	switch b.bug {
	case "strays of partitions that are absent":
		for _, ref := range []projections.Ref{{Partition: 1, Key: "a"}, {Partition: 2, Key: "x"}} {
			if ref.Partition < g.Partitions && b.stored(g, ref.Partition).State == projections.Absent && b.there(ctx, g, ref) {
				refs = append(refs, ref)
			}
		}
	case "what is missing is a stray":
		for i := range g.Partitions {
			_, docs, _ := b.Store.Page(ctx, g, definition(), i, "", 1_000)
			for _, d := range docs {
				if d.At == "" {
					refs = append(refs, projections.Ref{Partition: i, Key: d.Key})
				}
			}
		}
	case "strays of similar names":
		other := g
		other.Number = 11
		for ref, err := range b.Store.Strays(ctx, other) {
			if err != nil {
				panic(err)
			}
			refs = append(refs, ref)
		}
	case "a stray is not looked at again":
		h, docs, _ := b.Store.Page(ctx, g, definition(), 0, "", 1_000)
		b.moved(g, 0, h)
		for _, key := range []string{"a0", "a1", "a2", "a3", "a4"} {
			listed := func(d projections.Document) bool { return d.Key == key }
			if ref := (projections.Ref{Key: key}); !slices.ContainsFunc(docs, listed) && b.there(ctx, g, ref) {
				refs = append(refs, ref)
			}
		}
	}
	return refs
}

func (b *buggyStore) there(ctx context.Context, g generationOf, ref projections.Ref) bool {
	docs, err := b.Store.Load(ctx, g, definition(), []projections.Ref{ref})
	return err == nil && docs[0] != nil
}
