package projector_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
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
		var touched, marked atomic.Uint64
		w.store.Observe(func(c memstore.Call) {
			if c.Op != memstore.OpPage || marked.Load() == 0 {
				return
			}
			n := int(touched.Load()) //nolint:gosec // a few
			for i := range 12 {      // before each page is read, and it is committed before the page is
				key := fmt.Sprintf("acct/k%d", (n*5+i)%70)
				typ := []string{added, closed, cleared}[(n+i)%3]
				w.append(w.event(typ, key, fmt.Sprintf(`{"n":%d,"tag":"t%d"}`, n, (n+i)%70)))
			}
			touched.Add(1)
			pass(50 * time.Millisecond)
		})
		_, err := projections.RequestSnapshot(context.Background(), w.kv, w.kind, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		w.mark()
		marked.Store(w.oracle(1).head())
		var job projections.SnapshotJob
		w.until("it is taken", func() bool { w.read(projections.SnapshotKey(w.kind), &job); return !job.Running() })
		w.store.Observe(nil)
		if job.State != projections.SnapshotDone || job.Snapshot.Sequence != marked.Load() || touched.Load() < 3 {
			t.Fatalf("the snapshot is %+v, %+v, asked for at %d, touched %d times", job, job.Snapshot, marked.Load(), touched.Load())
		}
		w.settle()
		if list, _ := kept.List(context.Background(), w.kind); len(list) != 1 {
			t.Errorf("kept are %+v", list)
		}
		r := w.done(projections.ReplayRequest{From: marked.Load() + 1, RequireEqual: true})
		if r.Plan.Strategy != projections.StrategySnapshot || !r.Equal || len(r.Back) != 0 {
			t.Errorf("the replay from it is %+v, %+v", r, r.Plan)
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
		var reads atomic.Int64
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
		if most := int(w.oracle(1).head() - taken[1].Sequence + 1); int(reads.Load()) > most {
			t.Errorf("%d records were read, and %d are behind the second snapshot", reads.Load(), most)
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
				var left atomic.Int64
				left.Store(int64(nth))
				r = w.start()
				w.store.Observe(func(c memstore.Call) {
					if c.Op == memstore.OpCommit || c.Op == memstore.OpCreate {
						if left.Add(-1) == 0 {
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

// A repair begins with the newest snapshot, so a read model does not wait an hour for its first one. Whoever is next goes on with the schedule: projectors that are restarted again and again would
// otherwise drop all snapshots but the newest, or take none.
func TestAReadModelHasItsFirstSnapshotSoon(t *testing.T) {
	region(t, "accounts", func(w *world) {
		kept := w.withSnapshots()
		w.options.SnapshotInterval, w.options.SnapshotCount = time.Hour, 10
		minutes := func(n int) (list []projections.Snapshot) {
			for range n {
				pass(time.Minute)
				w.add(1)
				w.mark()
			}
			list, err := kept.List(context.Background(), w.kind)
			if err != nil {
				t.Fatal(err)
			}
			return list
		}
		r := w.start()
		if list := minutes(3); len(list) != 1 {
			t.Fatalf("after three minutes kept are %+v", list)
		}
		for range 5 {
			w.kill(r)
			r = w.start()
			if list := minutes(3); len(list) != 1 {
				t.Fatalf("after a restart kept are %+v", list)
			}
		}
		for range 10 { // of which none runs for an hour
			w.kill(r)
			r = w.start()
			minutes(20)
		}
		if list := minutes(1); len(list) != 4 {
			t.Fatalf("after three hours and some minutes kept are %+v", list)
		}
		w.settle()
		asked := w.snapshot()
		if list := minutes(55); len(list) != 5 || list[0].ID != asked.ID {
			t.Fatalf("within an hour of one that was asked for kept are %+v", list)
		}
		if list := minutes(10); len(list) != 6 {
			t.Fatalf("an hour after one that was asked for kept are %+v", list)
		}
		w.settle()
	})
}

// The first generation is the one that is pointed at also while it is built. A snapshot of half of it would be in the place of the first one that is whole for an hour.
func TestNothingIsTakenOfWhatIsBuilt(t *testing.T) {
	region(t, "accounts", func(w *world) {
		kept := w.withSnapshots()
		w.options.SnapshotInterval = time.Hour
		for range 12 {
			w.add(4)
			w.mark()
		}
		w.seenLog = slowReader{w.log}
		w.start()
		building := 0
		for range 30 { // minutes
			pass(time.Minute)
			w.mark()
			list, err := kept.List(context.Background(), w.kind)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(w.headers(w.live()), func(h projections.Header) bool { return h.State != projections.Live }) {
				if building++; len(list) > 0 {
					t.Fatalf("of what is built there is %+v", list)
				}
			}
		}
		list, err := kept.List(context.Background(), w.kind)
		if err != nil || len(list) != 1 || building < 3 {
			t.Errorf("it was built for %d minutes, and kept are %+v, %v", building, list, err)
		}
	})
}

// slowReader yields one record at a time, one each eight seconds.
type slowReader struct{ events.Log }

func (s slowReader) Read(ctx context.Context, wanted events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		for records, err := range s.Log.Read(ctx, wanted) {
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range records {
				if pass(8 * time.Second); !yield(records[i:i+1], nil) {
					return
				}
			}
		}
	}
}

// A version that becomes live is not the one that there are snapshots of.
func TestANewVersionHasItsFirstSnapshotSoon(t *testing.T) {
	region(t, "accounts", func(w *world) {
		kept := w.withSnapshots()
		w.options.SnapshotInterval, w.options.SnapshotCount = time.Hour, 3
		minutes := func() map[string]int {
			for range 4 {
				pass(time.Minute)
				w.add(1)
				w.mark()
			}
			of := map[string]int{}
			list, _ := kept.List(context.Background(), w.kind)
			for _, s := range list {
				of[s.Definition]++
			}
			return of
		}
		r := w.start()
		of, before := minutes(), w.pointer().Definition
		if len(of) != 1 || of[before] != 1 {
			t.Fatalf("kept are %v", of)
		}
		w.kill(r)
		w.version = 2
		w.start()
		if of, now := minutes(), w.pointer().Definition; now == before || of[now] != 1 {
			t.Errorf("kept are %v, and live is %s after %s", of, now, before)
		}
		w.settle()
	})
}

// One that cannot be taken is tried again, and less often each time.
func TestASnapshotThatFailsIsTriedAgain(t *testing.T) {
	region(t, "accounts", func(w *world) {
		kept := w.withSnapshots()
		w.options.SnapshotInterval = time.Hour
		kept.Fail(memstore.Fault{Op: memstore.OpSnapshotPut, Err: events.Errorf(events.ErrUnreachable, "a test says so")})
		w.start()
		minutes := func(n int) {
			for range n {
				pass(time.Minute)
				w.add(1)
				w.mark()
			}
		}
		minutes(3 * 60)
		if n := w.logs.count("no snapshot was taken"); n < 5 || n > 10 { // after 1, 2, 4, 8, 16, 32 and 60 minutes
			t.Errorf("it was tried %d times in three hours", n)
		}
		kept.Disarm()
		minutes(70)
		if list, err := kept.List(context.Background(), w.kind); err != nil || len(list) == 0 {
			t.Errorf("kept are %+v, %v", list, err)
		}
		w.settle()
	})
}

// A region without a place for snapshots, or whose user has no right to it, does without.
func TestAReadModelDoesNotWaitForSnapshotsThatItMayNotRead(t *testing.T) {
	for _, code := range []events.Code{events.ErrUnauthorized, events.ErrNoLog} {
		region(t, "accounts", func(w *world) {
			kept := w.withSnapshots()
			kept.Fail(memstore.Fault{Op: memstore.OpSnapshotList, Err: events.Errorf(code, "a test says so")})
			kept.Fail(memstore.Fault{Op: memstore.OpSnapshotPut, Err: events.Errorf(code, "a test says so")})
			w.options.SnapshotInterval = time.Second
			w.start()
			w.add(10)
			w.settle()
			pass(10 * time.Minute)
			w.done(projections.ReplayRequest{})
			w.done(projections.ReplayRequest{From: 5})
			if job := w.tried(); job.State != projections.SnapshotFailed || job.Code != string(code) {
				t.Errorf("the snapshot is %+v", job)
			}
			w.settle()
		})
	}
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

func ids(list []projections.Snapshot) (out []string) {
	for i := range list {
		out = append(out, list[i].ID)
	}
	return out
}

// countingReader counts the records that are read.
type countingReader struct {
	*memlog.Log
	read *atomic.Int64
}

func (c *countingReader) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		for list, err := range c.Log.Read(ctx, r) {
			c.read.Add(int64(len(list)))
			if !yield(list, err) {
				return
			}
		}
	}
}
