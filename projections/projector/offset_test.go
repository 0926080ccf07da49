package projector_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
)

// withSnapshots lets the projectors of a world take snapshots, when they are asked for.
func (w *world) withSnapshots() *memstore.Snapshots {
	s := memstore.NewSnapshots()
	w.options.Snapshots, w.options.Region = s, "us"
	return s
}

// snapshot asks for a snapshot, lets a mark come, and returns it.
func (w *world) snapshot() projections.Snapshot {
	w.t.Helper()
	job := w.tried()
	if job.State != projections.SnapshotDone {
		w.t.Fatalf("the snapshot is %+v", job)
	}
	return *job.Snapshot
}

func (w *world) tried() projections.SnapshotJob {
	w.t.Helper()
	asked, err := projections.RequestSnapshot(context.Background(), w.kv, w.kind, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	pass(time.Second)
	w.mark()
	var job projections.SnapshotJob
	w.until("something came of the snapshot", func() bool {
		w.read(projections.SnapshotKey(w.kind), &job)
		return job.ID == asked.ID && !job.Running()
	})
	return job
}

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

func TestASnapshotIsTheReadModelAtAMark(t *testing.T) {
	everyKind(t, func(w *world) {
		kept := w.withSnapshots()
		w.start()
		w.hopeless()
		w.add(20)
		w.settle()
		s := w.snapshot()
		o := w.oracle(1)
		if at, ok := o.seqOf(s.Position); !ok || at != s.Sequence || s.Sequence != o.head() || s.Mark == 0 || s.Documents == 0 || s.Region != "us" || s.Bytes == 0 {
			t.Errorf("the snapshot is %+v, and the log at %d", s, o.head())
		}
		digest, documents, _ := projections.Sum(w.headers(w.live()))
		if s.Digest != digest.String() || s.Documents != documents {
			t.Errorf("the snapshot has %s, %d, the read model %s, %d", s.Digest, s.Documents, digest, documents)
		}
		w.add(10)
		w.settle()
		for range 5 { // those that are too many go
			w.snapshot()
			w.add(1)
		}
		if list, err := kept.List(context.Background(), w.kind); err != nil || len(list) != 3 || list[0].Sequence < s.Sequence {
			t.Errorf("kept are %+v, %v", list, err)
		}
	})
}

// Everything is touched while the snapshot is taken: changed, removed, added, parked, and it is what it was at the mark all the same.
func TestASnapshotIsTakenUnderWrites(t *testing.T) {
	everyKind(t, func(w *world) {
		kept := w.withSnapshots()
		w.options.Batch = 3
		w.start()
		for i := range 60 {
			w.append(w.event(added, fmt.Sprintf("acct/k%d", i), fmt.Sprintf(`{"n":%d,"tag":"t%d"}`, i, i)))
		}
		w.settle()
		touched := 0
		var marked uint64
		w.store.Observe(func(c memstore.Call) {
			if c.Op != memstore.OpPage || marked == 0 {
				return
			}
			for i := range 12 { // before each page is read, and it is committed before the page is
				key := fmt.Sprintf("acct/k%d", (touched*5+i)%70)
				typ := []string{added, closed, cleared}[(touched+i)%3]
				w.append(w.event(typ, key, fmt.Sprintf(`{"n":%d,"tag":"t%d"}`, touched, (touched+i)%70)))
			}
			touched++
			pass(50 * time.Millisecond)
		})
		_, err := projections.RequestSnapshot(context.Background(), w.kv, w.kind, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		w.mark()
		marked = w.oracle(1).head()
		var job projections.SnapshotJob
		w.until("it is taken", func() bool { w.read(projections.SnapshotKey(w.kind), &job); return !job.Running() })
		w.store.Observe(nil)
		if job.State != projections.SnapshotDone || job.Snapshot.Sequence != marked || touched < 3 {
			t.Fatalf("the snapshot is %+v, %+v, asked for at %d, touched %d times", job, job.Snapshot, marked, touched)
		}
		w.settle()
		if list, _ := kept.List(context.Background(), w.kind); len(list) != 1 {
			t.Errorf("kept are %+v", list)
		}
		r := w.done(projections.ReplayRequest{From: marked + 1, RequireEqual: true})
		if r.Plan.Strategy != projections.StrategySnapshot || !r.Equal || len(r.Back) != 0 {
			t.Errorf("the replay from it is %+v, %+v", r, r.Plan)
		}
		w.settle()
	})
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
		w.start()
		w.add(20)
		w.settle()
		gen := w.live()
		w.store.EditHeader(gen, 1, func(h *projections.Header) { h.Digest = projections.Digest{} })
		w.leases.Expire("projector-" + w.kind)
		w.add(1)
		pass(time.Minute)
		r := w.ended(w.ask(projections.ReplayRequest{RequireEqual: true}))
		if r.State != projections.ReplayFailed || r.Code != string(projections.ErrNotProven) || w.pointer().Generation != 1 || r.Proof.Result != projections.ProofDifferent {
			t.Fatalf("the replay is %+v, %+v", r, r.Proof)
		}
		other := w.witness()
		w.mark()
		w.options.Witnesses = func(context.Context, string) []projector.Witness { return []projector.Witness{other()} }
		w.leases.Expire("projector-" + w.kind)
		w.kill(w.running[0])
		w.start()
		pass(time.Minute)
		r = w.done(projections.ReplayRequest{RequireEqual: true}) // another region vouches for it
		if r.Proof.With != "eu" || r.Equal {
			t.Errorf("the replay is %+v, %+v", r, r.Proof)
		}
		w.settle()
	})
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

func TestAnEmptyRegionBeginsWithTheNewestSnapshotThatIsWhole(t *testing.T) {
	everyKind(t, func(w *world) {
		kept := w.withSnapshots()
		r := w.start()
		w.hopeless()
		var taken []projections.Snapshot
		for range 3 {
			w.add(40)
			w.settle()
			taken = append(taken, w.snapshot())
		}
		w.add(10)
		w.settle()
		w.kill(r)
		kept.Tamper(w.kind, taken[2].ID, func(b []byte) []byte { b[len(b)/2] ^= 4; return b })
		reads := 0
		w.seenLog = &countingReader{Log: w.log, read: &reads}
		w.store.Flush()
		r = w.start()
		w.settle()
		if n := w.logs.count("a snapshot cannot be used"); n != 1 {
			t.Errorf("%d snapshots were refused", n)
		}
		if n := w.logs.count("a snapshot was loaded"); n != 1 {
			t.Errorf("%d snapshots were loaded", n)
		}
		if most := int(w.oracle(1).head() - taken[1].Sequence + 1); reads > most {
			t.Errorf("%d records were read, and %d are behind the second snapshot", reads, most)
		}
		w.kill(r)
		// Those of a history that is not this one, or of another version, are of no use.
		for _, s := range taken {
			kept.Tamper(w.kind, s.ID, func(b []byte) []byte { return b[:len(b)-5] })
		}
		w.store.Flush()
		r = w.start()
		w.settle()
		w.kill(r)
		w.log.Recreate()
		w.store.Flush()
		w.oracles = map[int]*oracle{}
		w.add(5)
		w.start()
		w.settle()
	})
}

// countingReader counts the records that are read.
type countingReader struct {
	*memlog.Log
	read *int
}

func (c *countingReader) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		for list, err := range c.Log.Read(ctx, r) {
			*c.read += len(list)
			if !yield(list, err) {
				return
			}
		}
	}
}

// A crash at any call while a snapshot is loaded: whoever is next begins anew, and it is right.
func TestLoadingASnapshotSurvivesACrashAtAnyCall(t *testing.T) {
	for _, kind := range kinds {
		for nth := 1; nth < 24; nth++ {
			region(t, kind, func(w *world) {
				kept := w.withSnapshots()
				r := w.start()
				w.hopeless()
				w.add(40)
				w.settle()
				first := w.snapshot()
				w.add(10)
				w.settle()
				second := w.snapshot()
				w.add(10)
				w.settle()
				w.kill(r)
				w.store.Flush()
				left := nth
				r = w.start()
				w.store.Observe(func(c memstore.Call) {
					if c.Op == memstore.OpCommit || c.Op == memstore.OpCreate {
						if left--; left == 0 {
							r.cancel()
						}
					}
				})
				pass(10 * time.Second)
				w.store.Observe(nil)
				w.kill(r)
				if nth%2 == 0 { // another one is the newest then
					if err := kept.Delete(context.Background(), kind, second.ID); err != nil {
						t.Fatal(err)
					}
				}
				if nth%3 == 0 {
					if err := kept.Delete(context.Background(), kind, first.ID); err != nil {
						t.Fatal(err)
					}
				}
				w.start()
				w.add(5)
				w.settle()
			})
		}
	}
}

func TestASnapshotOfADamagedReadModelIsNotTaken(t *testing.T) {
	region(t, "accounts", func(w *world) {
		kept := w.withSnapshots()
		w.start()
		w.add(20)
		w.settle()
		gen := w.live()
		w.store.EditDocument(gen, projections.Ref{Partition: projections.PartitionOf("a1", gen.Partitions), Key: "a1"}, func(fields map[string]string) { fields["sum"] = "99" })
		if job := w.tried(); job.State != projections.SnapshotFailed || job.Code != string(projections.ErrSnapshotDamaged) {
			t.Errorf("the snapshot is %+v", job)
		}
		if list, _ := kept.List(context.Background(), w.kind); len(list) != 0 {
			t.Errorf("kept is %+v", list)
		}
	})
}

func TestSnapshotsAreTakenByThemselves(t *testing.T) {
	region(t, "accounts", func(w *world) {
		kept := w.withSnapshots()
		w.options.SnapshotInterval, w.options.SnapshotCount = time.Hour, 2
		w.start()
		for range 5 {
			w.add(3)
			for range 70 { // minutes
				pass(time.Minute)
				w.mark()
			}
		}
		list, err := kept.List(context.Background(), w.kind)
		if err != nil || len(list) != 2 {
			t.Fatalf("kept are %+v, %v", list, err)
		}
		for range 300 {
			pass(time.Minute)
			w.mark()
		}
		if now, _ := kept.List(context.Background(), w.kind); !slices.Equal(ids(now), ids(list)) {
			t.Errorf("nothing changed, and kept are %v after %v", ids(now), ids(list))
		}
		w.settle()
	})
}

func ids(list []projections.Snapshot) (out []string) {
	for i := range list {
		out = append(out, list[i].ID)
	}
	return out
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

// What was live was wrong for a while. A replay from the start finds the snapshots that were taken then, and drops them.
func TestAReplayFromTheStartDropsSnapshotsThatAreWrong(t *testing.T) {
	everyKind(t, func(w *world) {
		kept := w.withSnapshots()
		r := w.start()
		w.add(40)
		w.settle()
		good := w.snapshot()
		w.kill(r)
		w.seenProj = func(p projections.Projection) projections.Projection { return &miscounting{p} }
		r = w.start()
		w.add(10)
		pass(time.Minute)
		w.snapshot()
		w.kill(r)
		w.seenProj = func(p projections.Projection) projections.Projection { return p }
		for range 40 { // so many marks that those of the snapshots are not remembered
			w.add(1)
			w.mark()
		}
		w.start()
		pass(time.Minute)
		w.done(projections.ReplayRequest{})
		w.settle()
		if list, err := kept.List(context.Background(), w.kind); err != nil || !slices.Equal(ids(list), []string{good.ID}) {
			t.Errorf("kept are %v, %v, expected %s", ids(list), err, good.ID)
		}
	})
}
