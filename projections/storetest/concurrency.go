package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"tidemark.dev/projections"
)

func concurrencyTests() []subtest {
	return []subtest{
		{"get never mixes a header and a document of different commits", testGetIsAtomic},
		{"a page's documents are at least as new as its header", testPageIsAtomic},
		{"of many writers at one checkpoint one wins", testOneWriterWins},
		{"a claim in the middle of commits fences the earlier owner for good", testClaimFencesWriter},
	}
}

// hammer applies commits 2, 3, … on partition 0, each of which writes its own number into both documents, while read runs on several goroutines.
func hammer(b *bench, read func() error) {
	const commits, readers = 300, 4
	var wg, reading sync.WaitGroup
	reading.Add(readers)
	stop := make(chan struct{})
	failed := make(chan error, readers)
	for range readers {
		wg.Go(func() {
			started := sync.OnceFunc(reading.Done)
			defer started()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := read(); err != nil {
					failed <- err
					return
				}
				started()
			}
		})
	}
	reading.Wait()
	for seq := uint64(2); seq < commits; seq++ {
		ws := []projections.Write{
			{Document: document("a", int(seq), seq), Create: seq == 2}, //nolint:gosec // small
			{Document: document("b", int(seq), seq), Create: seq == 2}, //nolint:gosec // small
		}
		for i := range ws {
			if b.decorate != nil {
				b.decorate(&ws[i])
			}
		}
		var marks, unmark []projections.PartitionMark
		if b.marked != nil {
			marks, unmark = b.marked(seq)
		}
		if err := b.pass(0, seq-1, seq, marks, unmark, ws...); err != nil {
			b.t.Errorf("commit %d: %v", seq, err)
			break
		}
		runtime.Gosched() // a store that does not wait for a network would be done before anybody reads
	}
	close(stop)
	wg.Wait()
	close(failed)
	for err := range failed {
		b.t.Error(err)
	}
}

func testGetIsAtomic(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	hammer(b, func() error {
		key := []string{"a", "b"}[rand.IntN(2)] //nolint:gosec // any choice will do
		h, d, err := b.Store.Get(b.ctx, b.g, b.def, projections.Ref{Key: key})
		switch {
		case err != nil:
			return err
		case d == nil && !h.Checkpoint.Equal(position(1)):
			return fmt.Errorf("no document at %s", h.Checkpoint)
		case d != nil && (d.At != h.Checkpoint.String() || d.Values == nil):
			return fmt.Errorf("a document of %s came with a header of %s", d.At, h.Checkpoint)
		}
		return nil
	})
}

func testPageIsAtomic(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	hammer(b, func() error {
		h, docs, err := b.Store.Page(b.ctx, b.g, b.def, 0, "", 10)
		if err != nil {
			return err
		}
		p, _ := h.Checkpoint.Point("us")
		if len(docs) != 2 && p.Sequence != 1 {
			return fmt.Errorf("%d documents at %s", len(docs), h.Checkpoint)
		}
		for _, d := range docs {
			var n uint64
			if d.Values == nil {
				return fmt.Errorf("the document %q of a page has no values", d.Key)
			}
			if _, err := fmt.Sscan(d.Values[1], &n); err != nil || n < p.Sequence {
				return fmt.Errorf("a document of %d came with a header of %s", n, h.Checkpoint)
			}
		}
		return nil
	})
}

func testOneWriterWins(t *testing.T, open func(t *testing.T) Subject) {
	const rounds, writers = 20, 4
	b := newBench(t, open, 1)
	b.create(1)
	for round := range uint64(rounds) {
		errs := make([]error, writers)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = b.apply(0, round+1, round+2, writes(document("a", i, round+2))...) })
		}
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: the writers %d and %d both won", round, winner, i)
			case err == nil:
				winner = i
			case !errors.Is(err, projections.ErrMoved):
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody won: %v", round, errs)
		}
		b.wantStored(0, document("a", winner, round+2))
	}
}

func testClaimFencesWriter(t *testing.T, open func(t *testing.T) Subject) {
	b := newBench(t, open, 1)
	b.create(1)
	reached := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		for seq := uint64(2); ; seq++ {
			if seq == 20 {
				close(reached)
			}
			if err := b.apply(0, seq-1, seq, writes(document("a", int(seq), seq))...); err != nil { //nolint:gosec // small
				done <- err
				return
			}
		}
	}()
	<-reached
	hs, err := b.Store.Claim(b.ctx, b.g, owner+1)
	b.must(err)
	b.wantCode(<-done, projections.ErrFenced)
	sameHeader(t, b.header(0), hs[0])
	if at := hs[0].Checkpoint.String(); b.load(0, "a")[0].At != at {
		t.Fatalf("the document is of %s, the claimed header of %s", b.load(0, "a")[0].At, at)
	}
}
