package projector_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// edits remembers documents that a test changed behind the store's back: until they are folded again they may look like anything.
type edits map[edit]bool

type edit struct {
	generation uint32
	key        string
}

// checkGeneration compares everything that a generation holds with the oracle, partition by partition, each at its own checkpoint. It
// looks at a copy, so that no fault meant for the projector hits it. It returns what is wrong.
func checkGeneration(t testing.TB, store *memstore.Store, gen projections.Generation, o *oracle, edited edits) error {
	t.Helper()
	ctx := context.Background()
	copied := memstore.New()
	copied.Restore(store.Snapshot())
	proj, err := newProjection(o.kind, o.version)
	if err != nil {
		t.Fatal(err)
	}
	def := proj.Definition()
	hasher := projections.NewHasher(def)
	for i := range gen.Partitions {
		h, listed, err := copied.Page(ctx, gen, def, i, "", math.MaxInt)
		if err != nil {
			t.Fatal(err)
		}
		if h.State == projections.Absent || h.State == projections.Loading {
			continue
		}
		name := fmt.Sprintf("generation %d partition %d at %s", gen.Number, i, h.Checkpoint)
		if h.Definition != def.Fingerprint() {
			continue // of another version: its own oracle tells
		}
		seq, ok := o.seqOf(h.Checkpoint)
		if !ok || !o.boundary(seq) {
			return fmt.Errorf("%s: no checkpoint can stand there", name)
		}
		if err := checkHeader(h, o.partition(hasher, i, gen.Partitions, seq)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := checkDocuments(t, copied, gen, def, i, seq, o, listed, edited); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := checkIndexes(copied, gen, i, seq, o); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := checkMarks(copied, gen, hasher, i, seq, o); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := checkChanges(copied, gen, h, seq, o, edited); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func checkHeader(got, want projections.Header) error {
	place, _, _ := strings.Cut(got.UnroutedLast, " ")
	switch {
	case got.Documents != want.Documents || got.Parked != want.Parked:
		return fmt.Errorf("it counts %d documents, %d parked, expected %d and %d", got.Documents, got.Parked, want.Documents, want.Parked)
	case got.Unrouted != want.Unrouted || place != want.UnroutedLast:
		return fmt.Errorf("it counts %d unrouted, the last at %s, expected %d and %s", got.Unrouted, place, want.Unrouted, want.UnroutedLast)
	case got.Digest != want.Digest:
		return fmt.Errorf("its digest is %s, expected %s", got.Digest, want.Digest)
	case got.Seen != want.Seen || !got.Applied.Equal(want.Applied):
		return fmt.Errorf("it has seen %s of %s, expected %s of %s", got.Seen, got.Applied, want.Seen, want.Applied)
	}
	return nil
}

// checkDocuments compares the documents of a partition, the index of their keys, and their digests.
func checkDocuments(
	t testing.TB, store *memstore.Store, gen projections.Generation, def *projections.Definition, partition int, seq uint64,
	o *oracle, listed []projections.Document, edited edits,
) error {
	t.Helper()
	hasher := projections.NewHasher(def)
	index := make([]string, 0, len(listed))
	for i := range listed {
		index = append(index, listed[i].Key)
	}
	refs := make([]projections.Ref, 0, len(o.docs))
	for key := range o.docs {
		if projections.PartitionOf(key, gen.Partitions) == partition {
			refs = append(refs, projections.Ref{Partition: partition, Key: key})
		} else if slices.Contains(index, key) {
			return fmt.Errorf("the document %s belongs to another partition", key)
		}
	}
	stored, err := store.Load(context.Background(), gen, def, refs)
	if err != nil {
		t.Fatal(err)
	}
	known := 0
	for i, ref := range refs {
		want, exists := o.get(ref.Key, seq)
		got := stored[i]
		if slices.Contains(index, ref.Key) != exists {
			return fmt.Errorf("the document %s is in the index: %t, and exists: %t", ref.Key, !exists, exists)
		}
		if exists {
			known++
		}
		switch {
		case edited[edit{gen.Number, ref.Key}]:
		case (got != nil) != exists:
			return fmt.Errorf("the document %s is there: %t, expected: %t", ref.Key, got != nil, exists)
		case got == nil:
		case want.differs(got.At, got.Parked, got.Values) != "":
			return fmt.Errorf("the document %s: %s", ref.Key, want.differs(got.At, got.Parked, got.Values))
		case got.Digest != hasher.Stored(got):
			return fmt.Errorf("the document %s carries the digest %s, and its content has %s", ref.Key, got.Digest, hasher.Stored(got))
		}
	}
	if known != len(index) {
		return fmt.Errorf("the index has %q, expected %d keys", index, known)
	}
	return nil
}

// checkMarks compares what a partition recorded at the marks with what it was there. The last one up to its checkpoint must be among them.
func checkMarks(store *memstore.Store, gen projections.Generation, hasher *projections.Hasher, partition int, seq uint64, o *oracle) error {
	_, marks, err := store.Marks(context.Background(), gen)
	if err != nil {
		return err
	}
	list := marks[partition]
	last := uint64(0)
	for i := range o.records {
		if m, ok := events.MarkOf(&o.records[i]); ok && m.Number > 0 && o.records[i].Sequence <= seq {
			last = o.records[i].Sequence
		}
	}
	if last > 0 && (len(list) == 0 || list[len(list)-1].Sequence != last) || len(list) > projections.MaxMarks {
		return fmt.Errorf("it recorded the marks %v, the last one was at %d", list, last)
	}
	for _, m := range list {
		if want := o.partition(hasher, partition, gen.Partitions, m.Sequence); m.Digest != want.Digest || m.Documents != want.Documents {
			return fmt.Errorf("at the mark at %d it recorded %d documents with the digest %s, expected %d and %s", m.Sequence, m.Documents, m.Digest, want.Documents, want.Digest)
		}
	}
	return nil
}
