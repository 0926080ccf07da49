package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Subject is a store under test, and the means to damage it. Each subtest opens its own.
type Subject struct {
	Store  projections.Store
	Tamper Tamper
}

// Tamper changes what is stored behind the store's back, as an operator with a console, an evicting server or a flipped bit does.
type Tamper interface {
	// SetField sets one stored field of a document that exists.
	SetField(t testing.TB, g projections.Generation, ref projections.Ref, field, value string)
	// DropField removes one stored field of a document that exists.
	DropField(t testing.TB, g projections.Generation, ref projections.Ref, field string)
	// RemoveDocument removes a document and leaves its key in the index.
	RemoveDocument(t testing.TB, g projections.Generation, ref projections.Ref)
	// PutDocument stores a document whose key is not in the index; the partition need not exist.
	PutDocument(t testing.TB, g projections.Generation, ref projections.Ref, fields map[string]string)
	// SpoilKey makes a document's key hold something else.
	SpoilKey(t testing.TB, g projections.Generation, ref projections.Ref)
	// Unlist removes a key from the list of keys and leaves its document.
	Unlist(t testing.TB, g projections.Generation, ref projections.Ref)
	// LoseHeader removes a partition's header and list of keys and leaves everything else.
	LoseHeader(t testing.TB, g projections.Generation, partition int)
	// PutEntry puts an entry, value and key, into an index.
	PutEntry(t testing.TB, g projections.Generation, partition int, index, entry string)
	// DropEntry removes an entry that is in an index.
	DropEntry(t testing.TB, g projections.Generation, partition int, index, entry string)
	// SpoilIndex makes an index hold something else.
	SpoilIndex(t testing.TB, g projections.Generation, partition int, index string)
	// SpoilChanges makes a change log hold something else.
	SpoilChanges(t testing.TB, g projections.Generation, partition int)
	// PutMark puts a text among the recorded marks.
	PutMark(t testing.TB, g projections.Generation, partition int, text string)
	// SpoilMarks makes the recorded marks something else.
	SpoilMarks(t testing.TB, g projections.Generation, partition int)
	// TrimChanges removes the older entries of a change log; stay is how many stay.
	TrimChanges(t testing.TB, g projections.Generation, partition, stay int)
	// PutChange appends an entry to a change log.
	PutChange(t testing.TB, g projections.Generation, partition int, c projections.Change)
}

// Stored names of what every document carries beside its fields.
const (
	fieldAt     = "_at"
	fieldDigest = "_digest"
)

// bench is one subtest's store with shorthand for what nearly every subtest does.
type bench struct {
	Subject
	t   *testing.T
	ctx context.Context //nolint:containedctx // a subtest is one operation
	g   projections.Generation
	def *projections.Definition
	// decorate is called for each write of hammer.
	decorate func(w *projections.Write)
	// marked says which marks a commit of hammer records and forgets.
	marked func(seq uint64) (marks, unmark []projections.PartitionMark)
}

func newBench(t *testing.T, open func(t *testing.T) Subject, partitions int) *bench {
	t.Helper()
	return &bench{
		Subject: open(t), t: t, ctx: t.Context(), def: definition(),
		g: projections.Generation{Projection: "flights", Number: 1, Partitions: partitions},
	}
}

func definition() *projections.Definition {
	return &projections.Definition{
		Name: "flights", Version: 1,
		Fields: []projections.Field{
			{Name: "name", Kind: projections.KindString}, {Name: "count", Kind: projections.KindInt}, {Name: "late", Kind: projections.KindBool},
		},
		Handles: []projections.Handles{{EventType: "landed", ByEntity: true}},
	}
}

const owner = 7

func position(seq uint64) events.Position {
	return events.At(events.Point{Origin: "us", Lineage: "7f3a", Term: 1, Sequence: seq})
}

// header is a partition's header at a sequence, as a projector that counts documents would write it.
func header(partition int, seq, documents uint64) projections.Header {
	return projections.Header{
		Partition: partition, State: projections.Live, Owner: owner, Checkpoint: position(seq),
		Seen: events.Hash{1, 2, byte(seq)}, Applied: time.Date(2026, 3, 1, 12, 0, 0, int(seq), time.UTC), //nolint:gosec // small
		Documents: documents, Definition: definition().Fingerprint(),
	}
}

// document returns a document whose fields follow from key and n.
func document(key string, n int, seq uint64) projections.Document {
	d := projections.Document{
		Key: key, At: position(seq).String(),
		Values: []string{fmt.Sprintf("name of %d", n), fmt.Sprint(n), fmt.Sprint(n%2 == 0)},
	}
	return seal(d)
}

func seal(d projections.Document) projections.Document {
	d.Digest = projections.NewHasher(definition()).Stored(&d)
	return d
}

func writes(docs ...projections.Document) []projections.Write {
	out := make([]projections.Write, len(docs))
	for i, d := range docs {
		out[i] = projections.Write{Document: d, Create: true}
	}
	return out
}

func (b *bench) create(seq uint64) {
	b.t.Helper()
	for i := range b.g.Partitions {
		b.must(b.Store.Create(b.ctx, b.g, header(i, seq, 0)))
	}
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("unexpected error: %v", err)
	}
}

func (b *bench) wantCode(err error, code events.Code) {
	b.t.Helper()
	if !errors.Is(err, code) {
		b.t.Fatalf("error = %v, want %s", err, code)
	}
}

// apply moves partition from one sequence to another and returns the commit's error.
func (b *bench) apply(partition int, from, to uint64, ws ...projections.Write) error {
	b.t.Helper()
	errs := b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{b.commit(partition, from, to, ws...)})
	if len(errs) != 1 {
		b.t.Fatalf("Apply of one commit returned %d errors", len(errs))
	}
	return errs[0]
}

func (b *bench) commit(partition int, from, to uint64, ws ...projections.Write) projections.Commit {
	return projections.Commit{Partition: partition, Expect: position(from), Next: header(partition, to, uint64(len(ws))), Writes: ws}
}

func (b *bench) header(partition int) projections.Header {
	b.t.Helper()
	hs, err := b.Store.Headers(b.ctx, b.g)
	b.must(err)
	if len(hs) != b.g.Partitions {
		b.t.Fatalf("Headers returned %d headers, want %d", len(hs), b.g.Partitions)
	}
	return hs[partition]
}

func (b *bench) wantHeader(want projections.Header) {
	b.t.Helper()
	sameHeader(b.t, b.header(want.Partition), want)
}

func sameHeader(t testing.TB, got, want projections.Header) {
	t.Helper()
	if !got.Checkpoint.Equal(want.Checkpoint) || !got.Target.Equal(want.Target) || !got.Applied.Equal(want.Applied) {
		t.Fatalf("header is\n%+v, want\n%+v", got, want)
	}
	got.Checkpoint, got.Target, got.Applied = want.Checkpoint, want.Target, want.Applied
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Fatalf("header is\n%+v, want\n%+v", got, want)
	}
}

// load returns the stored documents of keys of one partition.
func (b *bench) load(partition int, keys ...string) []*projections.Document {
	b.t.Helper()
	refs := make([]projections.Ref, len(keys))
	for i, k := range keys {
		refs[i] = projections.Ref{Partition: partition, Key: k}
	}
	docs, err := b.Store.Load(b.ctx, b.g, b.def, refs)
	b.must(err)
	if len(docs) != len(refs) {
		b.t.Fatalf("Load of %d references returned %d documents", len(refs), len(docs))
	}
	return docs
}

// wantStored checks that exactly these documents are in the partition: by Load, by Get and by Page.
func (b *bench) wantStored(partition int, want ...projections.Document) {
	b.t.Helper()
	slices.SortFunc(want, func(x, y projections.Document) int { return strings.Compare(x.Key, y.Key) })
	_, paged, err := b.Store.Page(b.ctx, b.g, b.def, partition, "", len(want)+10)
	b.must(err)
	if len(paged) != len(want) {
		b.t.Fatalf("the partition has %d documents, want %d: %.500q", len(paged), len(want), paged)
	}
	for i := range want {
		sameDocument(b.t, &paged[i], &want[i])
		sameDocument(b.t, b.load(partition, want[i].Key)[0], &want[i])
	}
}

func sameDocument(t testing.TB, got, want *projections.Document) {
	t.Helper()
	if got == nil {
		t.Fatalf("there is no document %.80q", want.Key)
	}
	if got.Key != want.Key || got.At != want.At || got.Parked != want.Parked || got.Digest != want.Digest || !slices.Equal(got.Values, want.Values) {
		t.Fatalf("document is\n%.2000q, want\n%.2000q", *got, *want)
	}
}

// nastyKeys are keys that some layer may be tempted to read as something else.
func nastyKeys() []string {
	return []string{
		" ", "  a  ", "a b", "a\x00b", "\x00", "{x}", "}{", "{", "a{b}c", "*", "a*", "[a-z]", "?", "\\", ":", "a:b", "head", "keys", ":head",
		"\r\n", "a\r\nSET x y", "'", "\"", "(a", "[a", "-", "+", "0", "1e400", "nil", "null", "é", "\u00e9\u0301", "日本", "😀", "\u2028", "\x7f",
		"a", "A", "aa", "ab", strings.Repeat("k", projections.MaxKeyBytes), strings.Repeat("é", projections.MaxKeyBytes/2),
	}
}
