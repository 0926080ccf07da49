package projector_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
)

// plan returns the plan of a replay, or its error.
func (w *world) plan(asked projections.ReplayRequest) (projections.ReplayPlan, error) {
	log := w.planLog
	if log == nil {
		log = w.log
	}
	return projector.Plan(context.Background(), projector.Planning{
		Version: projector.Version{Projection: w.projection(w.version), Log: log}, Partitions: w.options.Partitions, Store: w.store, KV: w.kv, Snapshots: w.options.Snapshots,
	}, asked)
}

func (w *world) projection(version int) projections.Projection {
	w.t.Helper()
	p, err := newProjection(w.kind, version)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func TestAReplayFromAnOffsetBeginsWithTheNewestSnapshotBelowIt(t *testing.T) {
	everyKind(t, func(w *world) {
		w.withSnapshots()
		w.start()
		w.hopeless()
		var taken []projections.Snapshot
		for range 3 {
			w.add(50)
			w.settle()
			taken = append(taken, w.snapshot())
		}
		w.add(30)
		w.settle()
		head := w.oracle(1).head()
		for _, c := range []struct {
			from uint64
			want int // which snapshot; -1: none
		}{{head, 2}, {taken[2].Sequence + 1, 2}, {taken[2].Sequence, 1}, {taken[0].Sequence + 1, 0}, {taken[0].Sequence, -1}, {2, -1}, {1, -1}} {
			id := ""
			strategy := projections.StrategyWhole
			if c.want >= 0 {
				id, strategy = taken[c.want].ID, projections.StrategySnapshot
			}
			r := w.done(projections.ReplayRequest{From: c.from, RequireEqual: true})
			if r.Plan.Strategy != strategy || r.Plan.Snapshot != id || !r.Equal || r.Proof == nil || r.Proof.Result != projections.ProofEqual || len(r.Back) != 0 {
				t.Errorf("from %d: %+v with %+v", c.from, r, r.Plan)
			}
			w.settle()
		}
		w.add(5)
		w.settle()
	})
}

// What is live is wrong since before the snapshot: the snapshot is wrong too, and what was built from it cannot be proven. The replay goes back by itself until it is right.
func TestAReplayThatCannotProveWhatItTrustedGoesFurtherBack(t *testing.T) {
	everyKind(t, func(w *world) {
		w.withSnapshots()
		r := w.start()
		w.add(40)
		w.settle()
		good := w.snapshot()
		w.add(10)
		w.settle()
		w.kill(r)
		// A projector with a bug folds for a while.
		w.seenProj = func(p projections.Projection) projections.Projection { return &miscounting{p} }
		r = w.start()
		w.add(10)
		pass(time.Minute)
		bad := w.snapshot()
		w.kill(r)
		w.seenProj = func(p projections.Projection) projections.Projection { return p }
		other := w.witness()
		w.options.Witnesses = func(context.Context, string) []projector.Witness { return []projector.Witness{other()} }
		w.start()
		w.add(10)
		w.mark()
		pass(time.Minute)
		got := w.done(projections.ReplayRequest{From: bad.Sequence + 1})
		if len(got.Back) != 1 || got.Plan.Strategy != projections.StrategySnapshot || got.Plan.Snapshot != good.ID || got.Proof.Result != projections.ProofEqual || got.Proof.With != "eu" {
			t.Fatalf("the replay is %+v with %+v, %+v", got, got.Plan, got.Proof)
		}
		w.settle()
		if got.Difference == nil || got.Difference.Changed == 0 {
			t.Errorf("the difference is %+v", got.Difference)
		}
		w.until("what was given up is dropped", func() bool { return len(w.pointer().Retired) == 0 })
	})
}

// miscounting is a projection with a bug.
type miscounting struct{ projections.Projection }

func (m *miscounting) Fold(s projections.State, r *events.Record, op *projections.Op) error {
	err := m.Projection.Fold(s, r, op)
	values := s.AppendFields(nil)
	if err == nil {
		values[0] += "0"
		err = s.SetFields(values)
	}
	return err
}

// witness returns what another region, which is right, says of its marks.
func (w *world) witness() func() projector.Witness {
	w.t.Helper()
	def := w.projection(1).Definition()
	hasher := projections.NewHasher(def)
	return func() projector.Witness {
		o := w.oracle(1)
		witness := projector.Witness{Region: "eu", Definition: def.Fingerprint()}
		for seq := uint64(1); seq <= o.head(); seq++ {
			r, err := w.log.Record(context.Background(), seq)
			if err != nil {
				w.t.Fatal(err)
			}
			if m, ok := events.MarkOf(&r); ok && m.Number != 0 {
				sum := projections.PartitionMark{Sequence: seq, Number: m.Number}
				for p := range w.options.Partitions {
					h := o.partition(hasher, p, w.options.Partitions, seq)
					sum.Documents, sum.Digest = sum.Documents+h.Documents, sum.Digest.Add(h.Digest)
				}
				witness.Marks = append(witness.Marks, sum)
			}
		}
		return witness
	}
}

// Documents that records are about since an offset are folded again where they are, when that is little. What is wrong elsewhere is not looked at.
func TestAReplayFromAnOffsetFoldsTouchedDocumentsAgainInPlace(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.repairs = true
		w.start()
		for i := range 300 {
			w.append(w.event(added, fmt.Sprintf("acct/k%d", i), fmt.Sprintf(`{"n":%d,"tag":"t1"}`, i)))
		}
		w.settle()
		head := w.oracle(1).head()
		gen := w.live()
		damage := func(key string) {
			w.store.EditDocument(gen, projections.Ref{Partition: projections.PartitionOf(key, gen.Partitions), Key: key}, func(fields map[string]string) { fields["sum"] = "4711" })
		}
		damage("k299")
		damage("k298")
		got := w.done(projections.ReplayRequest{From: head - 3})
		if got.Plan.Strategy != projections.StrategyRefold || got.Plan.Documents != 4 || got.Difference.Changed != 2 || got.Difference.Same != 2 || got.Generation != 1 {
			t.Fatalf("the replay is %+v with %+v, %+v", got, got.Plan, got.Difference)
		}
		w.settle()
		if p := w.pointer(); p.Generation != 1 || p.Highest != 1 {
			t.Errorf("the pointer is %+v", p)
		}
		got = w.done(projections.ReplayRequest{From: head - 3})
		if got.Difference.Changed != 0 || got.Difference.Same != 4 {
			t.Errorf("once more: %+v", got.Difference)
		}
		got = w.done(projections.ReplayRequest{From: head - 3, RequireEqual: true})
		if got.Plan.Strategy != projections.StrategyWhole || got.Generation != 2 {
			t.Errorf("the replay is %+v with %+v", got, got.Plan)
		}
		w.settle()
	})
}

// Another region says that documents are wrong which no record is about since the offset: folding some again in place is not enough, and the replay says so and goes back.
func TestFoldingInPlaceThatIsNotEnoughGoesBack(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.repairs = true
		r := w.start()
		for i := range 300 {
			w.append(w.event(added, fmt.Sprintf("acct/k%d", i), fmt.Sprintf(`{"n":%d,"tag":"t1"}`, i)))
		}
		w.settle()
		w.kill(r)
		w.seenProj = func(p projections.Projection) projections.Projection { return &miscounting{p} }
		r = w.start()
		w.append(w.event(added, "acct/k7", `{"n":1,"tag":"t1"}`))
		pass(time.Minute)
		w.kill(r)
		w.seenProj = func(p projections.Projection) projections.Projection { return p }
		other := w.witness()
		w.options.Witnesses = func(context.Context, string) []projector.Witness { return []projector.Witness{other()} }
		w.start()
		w.append(w.event(added, "acct/k8", `{"n":1,"tag":"t1"}`))
		pass(time.Second)
		id := w.ask(projections.ReplayRequest{From: w.oracle(1).head()})
		pass(10 * time.Second)
		w.mark()
		got := w.ended(id)
		if got.State != projections.ReplayDone || len(got.Back) != 1 || got.Plan.Strategy != projections.StrategyWhole || got.Generation != 2 || got.Proof.Result != projections.ProofEqual {
			t.Fatalf("the replay is %+v with %+v, %+v", got, got.Plan, got.Proof)
		}
		w.settle()
	})
}

func TestWhatIsRequiredToBeEqualIsNotSwitchedOtherwise(t *testing.T) {
	everyKind(t, func(w *world) {
		r := w.start()
		w.add(20)
		w.settle()
		w.store.EditHeader(w.live(), 1, func(h *projections.Header) { h.Digest = projections.Digest{} })
		w.leases.Expire("projector-" + w.kind)
		w.add(1)
		pass(time.Minute)
		got := w.done(projections.ReplayRequest{RequireEqual: true}) // what is live cannot prove it
		if got.Proof.With != "a second fold" || got.Equal || !got.Compared {
			t.Errorf("the replay is %+v, %+v", got, got.Proof)
		}
		w.settle()
		w.mark()
		w.add(1)
		w.settle()
		if got = w.done(projections.ReplayRequest{RequireEqual: true}); got.Proof.With != "live" { // and now it can
			t.Errorf("the replay is %+v, %+v", got, got.Proof)
		}
		w.kill(r)
		// A projection that makes something else each time is never proven.
		w.seenProj = func(p projections.Projection) projections.Projection { return &fickle{Projection: p} }
		w.start()
		pass(time.Minute)
		generation := w.pointer().Generation
		got = w.ended(w.ask(projections.ReplayRequest{RequireEqual: true}))
		if got.State != projections.ReplayFailed || got.Code != string(projections.ErrNotProven) || w.pointer().Generation != generation || got.Proof.Result != projections.ProofDifferent {
			t.Errorf("the replay is %+v, %+v", got, got.Proof)
		}
	})
}

// fickle is a projection that folds something else each time.
type fickle struct {
	projections.Projection
	folded atomic.Int64
}

func (f *fickle) Fold(s projections.State, r *events.Record, op *projections.Op) error {
	err := f.Projection.Fold(s, r, op)
	values := s.AppendFields(nil)
	if err == nil {
		values[0] = fmt.Sprint(f.folded.Add(1))
		err = s.SetFields(values)
	}
	return err
}

// A new version that nobody else has is proven by folding it a second time.
func TestANewVersionIsProvenByASecondFold(t *testing.T) {
	everyKind(t, func(w *world) {
		r := w.start()
		w.hopeless()
		w.settle()
		w.kill(r)
		w.version, w.earlier = 2, true
		w.options.Keep = time.Hour
		w.start()
		w.settle()
		w.done(projections.ReplayRequest{Kind: projections.ReplayRollback})
		got := w.done(projections.ReplayRequest{RequireEqual: true})
		if got.Proof.Result != projections.ProofEqual || got.Proof.With != "a second fold" || got.Compared {
			t.Errorf("the replay is %+v, %+v", got, got.Proof)
		}
		w.settle()
	})
}

func TestACopyIsTheReadModelAtItsPosition(t *testing.T) {
	everyKind(t, func(w *world) {
		w.withSnapshots()
		w.start()
		w.hopeless()
		w.add(20)
		w.settle()
		s := w.snapshot()
		w.add(20)
		w.settle()
		o := w.oracle(1)
		until := time.Now().Add(time.Hour)
		for i, c := range []struct {
			at       uint64
			strategy projections.Strategy
		}{{o.head(), projections.StrategySnapshot}, {s.Sequence + 3, projections.StrategySnapshot}, {s.Sequence, projections.StrategySnapshot}, {s.Sequence - 1, projections.StrategyWhole}, {7, projections.StrategyWhole}} {
			info, err := w.log.Info(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("copy-%d", i)
			r := w.done(projections.ReplayRequest{Kind: projections.ReplayCopy, To: info.Position(c.at).String(), As: name, Until: &until})
			pointer := w.pointer()
			made, ok := pointer.Copy(name)
			if !ok || r.Plan.Strategy != c.strategy || made.Generation != r.Generation || made.Position != r.Position || pointer.Generation != 1 {
				t.Fatalf("the copy is %+v, the replay %+v with %+v", made, r, r.Plan)
			}
			w.add(3)
			w.settle()
			o := w.oracle(1)
			for _, h := range w.headers(made.Of(w.kind)) {
				if seq, ok := o.seqOf(h.Checkpoint); !ok || seq > c.at || h.State != projections.Live || seq < c.at && o.boundary(c.at) {
					t.Fatalf("a copy at %d has partition %d %s at %s", c.at, h.Partition, h.State, h.Checkpoint)
				}
			}
			if err := checkGeneration(t, w.store, made.Of(w.kind), o, nil); err != nil {
				t.Errorf("at %d: %v", c.at, err)
			}
		}
		again := w.ended(w.ask(projections.ReplayRequest{Kind: projections.ReplayCopy, To: s.Position.String(), As: "copy-1"}))
		if again.State != projections.ReplayFailed || again.Code != string(projections.ErrCopyExists) {
			t.Errorf("a second one of a name: %+v", again)
		}
		w.done(projections.ReplayRequest{Kind: projections.ReplayDrop, As: "copy-0"})
		w.until("it is dropped", func() bool { p := w.pointer(); return len(p.Retired) == 0 && len(p.Copies) == 4 })
		pass(2 * time.Hour)
		if p := w.pointer(); len(p.Copies) != 0 || len(p.Retired) != 0 {
			t.Errorf("after their time the pointer is %+v", p)
		}
		w.settle()
	})
}

func TestBadOffsetsAreRefusedWithACode(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.withSnapshots()
		w.start()
		w.add(20)
		w.settle()
		info, err := w.log.Info(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		foreign := strings.Replace(info.Head().String(), "7f3a11d2", "00000000", 1)
		copyAt := func(to, as string) projections.ReplayRequest {
			return projections.ReplayRequest{Kind: projections.ReplayCopy, To: to, As: as}
		}
		for what, c := range map[string]struct {
			asked projections.ReplayRequest
			code  events.Code
		}{
			"beyond the head":            {projections.ReplayRequest{From: info.Last + 1}, projections.ErrInvalidOffset},
			"far beyond":                 {projections.ReplayRequest{From: ^uint64(0)}, projections.ErrInvalidOffset},
			"a copy beyond the head":     {copyAt(info.Position(info.Last+1).String(), "x"), projections.ErrInvalidOffset},
			"a copy at nothing":          {copyAt(info.Position(0).String(), "x"), projections.ErrInvalidOffset},
			"a copy of another history":  {copyAt(foreign, "x"), events.ErrLostPosition},
			"a copy of another log":      {copyAt("eu.7f3a11d2@1:3", "x"), events.ErrLostPosition},
			"a copy of two logs":         {copyAt("eu.7f3a11d2@1:3,"+info.Head().String(), "x"), events.ErrLostPosition},
			"a copy at what is none":     {copyAt("hello", "x"), events.ErrInvalidPosition},
			"a copy without a name":      {copyAt(info.Head().String(), ""), projections.ErrInvalidQuery},
			"a copy with a strange name": {copyAt(info.Head().String(), "A b"), projections.ErrInvalidQuery},
			"going back to nothing":      {projections.ReplayRequest{Kind: projections.ReplayRollback}, projections.ErrNothingKept},
			"dropping nothing":           {projections.ReplayRequest{Kind: projections.ReplayDrop}, projections.ErrNothingKept},
			"dropping what is not there": {projections.ReplayRequest{Kind: projections.ReplayDrop, As: "x"}, projections.ErrUnknownCopy},
		} {
			if _, err := w.plan(c.asked); !errors.Is(err, c.code) {
				t.Errorf("%s: %v, expected %s", what, err, c.code)
			}
			r := w.ended(w.ask(c.asked)) // whoever asks without a plan is told as well
			if r.State != projections.ReplayFailed || r.Code != string(c.code) || r.Generation != 0 {
				t.Errorf("%s: the replay is %+v, expected %s", what, r, c.code)
			}
		}
		if p := w.pointer(); p.Generation != 1 || p.Highest != 1 || len(p.Retired) != 0 {
			t.Errorf("the pointer is %+v", p)
		}
		for text, want := range map[string]string{
			"7": info.Position(7).String(), info.Head().String(): info.Head().String(), time.Now().Add(time.Hour).Format(time.RFC3339): info.Head().String(),
		} {
			if at, err := projector.PositionAt(context.Background(), w.log, text); err != nil || at.String() != want {
				t.Errorf("%s is %s, %v, expected %s", text, at, err, want)
			}
		}
		for text, code := range map[string]events.Code{
			"0": projections.ErrInvalidOffset, "22": projections.ErrInvalidOffset, "1999-01-01T00:00:00Z": projections.ErrInvalidOffset, "yesterday": events.ErrInvalidPosition, foreign: events.ErrLostPosition,
		} {
			if at, err := projector.PositionAt(context.Background(), w.log, text); !errors.Is(err, code) {
				t.Errorf("%s is %s, %v, expected %s", text, at, err, code)
			}
		}
		w.settle()
	})
}
