package storetest

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

type subtest struct {
	name string
	run  func(t *testing.T, open func(t *testing.T) Subject)
}

// RunStore checks that a Store keeps the promises of its port. open returns an empty store; it is called once for each subtest.
func RunStore(t *testing.T, open func(t *testing.T) Subject) {
	t.Helper()
	suite := [][]subtest{headerTests(), applyTests(), writeTests(), loadTests(), lookupTests(), pageTests(), indexTests(), rangeTests(), changeTests(), changeLogTests(), markTests(), repairTests(), inspectTests(), strayTests(), dropTests(), concurrencyTests()}
	for _, part := range suite {
		for _, x := range part {
			t.Run(x.name, func(t *testing.T) { x.run(t, open) })
		}
	}
}

func headerTests() []subtest {
	return []subtest{
		{"headers of a generation that does not exist are absent and in order", testHeadersAbsent},
		{"a header comes back as it was created", testHeaderRoundTrip},
		{"a zero header comes back as it was created", testHeaderZero},
		{"create refuses a partition that exists", testCreateExisting},
		{"create removes what is left over of an earlier partition", testCreateLeftovers},
		{"claim makes the owner of what exists and leaves what is absent", testClaim},
		{"claim is refused by a newer owner and changes nothing from there on", testClaimFenced},
		{"owners are compared as 64-bit numbers", testOwnersAreNumbers},
		{"a document that was removed by hand is not taken for one that never was", testRemovedByHand},
		{"set state changes the partitions of the owner", testSetState},
		{"set state is refused where another owns", testSetStateFenced},
		{"256 partitions are created, claimed, applied and dropped", testManyPartitions},
		{"generations and projections with similar names do not mix", testGenerationsDoNotMix},
		{"a call whose context has ended says that the store was not reached", testEndedContext},
		{"the memory in use is told, or that it is not known", testMemory},
	}
}

// testMemory: not every store knows how much it uses, and few have a bound.
func testMemory(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	empty, err := b.Store.Memory(b.ctx)
	b.must(err)
	b.create(1)
	b.must(b.apply(0, 1, 2, writes(document("a", 1, 2), document("b", 2, 2))...))
	m, err := b.Store.Memory(b.ctx)
	b.must(err)
	if (m.Used > 0) != (empty.Used > 0) || m.Max != empty.Max || m.Max > 0 && m.Used > m.Max {
		t.Errorf("the store uses %+v, and %+v when it was empty", m, empty)
	}
}

func testHeadersAbsent(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 3)
	for i := range 3 {
		b.wantHeader(projections.Header{Partition: i})
	}
	b.must(b.Store.Create(b.ctx, b.g, header(1, 5, 0)))
	b.wantHeader(projections.Header{Partition: 0})
	b.wantHeader(header(1, 5, 0))
	b.wantHeader(projections.Header{Partition: 2})
}

func testHeaderRoundTrip(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	full := fullHeader(1)
	b.must(b.Store.Create(b.ctx, b.g, full))
	b.wantHeader(full)

	h, d, err := b.Store.Get(b.ctx, b.g, b.def, projections.Ref{Partition: 1, Key: "none"})
	b.must(err)
	if d != nil && d.Values != nil { // the header counts documents that are not there
		t.Fatalf("Get of a document that does not exist returned %v", d)
	}
	sameHeader(t, h, full)
	h, _, err = b.Store.Page(b.ctx, b.g, b.def, 1, "", 1)
	b.must(err)
	sameHeader(t, h, full)

	next := full
	next.Checkpoint, next.Parked, next.UnroutedLast, next.Target = position(9), 1, "", events.Position{}
	errs := b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{{Partition: 1, Expect: full.Checkpoint, Next: next}})
	b.must(errs[0])
	b.wantHeader(next)
}

// fullHeader has something unusual in every field.
func fullHeader(partition int) projections.Header {
	d := document("x", 1, 1)
	return projections.Header{
		Partition: partition, State: projections.Building, Owner: math.MaxUint64,
		Checkpoint: events.At(
			events.Point{Origin: "us", Lineage: "7f3a", Term: 2, Sequence: math.MaxUint64},
			events.Point{Origin: "eu-west-1", Lineage: "09c1aabbccddeeff", Term: math.MaxUint32, Sequence: 0}),
		Seen: events.Hash{0, 255, 1, 254}, Applied: time.Date(2026, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		Target:    position(math.MaxUint64),
		Documents: math.MaxUint64, Parked: math.MaxUint64 - 1, Unrouted: 1 << 53,
		UnroutedLast: "us.7f3a@1:77: \"data\" {}\r\n\x00 cannot be read",
		Digest:       d.Digest, Definition: "0123456789abcdef",
	}
}

func testHeaderZero(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	zero := projections.Header{State: projections.Building}
	b.must(b.Store.Create(b.ctx, b.g, zero))
	b.wantHeader(zero)
	got := b.header(0)
	if !got.Applied.IsZero() || !got.Checkpoint.IsZero() || !got.Seen.IsZero() {
		t.Fatalf("header is %+v, want zero values", got)
	}
	next := header(0, 1, 0)
	next.Owner = 0
	b.must(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{{Next: next}})[0])
	b.wantHeader(next)
}

func testCreateExisting(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.create(1)
	b.must(b.apply(0, 1, 2, writes(document("a", 1, 2))...))
	other := header(0, 99, 0)
	other.Owner = owner + 1
	b.wantCode(b.Store.Create(b.ctx, b.g, other), projections.ErrFenced)
	b.wantHeader(header(0, 2, 1))
	b.wantStored(0, document("a", 1, 2))
}

func testCreateLeftovers(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.create(1)
	var old []projections.Write
	for _, k := range nastyKeys() {
		old = append(old, writes(document(k, 1, 2))...)
	}
	b.must(b.apply(0, 1, 2, old...))
	b.must(b.apply(1, 1, 2, writes(document("kept", 1, 2))...))
	b.Tamper.PutDocument(t, b.g, projections.Ref{Partition: 0, Key: "unlisted"}, map[string]string{"name": "x"})
	b.Tamper.LoseHeader(t, b.g, 0)

	b.must(b.Store.Create(b.ctx, b.g, header(0, 10, 0)))
	b.wantHeader(header(0, 10, 0))
	b.wantStored(0)
	for i, d := range b.load(0, append(nastyKeys(), "unlisted")...) {
		if d != nil {
			t.Errorf("left-over document %d (%.40q) is still there", i, d.Key)
		}
	}
	b.wantHeader(header(1, 2, 1))
	b.wantStored(1, document("kept", 1, 2))
}

func testClaim(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 3)
	b.must(b.Store.Create(b.ctx, b.g, header(0, 1, 0)))
	b.must(b.Store.Create(b.ctx, b.g, header(2, 3, 0)))
	for range 2 { // the second time changes nothing
		hs, err := b.Store.Claim(b.ctx, b.g, owner+1)
		b.must(err)
		want := []projections.Header{header(0, 1, 0), {Partition: 1}, header(2, 3, 0)}
		want[0].Owner, want[2].Owner = owner+1, owner+1
		for i := range want {
			sameHeader(t, hs[i], want[i])
			b.wantHeader(want[i])
		}
	}
	b.wantCode(b.apply(0, 1, 2), projections.ErrFenced)
}

func testClaimFenced(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 3)
	for i, own := range []uint64{1, 100, 1} {
		h := header(i, 1, 0)
		h.Owner = own
		b.must(b.Store.Create(b.ctx, b.g, h))
	}
	_, err := b.Store.Claim(b.ctx, b.g, 99)
	b.wantCode(err, projections.ErrFenced)
	if h := b.header(1); h.Owner != 100 {
		t.Errorf("the newer owner was replaced by %d", h.Owner)
	}
	if h := b.header(2); h.Owner != 1 {
		t.Errorf("a partition behind the refusal got the owner %d", h.Owner)
	}
}

func testOwnersAreNumbers(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	h := header(0, 1, 0)
	h.Owner = 9
	b.must(b.Store.Create(b.ctx, b.g, h))
	for _, own := range []uint64{10, 99, 100, 1 << 53, 1<<53 + 1, math.MaxUint64 - 1, math.MaxUint64} {
		_, err := b.Store.Claim(b.ctx, b.g, own)
		b.must(err)
		if got := b.header(0).Owner; got != own {
			t.Fatalf("owner is %d, want %d", got, own)
		}
		_, err = b.Store.Claim(b.ctx, b.g, own-1)
		b.wantCode(err, projections.ErrFenced)
		stale := header(0, 2, 0)
		stale.Owner = own - 1
		b.wantCode(b.Store.Apply(b.ctx, b.g, b.def, []projections.Commit{{Expect: position(1), Next: stale}})[0], projections.ErrFenced)
	}
}

func testSetState(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 3)
	b.must(b.Store.Create(b.ctx, b.g, header(0, 1, 0)))
	b.must(b.Store.Create(b.ctx, b.g, header(2, 1, 0)))
	b.must(b.Store.SetState(b.ctx, b.g, owner, projections.Retired))
	want := header(0, 1, 0)
	want.State = projections.Retired
	b.wantHeader(want)
	b.wantHeader(projections.Header{Partition: 1})
	want.Partition = 2
	b.wantHeader(want)
}

func testSetStateFenced(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 2)
	b.create(1)
	b.wantCode(b.Store.SetState(b.ctx, b.g, owner-1, projections.Retired), projections.ErrFenced)
	b.wantHeader(header(0, 1, 0))
	b.wantHeader(header(1, 1, 0))
}

func testManyPartitions(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, projections.MaxPartitions)
	b.create(1)
	_, err := b.Store.Claim(b.ctx, b.g, owner)
	b.must(err)
	commits := make([]projections.Commit, b.g.Partitions)
	for i := range commits {
		commits[i] = b.commit(i, 1, 2, writes(document("k", i, 2))...)
	}
	for _, err := range b.Store.Apply(b.ctx, b.g, b.def, commits) {
		b.must(err)
	}
	for _, i := range []int{0, 9, 10, 99, 100, 255} {
		b.wantStored(i, document("k", i, 2))
	}
	b.must(b.Store.Drop(b.ctx, b.g))
	b.wantHeader(projections.Header{Partition: 255})
}

func testGenerationsDoNotMix(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 12)
	home := b.g
	others := []projections.Generation{
		{Projection: "flights", Number: 11, Partitions: 12}, {Projection: "flight", Number: 1, Partitions: 12},
		{Projection: "flights-1", Number: 1, Partitions: 12}, {Projection: "flights", Number: 2, Partitions: 12},
	}
	for i, g := range append(others, home) {
		b.g = g
		b.create(1)
		for p := range g.Partitions {
			b.must(b.apply(p, 1, 2, writes(document("k", 100*i+p, 2))...))
		}
	}
	b.must(b.Store.Drop(b.ctx, home))
	for i, g := range others {
		b.g = g
		for p := range g.Partitions {
			b.wantHeader(header(p, 2, 1))
			b.wantStored(p, document("k", 100*i+p, 2))
		}
	}
}

func testEndedContext(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	ref := projections.Ref{Key: "a"}
	_, headers := b.Store.Headers(ctx, b.g)
	_, claim := b.Store.Claim(ctx, b.g, owner)
	_, load := b.Store.Load(ctx, b.g, b.def, []projections.Ref{ref})
	_, _, get := b.Store.Get(ctx, b.g, b.def, ref)
	_, _, page := b.Store.Page(ctx, b.g, b.def, 0, "", 1)
	_, _, lookup := b.Store.Lookup(ctx, b.g, b.def, []projections.Ref{ref})
	_, _, find := b.Store.Find(ctx, b.g, b.def, 0, projections.IndexQuery{Index: projections.ParkedIndexName, Limit: 1})
	_, _, count := b.Store.Count(ctx, b.g, b.def, 0, projections.ParkedIndexName, "", "")
	_, _, _, changes := b.Store.Changes(ctx, b.g, 0, 0, 1)
	_, _, inspect := b.Store.Inspect(ctx, b.g, b.def, 0, []projections.Inspected{{Key: "a"}})
	_, _, _, sizes := b.Store.Sizes(ctx, b.g, b.def, 0)
	_, strays := b.strays(ctx, nil)
	_, _, marks := b.Store.Marks(ctx, b.g)
	_, memory := b.Store.Memory(ctx)
	apply := b.Store.Apply(ctx, b.g, b.def, []projections.Commit{b.commit(0, 1, 2)})
	for name, err := range map[string]error{
		"headers": headers, "claim": claim, "load": load, "get": get, "page": page, "lookup": lookup, "find": find, "count": count, "changes": changes, "inspect": inspect, "sizes": sizes, "strays": strays, "marks": marks, "memory": memory,
		"apply": apply[0], "create": b.Store.Create(ctx, b.g, header(0, 1, 0)), "set state": b.Store.SetState(ctx, b.g, owner, projections.Live), "live": b.Store.SetState(ctx, b.g, owner, projections.Retired),
		"drop": b.Store.Drop(ctx, b.g),
	} {
		if !errors.Is(err, projections.ErrStoreUnreachable) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s returned %v, want %s because of %v", name, err, projections.ErrStoreUnreachable, context.Canceled)
		}
	}
	b.wantHeader(header(0, 1, 0))
}
