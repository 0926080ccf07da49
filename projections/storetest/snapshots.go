package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// SnapshotSubject is where snapshots are kept, and the means to damage one.
type SnapshotSubject struct {
	Snapshots projections.Snapshots
	// Tamper changes the content of a snapshot behind the back of whoever keeps it, and leaves its description.
	Tamper func(t testing.TB, projection, id string, edit func(content []byte) []byte)
}

// RunSnapshots checks that Snapshots keeps the promises of its port. open returns an empty one; it is called once for each subtest.
func RunSnapshots(t *testing.T, open func(t *testing.T) SnapshotSubject) {
	t.Helper()
	for _, x := range []struct {
		name string
		run  func(b *snapshotBench)
	}{
		{"content of every size comes back as it was put", testSnapshotSizes},
		{"a body of twenty megabytes is kept as it comes", testSnapshotLarge},
		{"a body that comes in pieces is one snapshot", testSnapshotPieces},
		{"a description comes back as it was put, with the length", testSnapshotDescription},
		{"a list has the largest sequence first", testSnapshotOrder},
		{"projections are kept apart", testSnapshotProjections},
		{"a body that fails leaves nothing behind", testSnapshotBodyFails},
		{"a body during which the context ends leaves nothing behind", testSnapshotContextEndsMidway},
		{"an id that is taken is refused and nothing changes", testSnapshotTaken},
		{"of many who put one id one wins", testSnapshotRace},
		{"two snapshots are put at once", testSnapshotTwoAtOnce},
		{"what is listed is whole", testSnapshotListedIsWhole},
		{"several read one snapshot", testSnapshotReaders},
		{"a snapshot that was deleted is gone and its id is free", testSnapshotDelete},
		{"what is not there is unknown", testSnapshotUnknown},
		{"what was altered is told at the end of it", testSnapshotAltered},
		{"a reading can be left, and ends with its context", testSnapshotReadingEnds},
		{"a call whose context has ended says that it was not executed", testSnapshotEndedContext},
		{"names that are none are refused", testSnapshotNames},
	} {
		t.Run(x.name, func(t *testing.T) { x.run(&snapshotBench{open(t), t, bounded(t)}) })
	}
}

// snapshotBench is one subtest's subject with shorthand for what nearly every subtest does.
type snapshotBench struct {
	SnapshotSubject
	t   *testing.T
	ctx context.Context //nolint:containedctx // a subtest is one operation
}

func describe(projection, id string, sequence uint64) projections.Snapshot {
	return projections.Snapshot{
		ID: id, Projection: projection, Version: 3, Definition: "0123456789abcdef", Partitions: 16, Position: position(sequence), Sequence: sequence, Mark: sequence / 10,
		Documents: 1 << 60, Digest: strings.Repeat("0a", 16), Region: "eu-west-1", Taken: time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC),
	}
}

// noise is a body of any size that is never in memory as a whole. Every read of it returns another number of bytes.
func noise(seed uint64, size int64) io.Reader {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	return &uneven{from: io.LimitReader(rand.NewChaCha8(key), size)}
}

type uneven struct {
	from io.Reader
	n    int
}

func (u *uneven) Read(p []byte) (int, error) {
	u.n = (u.n*7 + 4_093) % 65_537
	return u.from.Read(p[:min(len(p), u.n+1)])
}

func (b *snapshotBench) put(s projections.Snapshot, body io.Reader) projections.Snapshot {
	b.t.Helper()
	kept, err := b.Snapshots.Put(b.ctx, s, body)
	if err != nil {
		b.t.Fatalf("put %s of %s: %v", s.ID, s.Projection, err)
	}
	return kept
}

// content reads a whole snapshot.
func (b *snapshotBench) content(projection, id string) []byte {
	b.t.Helper()
	r, err := b.Snapshots.Open(b.ctx, projection, id)
	if err != nil {
		b.t.Fatalf("open %s of %s: %v", id, projection, err)
	}
	content, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		b.t.Fatalf("read %s of %s: %v after %d bytes", id, projection, err, len(content))
	}
	return content
}

// wantNoise checks that a snapshot is a body of noise, without holding either of them.
func (b *snapshotBench) wantNoise(projection, id string, seed uint64, size int64) {
	b.t.Helper()
	r, err := b.Snapshots.Open(b.ctx, projection, id)
	if err != nil {
		b.t.Fatalf("open %s of %s: %v", id, projection, err)
	}
	defer r.Close()
	got, want := sha256.New(), sha256.New()
	n, err := io.Copy(got, r)
	_, wanted := io.Copy(want, noise(seed, size))
	if err != nil || wanted != nil || n != size || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		b.t.Fatalf("%d bytes of %s of %s were read, %v; want %d, equal: %t", n, id, projection, err, size, bytes.Equal(got.Sum(nil), want.Sum(nil)))
	}
}

func (b *snapshotBench) list(projection string) []projections.Snapshot {
	b.t.Helper()
	list, err := b.Snapshots.List(b.ctx, projection)
	if err != nil {
		b.t.Fatalf("list the snapshots of %s: %v", projection, err)
	}
	return list
}

// wantListed checks which snapshots are listed, in order.
func (b *snapshotBench) wantListed(projection string, ids ...string) {
	b.t.Helper()
	var got []string
	for _, s := range b.list(projection) {
		got = append(got, s.ID)
	}
	if !slices.Equal(got, ids) {
		b.t.Fatalf("the snapshots of %s are %q, want %q", projection, got, ids)
	}
}

// wantNothing checks that a snapshot is neither listed nor readable.
func (b *snapshotBench) wantNothing(projection, id string) {
	b.t.Helper()
	if slices.ContainsFunc(b.list(projection), func(s projections.Snapshot) bool { return s.ID == id }) {
		b.t.Fatalf("%s of %s is listed", id, projection)
	}
	_, err := b.Snapshots.Open(b.ctx, projection, id)
	wantErr(b.t, err, projections.ErrUnknownSnapshot)
}

func testSnapshotSizes(b *snapshotBench) {
	for i, size := range []int64{0, 1, 4_095, 128 << 10, 128<<10 + 1, 300 << 10, 1 << 20} {
		seed, id := uint64(i), fmt.Sprint("s", size) //nolint:gosec // small
		if kept := b.put(describe("flights", id, seed), noise(seed, size)); kept.Bytes != uint64(size) {
			b.t.Errorf("of %d bytes %d were kept", size, kept.Bytes)
		}
		b.wantNoise("flights", id, seed, size)
	}
}

func testSnapshotLarge(b *snapshotBench) {
	const size = 20 << 20
	if kept := b.put(describe("flights", "large", 1), noise(7, size)); kept.Bytes != size {
		b.t.Errorf("of %d bytes %d were kept", size, kept.Bytes)
	}
	b.wantNoise("flights", "large", 7, size)
}

func testSnapshotPieces(b *snapshotBench) {
	text := strings.Repeat("0123456789", 300)
	for id, body := range map[string]io.Reader{
		"bytes":       iotest.OneByteReader(strings.NewReader(text)),
		"with-end":    iotest.DataErrReader(strings.NewReader(text)), // the last bytes come together with io.EOF
		"empty-reads": io.MultiReader(strings.NewReader(text[:10]), &nothing{}, strings.NewReader(text[10:])),
	} {
		b.put(describe("flights", id, 1), body)
		if got := string(b.content("flights", id)); got != text {
			b.t.Errorf("%s: %d bytes came back, want %d", id, len(got), len(text))
		}
	}
}

// nothing returns no bytes and no error a few times, as a Reader may.
type nothing struct{ n int }

func (x *nothing) Read([]byte) (int, error) {
	if x.n++; x.n > 3 {
		return 0, io.EOF
	}
	return 0, nil
}

func testSnapshotDescription(b *snapshotBench) {
	given := describe("flights", "a-1", 77)
	given.Bytes = 99 // is not believed
	want := given
	want.Bytes = 5
	for _, got := range []projections.Snapshot{b.put(given, strings.NewReader("hello")), b.list("flights")[0]} {
		sameSnapshot(b.t, got, want)
	}
	zero := projections.Snapshot{ID: "z", Projection: "zero"}
	b.put(zero, strings.NewReader(""))
	sameSnapshot(b.t, b.list("zero")[0], zero)
}

func sameSnapshot(t testing.TB, got, want projections.Snapshot) {
	t.Helper()
	if !got.Position.Equal(want.Position) || !got.Taken.Equal(want.Taken) {
		t.Fatalf("the snapshot is\n%+v, want\n%+v", got, want)
	}
	got.Position, got.Taken = want.Position, want.Taken
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Fatalf("the snapshot is\n%+v, want\n%+v", got, want)
	}
}

func testSnapshotOrder(b *snapshotBench) {
	for _, seq := range []uint64{9, 1_000, 10, 1 << 63, 2, 100} {
		b.put(describe("flights", fmt.Sprint("at-", seq), seq), strings.NewReader("x"))
	}
	later := describe("flights", "a-later-one", 100)
	later.Taken = later.Taken.Add(time.Nanosecond)
	b.put(later, strings.NewReader("x"))
	b.wantListed("flights", fmt.Sprint("at-", uint64(1<<63)), "at-1000", "a-later-one", "at-100", "at-10", "at-9", "at-2")
}

func testSnapshotProjections(b *snapshotBench) {
	names := []string{"f", "flights", "flights-2", "flights2", "f-lights"}
	for i, name := range names {
		b.put(describe(name, "same", uint64(i)), strings.NewReader(name)) //nolint:gosec // small
		b.put(describe(name, "only-"+name, 99), strings.NewReader("only "+name))
	}
	for _, name := range names {
		b.wantListed(name, "only-"+name, "same")
		if got := string(b.content(name, "same")); got != name {
			b.t.Errorf("the snapshot of %s is that of %s", name, got)
		}
	}
	if err := b.Snapshots.Delete(b.ctx, "flights", "same"); err != nil {
		b.t.Fatal(err)
	}
	b.wantListed("flights", "only-flights")
	for _, name := range []string{"f", "flights-2", "flights2", "f-lights"} {
		b.wantListed(name, "only-"+name, "same")
		b.content(name, "same")
	}
	b.wantListed("none")
}

func testSnapshotTaken(b *snapshotBench) {
	b.put(describe("flights", "a", 5), strings.NewReader("first"))
	for _, body := range []io.Reader{strings.NewReader("second"), strings.NewReader(""), noise(1, 1<<20)} {
		_, err := b.Snapshots.Put(b.ctx, describe("flights", "a", 6), body)
		wantErr(b.t, err, events.ErrConflict)
	}
	want := describe("flights", "a", 5)
	want.Bytes = 5
	b.wantListed("flights", "a")
	sameSnapshot(b.t, b.list("flights")[0], want)
	if got := string(b.content("flights", "a")); got != "first" {
		b.t.Fatalf("the snapshot is %q", got)
	}
}

func testSnapshotRace(b *snapshotBench) {
	const writers = 4
	for round := range 5 {
		id := fmt.Sprint("r", round)
		// All have begun before one comes to its end.
		var begun, all sync.WaitGroup
		begun.Add(writers)
		errs := make([]error, writers)
		for w := range writers {
			all.Go(func() {
				body := io.MultiReader(strings.NewReader(fmt.Sprint("by ", w, ": ")), &calling{func() { begun.Done(); begun.Wait() }}, strings.NewReader("whole"))
				_, errs[w] = b.Snapshots.Put(b.ctx, describe("flights", id, uint64(w)), body) //nolint:gosec // small
			})
		}
		all.Wait()
		winner := slices.Index(errs, nil)
		for w, err := range errs {
			if w != winner && !errors.Is(err, events.ErrConflict) {
				b.t.Fatalf("writer %d: %v; the winner is %d", w, err, winner)
			}
		}
		if got, want := string(b.content("flights", id)), fmt.Sprint("by ", winner, ": whole"); got != want {
			b.t.Fatalf("the snapshot is %q, want %q", got, want)
		}
	}
}

func testSnapshotTwoAtOnce(b *snapshotBench) {
	const size = 2 << 20
	var all sync.WaitGroup
	for seed := range uint64(2) {
		all.Go(func() {
			if _, err := b.Snapshots.Put(b.ctx, describe("flights", fmt.Sprint("s", seed), seed), noise(seed, size)); err != nil {
				b.t.Error(err)
			}
		})
	}
	all.Wait()
	for seed := range uint64(2) {
		b.wantNoise("flights", fmt.Sprint("s", seed), seed, size)
	}
	b.wantListed("flights", "s1", "s0")
}

// testSnapshotListedIsWhole lists while a body is on its way, and again and again while others are.
func testSnapshotListedIsWhole(b *snapshotBench) {
	const size, count = 400 << 10, 10
	look := func() { b.wantNothing("flights", "slow") }
	b.put(describe("flights", "slow", 1), io.MultiReader(&calling{look}, noise(1, size), &calling{look}, noise(2, 1), &calling{look}))
	b.wantListed("flights", "slow")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(count) {
			if _, err := b.Snapshots.Put(b.ctx, describe("others", fmt.Sprint("s", i), i), noise(i, size)); err != nil {
				b.t.Error(err)
			}
		}
	}()
	defer func() { <-done }()
	for seen := 0; seen < count; {
		list := b.list("others")
		if len(list) < seen {
			b.t.Fatalf("%d are listed, and there were %d", len(list), seen)
		}
		for _, s := range list[:len(list)-seen] { // the newest come first
			b.wantNoise("others", s.ID, s.Sequence, size)
		}
		if seen = len(list); b.t.Failed() {
			return
		}
	}
}

func testSnapshotReaders(b *snapshotBench) {
	const size = 1 << 20
	b.put(describe("flights", "a", 1), noise(1, size))
	one, err := b.Snapshots.Open(b.ctx, "flights", "a")
	if err != nil {
		b.t.Fatal(err)
	}
	defer one.Close()
	first := make([]byte, 10)
	if _, err := io.ReadFull(one, first); err != nil {
		b.t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { b.wantNoise("flights", "a", 1, size) })
	}
	all.Wait()
	rest, err := io.ReadAll(one)
	want, _ := io.ReadAll(noise(1, size))
	if err != nil || !bytes.Equal(append(first, rest...), want) {
		b.t.Errorf("the one that waited read %d bytes, %v", len(first)+len(rest), err)
	}
	if n, err := one.Read(first); n != 0 || err != io.EOF {
		b.t.Errorf("behind the end: %d bytes, %v", n, err)
	}
}

func testSnapshotDelete(b *snapshotBench) {
	for round := range uint64(3) {
		b.put(describe("flights", "a", round), noise(round, 300<<10))
		b.put(describe("flights", fmt.Sprint("kept-", round), 9-round), strings.NewReader("kept"))
		b.wantNoise("flights", "a", round, 300<<10)
		for range 2 {
			if err := b.Snapshots.Delete(b.ctx, "flights", "a"); err != nil {
				b.t.Fatal(err)
			}
			b.wantNothing("flights", "a")
		}
	}
	b.wantListed("flights", "kept-0", "kept-1", "kept-2")
}

func testSnapshotUnknown(b *snapshotBench) {
	b.wantListed("flights")
	b.wantNothing("flights", "a")
	if err := b.Snapshots.Delete(b.ctx, "flights", "a"); err != nil {
		b.t.Errorf("delete of what is not there: %v", err)
	}
	b.put(describe("flights", "a-1", 1), strings.NewReader("x"))
	b.wantNothing("flights", "a")
	b.wantNothing("other", "a-1")
}
