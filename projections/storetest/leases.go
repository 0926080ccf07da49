package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// LeaseSubject is two processes' view of the same leases.
type LeaseSubject struct {
	A, B projections.Leases
	// Kill makes A's holder of the name stop renewing without releasing, for ever.
	Kill func(t testing.TB, name string)
	// TTL is how long a lease lasts without renewal; 0: it needs none.
	TTL time.Duration
}

// RunLeases checks that Leases keep the promises of their port. open is called once for each subtest.
func RunLeases(t *testing.T, open func(t *testing.T) LeaseSubject) {
	t.Helper()
	for _, x := range []struct {
		name string
		run  func(t *testing.T, s LeaseSubject)
	}{
		{"a lease lasts until it is released", testLeaseLasts},
		{"a release lets the waiter in at once", testLeaseRelease},
		{"tokens grow for ever", testLeaseTokens},
		{"names are independent", testLeaseNames},
		{"waiting ends with its context and leaves nothing behind", testLeaseWaitEnds},
		{"a holder that stops renewing is told before it is replaced", testLeaseLost},
		{"a release after the loss leaves the successor alone", testLeaseLateRelease},
		{"of many who want it one has it", testLeaseExclusive},
	} {
		t.Run(x.name, func(t *testing.T) { x.run(t, open(t)) })
	}
}

func acquire(t testing.TB, l projections.Leases, name, holder string) projections.Lease {
	t.Helper()
	got, err := l.Acquire(bounded(t), name, holder)
	if err != nil {
		t.Fatalf("%s acquires %s: %v", holder, name, err)
	}
	if err := got.Context().Err(); err != nil {
		t.Fatalf("%s acquired %s and its context has ended: %v", holder, name, context.Cause(got.Context()))
	}
	return got
}

func release(t testing.TB, l projections.Lease) {
	t.Helper()
	if err := l.Release(bounded(t)); err != nil {
		t.Fatalf("release: %v", err)
	}
}

// ended waits for the end of the lease's context.
func ended(t testing.TB, l projections.Lease) {
	t.Helper()
	select {
	case <-l.Context().Done():
	case <-bounded(t).Done():
		t.Fatal("the lease's context did not end")
	}
}

// wantNone checks that l cannot be acquired for some time.
func wantNone(t testing.TB, l projections.Leases, name string, wait time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bounded(t), wait)
	defer cancel()
	if got, err := l.Acquire(ctx, name, "thief"); err == nil {
		t.Fatalf("%s was acquired twice, with the token %d", name, got.Token())
	} else if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("waiting for %s ended with %v, want %v", name, err, context.DeadlineExceeded)
	}
}

const moment = 100 * time.Millisecond

func testLeaseLasts(t *testing.T, s LeaseSubject) {
	held := acquire(t, s.A, "projector.flights", "a")
	wantNone(t, s.B, "projector.flights", max(moment, 2*s.TTL))
	wantNone(t, s.A, "projector.flights", moment)
	if err := held.Context().Err(); err != nil {
		t.Fatalf("the lease was lost while it was renewed: %v", context.Cause(held.Context()))
	}
	release(t, held)
	release(t, held)
	ended(t, held)
	if cause := context.Cause(held.Context()); errors.Is(cause, projections.ErrLeaseLost) {
		t.Fatalf("a released lease ended with %v", cause)
	}
}

func testLeaseRelease(t *testing.T, s LeaseSubject) {
	held := acquire(t, s.A, "n", "a")
	got := make(chan projections.Lease, 1)
	go func() {
		l, err := s.B.Acquire(bounded(t), "n", "b")
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	select {
	case <-got:
		t.Fatal("the name was acquired twice")
	case <-time.After(moment):
	}
	start := time.Now()
	release(t, held)
	next := <-got
	if took := time.Since(start); s.TTL > 0 && took > s.TTL/2 {
		t.Errorf("the waiter got the name %s after its release; that was the time to live, not the release", took)
	}
	if next == nil || next.Token() <= held.Token() {
		t.Fatalf("the successor of the token %d is %+v", held.Token(), next)
	}
	release(t, next)
}

func testLeaseTokens(t *testing.T, s LeaseSubject) {
	var last uint64
	for i := range 10 {
		from := s.A
		if i%2 == 1 {
			from = s.B
		}
		l := acquire(t, from, "n", fmt.Sprint("h", i))
		if l.Token() <= last {
			t.Fatalf("the token %d follows %d", l.Token(), last)
		}
		last = l.Token()
		release(t, l)
	}
}

func testLeaseNames(t *testing.T, s LeaseSubject) {
	one, two := acquire(t, s.A, "n.1", "a"), acquire(t, s.B, "n.2", "b")
	release(t, one)
	if err := two.Context().Err(); err != nil {
		t.Fatalf("the release of another name ended the lease: %v", err)
	}
	release(t, acquire(t, s.B, "n.1", "b"))
	release(t, two)
}

func testLeaseWaitEnds(t *testing.T, s LeaseSubject) {
	cause := errors.New("shutting down")
	held := acquire(t, s.A, "n", "a")
	ctx, cancel := context.WithCancelCause(bounded(t))
	failed := make(chan error, 1)
	go func() {
		_, err := s.B.Acquire(ctx, "n", "b")
		failed <- err
	}()
	cancel(cause)
	if err := <-failed; !errors.Is(err, cause) {
		t.Fatalf("waiting ended with %v, want %v", err, cause)
	}
	if _, err := s.B.Acquire(ctx, "free", "b"); err == nil {
		t.Fatal("a lease was acquired after the context had ended")
	}
	release(t, held)
	release(t, acquire(t, s.A, "n", "a"))
	release(t, acquire(t, s.A, "free", "a"))
}

func testLeaseLost(t *testing.T, s LeaseSubject) {
	held := acquire(t, s.A, "n", "a")
	got := make(chan projections.Lease, 1)
	go func() {
		l, err := s.B.Acquire(bounded(t), "n", "b")
		if err != nil {
			t.Error(err)
			close(got)
			return
		}
		if held.Context().Err() == nil {
			t.Error("the name was given away before its holder was told")
		}
		got <- l
	}()
	s.Kill(t, "n")
	next := <-got
	if next == nil || next.Token() <= held.Token() {
		t.Fatalf("the successor of the token %d is %+v", held.Token(), next)
	}
	ended(t, held)
	if cause := context.Cause(held.Context()); !errors.Is(cause, projections.ErrLeaseLost) {
		t.Fatalf("the lost lease ended with %v, want %s", cause, projections.ErrLeaseLost)
	}
	release(t, next)
}

func testLeaseLateRelease(t *testing.T, s LeaseSubject) {
	held := acquire(t, s.A, "n", "a")
	s.Kill(t, "n")
	next := acquire(t, s.B, "n", "b")
	if err := held.Release(bounded(t)); err != nil && !errors.Is(err, events.ErrUnreachable) {
		t.Fatalf("the release of a lost lease: %v", err)
	}
	if cause := context.Cause(held.Context()); !errors.Is(cause, projections.ErrLeaseLost) {
		t.Errorf("the release turned the loss into %v", cause)
	}
	wantNone(t, s.B, "n", moment)
	if err := next.Context().Err(); err != nil {
		t.Fatalf("the late release of the earlier holder ended the lease: %v", context.Cause(next.Context()))
	}
	release(t, next)
}

func testLeaseExclusive(t *testing.T, s LeaseSubject) {
	const holders, turns = 6, 5
	var inside atomic.Int32
	var last atomic.Uint64
	var wg sync.WaitGroup
	for i := range holders {
		from := s.A
		if i%2 == 1 {
			from = s.B
		}
		wg.Go(func() {
			for range turns {
				l, err := from.Acquire(bounded(t), "n", fmt.Sprint("h", i))
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d have the lease", n)
				}
				if before := last.Swap(l.Token()); before >= l.Token() {
					t.Errorf("the token %d follows %d", l.Token(), before)
				}
				inside.Add(-1)
				if err := l.Release(bounded(t)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
