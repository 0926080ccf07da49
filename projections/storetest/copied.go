package storetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"tidemark.dev/projections"
)

// copyOwner owns the copies of MakeCopy: larger than any lease of a test.
const copyOwner = 1 << 40

// MakeCopy copies the live read model of a projection, once its partitions are all at one position, and names the copy in the pointer. It is for tests of what reads copies; the projector
// makes them otherwise.
func MakeCopy(t testing.TB, store projections.Store, kv projections.KV, projection, name string) projections.Copy {
	t.Helper()
	ctx := context.Background()
	for range 2_000 {
		pointer, revision, err := projections.ReadPointer(ctx, kv, projection)
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := copyLive(t, store, &pointer, projection, name); ok {
			pointer.Highest = c.Generation
			pointer.Copies = append(pointer.Copies, c)
			if _, err := projections.WriteJSON(ctx, kv, projections.PointerKey(projection), pointer, revision); err != nil {
				t.Fatal(err)
			}
			return c
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("the partitions of %s do not come to one position", projection)
	return projections.Copy{}
}

// copyLive copies the live generation, or nothing while it moves.
func copyLive(t testing.TB, store projections.Store, p *projections.Pointer, projection, name string) (projections.Copy, bool) {
	t.Helper()
	ctx := context.Background()
	live := p.Live(projection)
	headers, err := store.Headers(ctx, live)
	if err != nil {
		t.Fatal(err)
	}
	digest, documents, at := projections.Sum(headers)
	if at.IsZero() || slices.ContainsFunc(headers, func(h projections.Header) bool { return h.State != projections.Live }) {
		return projections.Copy{}, false
	}
	def := &projections.Definition{Name: projection, Version: p.Version, Fields: p.Fields, Indexes: p.Indexes}
	to := projections.Generation{Projection: projection, Number: max(p.Highest, p.Generation) + 1, Partitions: p.Partitions}
	for i, h := range headers {
		next := h
		next.Owner = copyOwner
		c := projections.Commit{Partition: i, Expect: h.Checkpoint, Next: next}
		for after := ""; ; {
			now, page, err := store.Page(ctx, live, def, i, after, 1_000)
			if err != nil {
				t.Fatal(err)
			}
			if !now.Checkpoint.Equal(h.Checkpoint) {
				if err := store.Drop(ctx, to); err != nil {
					t.Fatal(err)
				}
				return projections.Copy{}, false
			}
			if len(page) == 0 {
				break
			}
			for _, d := range page {
				c.Writes = append(c.Writes, projections.Write{Document: d, Create: true, Index: entriesOf(def, &d)})
			}
			after = page[len(page)-1].Key
		}
		if err := fill(ctx, store, to, def, c); err != nil {
			t.Fatal(err)
		}
	}
	built := projections.Built{
		Retiree: projections.Retiree{Generation: to.Number, Partitions: to.Partitions},
		Version: p.Version, Definition: p.Definition, Fields: p.Fields, Indexes: p.Indexes, Source: p.Source,
	}
	return projections.Copy{Name: name, Built: built, Position: at.String(), Documents: documents, Digest: digest.String(), Made: time.Now().UTC()}, true
}

// entriesOf returns where a document stands in the indexes that a reader knows.
func entriesOf(def *projections.Definition, d *projections.Document) (entries []projections.IndexEntry) {
	add := func(index int, name string) {
		if value, ok := def.IndexValue(name, d); ok {
			entries = append(entries, projections.IndexEntry{Index: index, Value: value})
		}
	}
	for i := range def.Indexes {
		add(i, def.Indexes[i].Name)
	}
	add(projections.ParkedIndex, projections.ParkedIndexName)
	return entries
}

// fill makes a partition of the commit alone.
func fill(ctx context.Context, store projections.Store, g projections.Generation, def *projections.Definition, c projections.Commit) error {
	empty := projections.Header{Partition: c.Partition, State: projections.Building, Owner: c.Next.Owner, Checkpoint: c.Expect, Target: c.Expect, Definition: c.Next.Definition}
	if err := store.Create(ctx, g, empty); err != nil {
		return err
	}
	return store.Apply(ctx, g, def, []projections.Commit{c})[0]
}

// DropCopy takes a copy out of the pointer, and then out of the store.
func DropCopy(t testing.TB, store projections.Store, kv projections.KV, projection, name string) {
	t.Helper()
	ctx := context.Background()
	pointer, revision, err := projections.ReadPointer(ctx, kv, projection)
	if err != nil {
		t.Fatal(err)
	}
	c, ok := pointer.Copy(name)
	if !ok {
		t.Fatalf("%s has no copy %s", projection, name)
	}
	pointer.Copies = slices.DeleteFunc(pointer.Copies, func(c projections.Copy) bool { return c.Name == name })
	if _, err := projections.WriteJSON(ctx, kv, projections.PointerKey(projection), pointer, revision); err != nil {
		t.Fatal(err)
	}
	if err := store.Drop(ctx, projections.Generation{Projection: projection, Number: c.Generation, Partitions: c.Partitions}); err != nil {
		t.Fatal(err)
	}
}
