package storetest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing/iotest"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

func testSnapshotBodyFails(b *snapshotBench) {
	b.put(describe("flights", "kept", 1), strings.NewReader("kept"))
	mine := errors.New("mine")
	for _, size := range []int64{0, 1, 128 << 10, 300 << 10, 3 << 20} {
		// A body that unpacks half an archive fails with io.ErrUnexpectedEOF, which is not its end.
		for _, want := range []error{mine, io.ErrUnexpectedEOF} {
			for _, body := range []io.Reader{iotest.ErrReader(want), iotest.DataErrReader(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(want)))} {
				_, err := b.Snapshots.Put(b.ctx, describe("flights", "a", 5), io.MultiReader(noise(1, size), body))
				if !errors.Is(err, want) {
					b.t.Fatalf("after %d bytes of a body that failed: %v, want %v", size, err, want)
				}
				b.wantNothing("flights", "a")
			}
		}
	}
	b.wantListed("flights", "kept")
	b.put(describe("flights", "a", 5), noise(2, 300<<10))
	b.wantNoise("flights", "a", 2, 300<<10)
}

func testSnapshotContextEndsMidway(b *snapshotBench) {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	body := io.MultiReader(noise(1, 1<<20), &calling{cancel}, noise(1, 1<<20))
	_, err := b.Snapshots.Put(ctx, describe("flights", "a", 5), body)
	wantErr(b.t, err, events.ErrUnreachable)
	b.wantNothing("flights", "a")
	b.put(describe("flights", "a", 5), strings.NewReader("x"))
}

// calling is an empty body that calls something.
type calling struct{ call func() }

func (c *calling) Read([]byte) (int, error) {
	c.call()
	return 0, io.EOF
}

func testSnapshotAltered(b *snapshotBench) {
	const size = 300 << 10
	for id, edit := range map[string]func([]byte) []byte{
		"first-bit":  func(c []byte) []byte { c[0] ^= 1; return c },
		"middle-bit": func(c []byte) []byte { c[len(c)/2] ^= 0x80; return c },
		"last-bit":   func(c []byte) []byte { c[len(c)-1] ^= 1; return c },
		"last-byte":  func(c []byte) []byte { return c[:len(c)-1] },
		"half":       func(c []byte) []byte { return c[:len(c)/2] },
		"all":        func([]byte) []byte { return nil },
		"more":       func(c []byte) []byte { return append(c, 'x') },
		"twice":      func(c []byte) []byte { return append(c, c...) },
	} {
		b.put(describe("flights", id, 1), noise(1, size))
		b.Tamper(b.t, "flights", id, edit)
		r, err := b.Snapshots.Open(b.ctx, "flights", id)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			if _, again := r.Read(make([]byte, 1)); !errors.Is(again, projections.ErrSnapshotDamaged) {
				b.t.Errorf("%s: read again: %v", id, again)
			}
			_ = r.Close()
		}
		if !errors.Is(err, projections.ErrSnapshotDamaged) {
			b.t.Errorf("%s: %v, want %s", id, err, projections.ErrSnapshotDamaged)
		}
		if err := b.Snapshots.Delete(b.ctx, "flights", id); err != nil {
			b.t.Errorf("%s cannot be deleted: %v", id, err)
		}
		b.wantNothing("flights", id)
	}
	b.put(describe("flights", "untouched", 1), noise(1, size))
	b.wantNoise("flights", "untouched", 1, size)
}

func testSnapshotReadingEnds(b *snapshotBench) {
	const size = 2 << 20
	b.put(describe("flights", "a", 1), noise(1, size))
	for range 3 {
		r, err := b.Snapshots.Open(b.ctx, "flights", "a")
		if err != nil {
			b.t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
			b.t.Fatal(err)
		}
		for range 2 {
			if err := r.Close(); err != nil {
				b.t.Fatalf("close: %v", err)
			}
		}
		if n, err := r.Read(make([]byte, 100)); n != 0 || err == nil || err == io.EOF {
			b.t.Fatalf("after its close %d bytes were read, %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	r, err := b.Snapshots.Open(ctx, "flights", "a")
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
		b.t.Fatal(err)
	}
	cancel()
	n, err := io.Copy(io.Discard, r)
	if !errors.Is(err, events.ErrUnreachable) || n >= size-100 {
		b.t.Fatalf("after the end of its context %d bytes were read, %v", n, err)
	}
}

func testSnapshotEndedContext(b *snapshotBench) {
	b.put(describe("flights", "a", 1), strings.NewReader("x"))
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	_, put := b.Snapshots.Put(ctx, describe("flights", "b", 1), strings.NewReader("x"))
	_, list := b.Snapshots.List(ctx, "flights")
	_, open := b.Snapshots.Open(ctx, "flights", "a")
	for name, err := range map[string]error{"put": put, "list": list, "open": open, "delete": b.Snapshots.Delete(ctx, "flights", "a")} {
		if !errors.Is(err, events.ErrUnreachable) || !errors.Is(err, context.Canceled) {
			b.t.Errorf("%s returned %v, want %s because of %v", name, err, events.ErrUnreachable, context.Canceled)
		}
	}
	b.wantListed("flights", "a")
}

func testSnapshotNames(b *snapshotBench) {
	check := func(projection, id string, code events.Code) {
		b.t.Helper()
		_, put := b.Snapshots.Put(b.ctx, describe(projection, id, 1), strings.NewReader("x"))
		_, open := b.Snapshots.Open(b.ctx, projection, id)
		for name, err := range map[string]error{"put": put, "open": open, "delete": b.Snapshots.Delete(b.ctx, projection, id)} {
			if !errors.Is(err, code) {
				b.t.Errorf("%s of %q and %q returned %v, want %s", name, projection, id, err, code)
			}
		}
	}
	for _, name := range []string{"", "Flights", "2flights", "-", "a/b", "a.b", "a b", "*", ">", "a\r\n", "é", strings.Repeat("a", 200)} {
		check(name, "a", projections.ErrInvalidProjection)
		_, err := b.Snapshots.List(b.ctx, name)
		if !errors.Is(err, projections.ErrInvalidProjection) {
			b.t.Errorf("list of %q returned %v", name, err)
		}
	}
	for _, id := range []string{"", "A", "a/b", "a.b", "a b", "*", ">", "..", "a\x00", "é", strings.Repeat("a", 65)} {
		check("flights", id, projections.ErrInvalidKey)
	}
	longest := strings.Repeat("a", 64)
	b.put(describe("flights", longest, 1), strings.NewReader("x"))
	b.put(describe("flights", "-0-", 2), strings.NewReader("x"))
	b.wantListed("flights", "-0-", longest)
}
