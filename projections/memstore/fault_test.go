package memstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

func generation() projections.Generation {
	return projections.Generation{Projection: "flights", Number: 1, Partitions: 2}
}

func definition() *projections.Definition {
	return &projections.Definition{Name: "flights", Version: 1, Fields: []projections.Field{{Name: "n", Kind: projections.KindInt}}}
}

func commit(partition int, n uint64) projections.Commit {
	at := func(seq uint64) events.Position {
		return events.At(events.Point{Origin: "us", Lineage: "7f3a", Term: 1, Sequence: seq})
	}
	next := projections.Header{Partition: partition, State: projections.Live, Owner: 1, Checkpoint: at(n)}
	expect := events.Position{}
	if n > 1 {
		expect = at(n - 1)
	}
	return projections.Commit{Partition: partition, Expect: expect, Next: next, Writes: []projections.Write{
		{Document: projections.Document{Key: "a", Values: []string{"1"}}, Create: true},
	}}
}

func created(t *testing.T) *memstore.Store {
	t.Helper()
	s := memstore.New()
	for i := range 2 {
		if err := s.Create(t.Context(), generation(), projections.Header{Partition: i, State: projections.Building, Owner: 1}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func sequence(t *testing.T, s *memstore.Store, partition int) uint64 {
	t.Helper()
	hs, err := s.Headers(t.Context(), generation())
	if err != nil {
		t.Fatal(err)
	}
	p, _ := hs[partition].Checkpoint.Point("us")
	return p.Sequence
}

func TestAFaultBeforeHasNoEffectAndOneAfterHas(t *testing.T) {
	for _, c := range []struct {
		after bool
		want  uint64
	}{{false, 0}, {true, 1}} {
		s := created(t)
		s.Fail(memstore.Fault{Op: memstore.OpCommit, Nth: 2, After: c.after})
		errs := s.Apply(t.Context(), generation(), definition(), []projections.Commit{commit(0, 1), commit(1, 1)})
		if errs[0] != nil || !errors.Is(errs[1], projections.ErrStoreUnreachable) {
			t.Fatalf("after=%v: the errors are %v", c.after, errs)
		}
		if got := [2]uint64{sequence(t, s, 0), sequence(t, s, 1)}; got != [2]uint64{1, c.want} {
			t.Errorf("after=%v: the checkpoints are %v, want 1 and %d", c.after, got, c.want)
		}
	}
}

func TestAFaultHitsTheNthMatchingCallOfItsOperationOnly(t *testing.T) {
	s := created(t)
	mine := errors.New("mine")
	s.Fail(memstore.Fault{Op: memstore.OpGet, Nth: 2, Err: mine, Match: func(c memstore.Call) bool { return c.Key == "a" }})
	get := func(key string) error {
		_, _, err := s.Get(t.Context(), generation(), definition(), projections.Ref{Key: key})
		return err
	}
	for i, c := range []struct {
		key  string
		want error
	}{{"a", nil}, {"b", nil}, {"b", nil}, {"a", mine}, {"a", nil}} {
		if err := get(c.key); !errors.Is(err, c.want) {
			t.Errorf("call %d returned %v, want %v", i, err, c.want)
		}
	}
	if n := s.Calls(memstore.OpGet); n != 5 {
		t.Errorf("%d calls were counted, want 5", n)
	}
	s.Fail(memstore.Fault{Op: memstore.OpGet})
	if err := get("a"); !errors.Is(err, projections.ErrStoreUnreachable) {
		t.Errorf("a fault for every call returned %v", err)
	}
	s.Disarm()
	if err := get("a"); err != nil {
		t.Errorf("after disarming: %v", err)
	}
}

func TestEveryOperationCanFail(t *testing.T) {
	s, kv, leases := created(t), memstore.NewKV(), memstore.NewLeases()
	ctx, g, def := t.Context(), generation(), definition()
	if _, err := kv.Put(ctx, "there", nil, 0); err != nil {
		t.Fatal(err)
	}
	held, err := leases.Acquire(ctx, "held", "me")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		op     memstore.Op
		faults *memstore.Faults
		call   func() error
	}{
		{memstore.OpHeaders, &s.Faults, func() error { _, err := s.Headers(ctx, g); return err }},
		{memstore.OpClaim, &s.Faults, func() error { _, err := s.Claim(ctx, g, 1); return err }},
		{memstore.OpCreate, &s.Faults, func() error {
			return s.Create(ctx, projections.Generation{Projection: "x", Number: 9}, projections.Header{})
		}},
		{memstore.OpLoad, &s.Faults, func() error { _, err := s.Load(ctx, g, def, nil); return err }},
		{memstore.OpApply, &s.Faults, func() error { return s.Apply(ctx, g, def, []projections.Commit{commit(0, 1)})[0] }},
		{memstore.OpSetState, &s.Faults, func() error { return s.SetState(ctx, g, 1, projections.Live) }},
		{memstore.OpGet, &s.Faults, func() error { _, _, err := s.Get(ctx, g, def, projections.Ref{}); return err }},
		{memstore.OpPage, &s.Faults, func() error { _, _, err := s.Page(ctx, g, def, 0, "", 1); return err }},
		{memstore.OpDrop, &s.Faults, func() error { return s.Drop(ctx, g) }},
		{memstore.OpKVGet, &kv.Faults, func() error { _, err := kv.Get(ctx, "there"); return err }},
		{memstore.OpKVPut, &kv.Faults, func() error { _, err := kv.Put(ctx, "new", nil, 0); return err }},
		{memstore.OpKVDelete, &kv.Faults, func() error { return kv.Delete(ctx, "none", 0) }},
		{memstore.OpKVKeys, &kv.Faults, func() error { _, err := kv.Keys(ctx, ""); return err }},
		{memstore.OpKVWatch, &kv.Faults, func() error {
			for _, err := range kv.Watch(ctx, "there") {
				return err
			}
			return nil
		}},
		{memstore.OpAcquire, &leases.Faults, func() error { _, err := leases.Acquire(ctx, "free", "me"); return err }},
		{memstore.OpRelease, &leases.Faults, func() error { return held.Release(ctx) }},
	} {
		want := events.ErrUnreachable
		if c.faults == &s.Faults {
			want = projections.ErrStoreUnreachable
		}
		c.faults.Fail(memstore.Fault{Op: c.op, Nth: 1})
		if err := c.call(); !errors.Is(err, want) {
			t.Errorf("%s returned %v, want %s", c.op, err, want)
		}
		if err := c.call(); err != nil {
			t.Errorf("%s after the fault: %v", c.op, err)
		}
	}
}

func TestAnObserverCanHoldACallBack(t *testing.T) {
	s := created(t)
	entered, proceed := make(chan struct{}), make(chan struct{})
	s.Observe(func(c memstore.Call) {
		if c.Op == memstore.OpCommit && c.Partition == 0 {
			close(entered)
			<-proceed
		}
	})
	done := make(chan error, 1)
	go func() {
		done <- s.Apply(context.Background(), generation(), definition(), []projections.Commit{commit(0, 1)})[0]
	}()
	<-entered
	if _, err := s.Claim(t.Context(), generation(), 2); err != nil {
		t.Fatal(err)
	}
	close(proceed)
	if err := <-done; !errors.Is(err, projections.ErrFenced) {
		t.Errorf("the writer that woke up after its successor took over got %v", err)
	}
}

func TestSnapshotsGoBackInTime(t *testing.T) {
	s := created(t)
	if err := s.Apply(t.Context(), generation(), definition(), []projections.Commit{commit(0, 1)})[0]; err != nil {
		t.Fatal(err)
	}
	then := s.Snapshot()
	for range 2 {
		if err := s.Apply(t.Context(), generation(), definition(), []projections.Commit{commit(0, 2)})[0]; err != nil {
			t.Fatal(err)
		}
		s.Restore(then)
		if seq := sequence(t, s, 0); seq != 1 {
			t.Fatalf("the restored checkpoint is %d, want 1", seq)
		}
	}
	s.Flush()
	if hs, err := s.Headers(t.Context(), generation()); err != nil || hs[0].State != projections.Absent {
		t.Fatalf("after the flush the header is %+v, %v", hs[0], err)
	}
}

func TestALeaseCanBeExpiredAtOnce(t *testing.T) {
	l := memstore.NewLeases()
	held, err := l.Acquire(t.Context(), "n", "me")
	if err != nil || l.Holder("n") != "me" {
		t.Fatalf("%v, held by %q", err, l.Holder("n"))
	}
	l.Expire("n")
	if cause := context.Cause(held.Context()); !errors.Is(cause, projections.ErrLeaseLost) || l.Holder("n") != "" {
		t.Fatalf("the cause is %v, the holder %q", cause, l.Holder("n"))
	}
}

func TestFaultsOfSnapshots(t *testing.T) {
	s := memstore.NewSnapshots()
	snapshot := projections.Snapshot{Projection: "flights", ID: "a"}
	put := func() error {
		_, err := s.Put(t.Context(), snapshot, strings.NewReader("x"))
		return err
	}
	s.Fail(memstore.Fault{Op: memstore.OpSnapshotPut, Nth: 1})
	s.Fail(memstore.Fault{Op: memstore.OpSnapshotPut, Nth: 2, After: true})
	for _, want := range []struct {
		code   events.Code
		listed int
	}{{events.ErrUnreachable, 0}, {events.ErrUnreachable, 1}, {events.ErrConflict, 1}} {
		err := put()
		list, listErr := s.List(t.Context(), "flights")
		if !errors.Is(err, want.code) || listErr != nil || len(list) != want.listed {
			t.Fatalf("put: %v, %d are listed, %v; want %s and %d", err, len(list), listErr, want.code, want.listed)
		}
	}
	mine := errors.New("mine")
	for _, op := range []memstore.Op{memstore.OpSnapshotList, memstore.OpSnapshotOpen, memstore.OpSnapshotDelete} {
		s.Fail(memstore.Fault{Op: op, Err: mine, Match: func(c memstore.Call) bool { return c.Generation.Projection == "flights" }})
	}
	_, list := s.List(t.Context(), "flights")
	_, open := s.Open(t.Context(), "flights", "a")
	for name, err := range map[string]error{"list": list, "open": open, "delete": s.Delete(t.Context(), "flights", "a")} {
		if !errors.Is(err, mine) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Disarm()
	if _, err := s.Open(t.Context(), "flights", "a"); err != nil || s.Calls(memstore.OpSnapshotPut) != 3 {
		t.Errorf("%v after %d calls", err, s.Calls(memstore.OpSnapshotPut))
	}
}
