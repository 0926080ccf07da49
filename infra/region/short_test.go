package region_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/netfault"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/skips"
)

// newJoining starts us, with a history, marks, records of a catalog, and a snapshot. eu has not joined yet.
func newJoining(t *testing.T) (w *watched, taken projections.Snapshot) {
	t.Helper()
	w = &watched{
		t: t, regions: map[string]*region.Region{}, configs: map[string]region.Config{}, sites: map[string]*watchedSite{},
		snapshots: map[string]*memstore.Snapshots{"us": memstore.NewSnapshots(), "eu": memstore.NewSnapshots()},
	}
	dir := natstest.StoreDir(t)
	w.configs["us"] = region.Config{Name: "us", Leader: "us", Role: region.Writer, DataDir: filepath.Join(dir, "us"), LazySync: true, Peers: []string{"eu"}}
	w.configs["eu"] = region.Config{Name: "eu", Leader: "us", Role: region.Writer, DataDir: filepath.Join(dir, "eu"), LazySync: true, KeepDamaged: true}
	w.open("us")
	t.Cleanup(func() {
		for _, name := range []string{"eu", "us"} {
			w.close(name)
		}
	})
	wire, err := netfault.New(w.regions["us"].LinkFor("eu").Address, netfault.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(wire.Close)
	w.wire = wire
	w.control(catalog.DefinitionControl("things"), things)
	w.control(catalog.Control, `{"format":1,"change":"a","projections":[]}`)
	w.audit("us")
	for range 4 {
		w.write(30)
	}
	w.control(skips.Name("things"), `{"skips":[{"key":"none","sequence":2}],"reason":"of the test"}`)
	w.control(catalog.Control, `{"format":1,"change":"b","projections":[]}`)
	w.write(30)
	w.level("us")
	asked, err := projections.RequestSnapshot(t.Context(), w.regions["us"].KV(), "things", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the snapshot is taken", func() bool {
		w.write(1)
		job, _, err := projections.ReadJSON[projections.SnapshotJob](t.Context(), w.regions["us"].KV(), projections.SnapshotKey("things"))
		if err != nil || job.ID != asked.ID || job.State != projections.SnapshotDone {
			return false
		}
		taken = *job.Snapshot
		return true
	})
	w.write(30)
	return w, taken
}

func (w *watched) control(name, text string) {
	w.t.Helper()
	b := events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: name, Data: []byte(text)}}}}
	if _, err := w.regions["us"].Log().Append(w.t.Context(), b); err != nil {
		w.t.Fatal(err)
	}
}

// join lets eu join with a sequence.
func (w *watched) join(from uint64) {
	w.t.Helper()
	c := w.configs["eu"]
	c.LogFrom = from
	w.configs["eu"] = c
	w.open("eu")
}

// bring copies a snapshot from us to eu, as anybody can through the ports.
func (w *watched) bring(s *projections.Snapshot) {
	w.t.Helper()
	body, err := w.snapshots["us"].Open(w.t.Context(), s.Projection, s.ID)
	if err == nil {
		_, err = w.snapshots["eu"].Put(w.t.Context(), *s, body)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// mirrored waits until eu's copy holds everything, and eu what it keeps of what is below: only then it can do without its leader.
func (w *watched) mirrored() {
	w.t.Helper()
	last := head(w.t, w.regions["us"])
	eventually(w.t, "eu holds everything", func() bool { return head(w.t, w.regions["eu"]) == last })
	if w.configs["eu"].LogFrom <= 1 {
		return // there is nothing below
	}
	eventually(w.t, "eu keeps the control records below its copy", func() bool {
		e, err := w.regions["eu"].KV().Get(w.t.Context(), "past.us")
		return err == nil && len(e.Value) > 0
	})
}

// settled waits until a region has audited and folded what it holds.
func (w *watched) settled(name string) {
	w.t.Helper()
	last := head(w.t, w.regions[name])
	eventually(w.t, name+" has audited and folded what it holds", func() bool {
		return w.audited(name) == last-1 && w.applied(name) == last && w.sites[name].auditor.State().Known
	})
	w.clean(name)
}

// TestARegionJoinsWhoseLogDoesNotReachBack: with a snapshot, and without its leader from then on.
func TestARegionJoinsWhoseLogDoesNotReachBack(t *testing.T) {
	t.Parallel()
	w, taken := newJoining(t)
	w.join(taken.Sequence)
	w.mirrored()
	w.bring(&taken)
	info, err := w.regions["eu"].Log().Info(t.Context())
	if err != nil || info.First != taken.Sequence || info.Begins != taken.Sequence {
		t.Fatalf("%+v, %v; want %d", info, err, taken.Sequence)
	}
	if now := w.regions["eu"].Copy().Replication(); now.Begins != taken.Sequence {
		t.Errorf("%+v", now)
	}
	w.wire.Cut()
	w.audit("eu")
	w.settled("eu")
	w.level("us")
	if a, b := w.documents("us"), w.documents("eu"); a != b {
		t.Errorf("us has %s, eu %s", a, b)
	}
	w.alone(taken.Sequence)

	w.close("eu")
	w.open("eu")
	w.audit("eu")
	w.settled("eu")
	w.alone(taken.Sequence)

	w.wire.Heal()
	for range 3 {
		w.write(30)
	}
	w.level("us")
	w.level("eu")
	if a, b := w.documents("us"), w.documents("eu"); a != b {
		t.Errorf("us has %s, eu %s", a, b)
	}
	eventually(t, "the leader is asked again for what is below", func() bool {
		_, err := w.regions["eu"].Log().Record(t.Context(), 10) // sequence 2 is a control record, which is kept here
		return err == nil
	})
	same(t, w.regions["us"], w.regions["eu"])
	w.compareHistories()
}

// alone asks eu, which is cut off, for what is below its copy.
func (w *watched) alone(from uint64) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	log := w.regions["eu"].Log()
	now, err := catalog.Read(ctx, log)
	if err != nil || now.Sequence == 0 || now.Sequence >= from {
		w.t.Errorf("the catalog is %+v, %v", now, err)
	}
	if text, err := catalog.Text(ctx, log, "things", 2); err != nil || string(text) != things {
		w.t.Errorf("the definition is %q, %v", text, err)
	}
	if list, err := skips.Read(ctx, log, "things", from); err != nil || len(list.Skips()) != 1 {
		w.t.Errorf("the skips are %+v, %v", list, err)
	}
	if list, err := skips.Read(ctx, log, "others", from); err != nil || len(list.Skips()) != 0 {
		w.t.Errorf("the skips of others are %+v, %v", list, err)
	}
	if _, err := log.LastControl(ctx, "no-such"); !errors.Is(err, events.ErrNotFound) {
		w.t.Errorf("a control record that never was: %v", err)
	}
	refused := func(what string, err error) {
		w.t.Helper()
		if !errors.Is(err, events.ErrUnreachable) || !strings.Contains(err.Error(), "tidemark snapshot copy") {
			w.t.Errorf("%s: %v", what, err)
		}
	}
	_, err = log.Record(ctx, 10)
	refused("a record", err)
	err = nil
	for _, e := range log.Read(ctx, events.Range{From: 3}) {
		err = e
	}
	refused("reading", err)
	err = nil
	for _, e := range log.History(ctx, events.Entity{Type: "thing", ID: "t1"}, 1) {
		err = e
	}
	refused("a history", err)
	n := 0
	for _, err := range log.History(ctx, events.Entity{Type: "thing", ID: "t1"}, from) {
		if err != nil {
			w.t.Error(err)
		}
		n++
	}
	if n == 0 {
		w.t.Error("a history from where the copy begins is empty")
	}
}

// compareHistories compares what both regions say of entities and of control records.
func (w *watched) compareHistories() {
	w.t.Helper()
	both := func(of func(events.Log) []uint64) {
		w.t.Helper()
		a, b := of(w.regions["us"].Log()), of(w.regions["eu"].Log())
		if len(a) == 0 || len(a) != len(b) {
			w.t.Fatalf("us has %d, eu %d", len(a), len(b))
		}
		for i := range a {
			if a[i] != b[i] {
				w.t.Fatalf("number %d is %d in us and %d in eu", i, a[i], b[i])
			}
		}
	}
	both(func(l events.Log) (all []uint64) {
		for r, err := range l.History(w.t.Context(), events.Entity{Type: "thing", ID: "t3"}, 1) {
			if err != nil {
				w.t.Fatal(err)
			}
			all = append(all, r.Sequence)
		}
		return all
	})
	for _, name := range []string{events.ControlMark, catalog.Control, skips.Name("things"), events.ControlGenesis} {
		both(func(l events.Log) (all []uint64) {
			for r, err := range l.Controls(w.t.Context(), name, 1) {
				if err != nil {
					w.t.Fatal(err)
				}
				all = append(all, r.Sequence)
			}
			last, err := l.LastControl(w.t.Context(), name)
			if err != nil || last.Sequence != all[len(all)-1] {
				w.t.Fatalf("the last %s is %d, %v", name, last.Sequence, err)
			}
			return all
		})
	}
}

// TestWithoutASnapshotAProjectionIsFoldedThroughTheLeader: slower, and right.
func TestWithoutASnapshotAProjectionIsFoldedThroughTheLeader(t *testing.T) {
	t.Parallel()
	w, taken := newJoining(t)
	w.join(taken.Sequence)
	w.audit("eu")
	w.level("us")
	w.level("eu")
	if a, b := w.documents("us"), w.documents("eu"); a != b {
		t.Errorf("us has %s, eu %s", a, b)
	}
}

// TestWithoutASnapshotAndWithoutItsLeaderAProjectionWaits: nothing is folded onto nothing, and it begins by itself.
func TestWithoutASnapshotAndWithoutItsLeaderAProjectionWaits(t *testing.T) {
	t.Parallel()
	w, taken := newJoining(t)
	w.join(taken.Sequence)
	w.mirrored()
	w.wire.Cut()
	w.audit("eu")
	var s projections.Status
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the status was %+v", s)
		}
	})
	eventually(t, "it waits, and says for what", func() bool {
		var err error
		s, _, err = projections.ReadJSON[projections.Status](t.Context(), w.regions["eu"].KV(), projections.StatusKey("things"))
		return err == nil && s.State == projections.ProjectorWaiting && s.Code == string(events.ErrUnreachable) && strings.Contains(s.Message, "tidemark snapshot copy things --from REGION")
	})
	if n := w.applied("eu"); n != 0 {
		t.Errorf("it is folded up to %d", n)
	}
	w.bring(&taken)
	w.settled("eu")
	w.level("us")
	if a, b := w.documents("us"), w.documents("eu"); a != b {
		t.Errorf("us has %s, eu %s", a, b)
	}
}

func TestARegionCannotBeginBeyondTheLog(t *testing.T) {
	t.Parallel()
	w, _ := newJoining(t)
	w.stop("us")
	c := w.configs["eu"]
	c.LogFrom = head(t, w.regions["us"]) + 2
	w.configs["eu"] = c
	if err := w.tryOpen("eu"); !errors.Is(err, projections.ErrInvalidOffset) || !strings.Contains(err.Error(), "nothing was made") {
		t.Error(err)
	}
	if _, err := region.Open(t.Context(), region.Config{Name: "us", Leader: "us", DataDir: natstest.StoreDir(t), LogFrom: 7}); !errors.Is(err, projections.ErrInvalidOffset) {
		t.Errorf("the leader: %v", err)
	}
	w.join(1) // which is the beginning, like 0
	w.audit("eu")
	w.mirrored()
	w.settled("eu")
	w.compareHistories()
}

// TestADamagedShortCopy is found by its audit, wherever it is damaged, and healed to the same beginning.
func TestADamagedShortCopy(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(w *watched, first int)
		kind   marks.Kind // empty: it cannot even be opened
	}{
		"its first event":         {func(w *watched, first int) { w.flip("eu", first) }, marks.Hole},
		"in the middle":           {func(w *watched, _ int) { w.flip("eu", w.written-40) }, marks.Hole},
		"a block that is cut off": {func(w *watched, _ int) { w.cutBlockAt(w.written - 40) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, taken := newJoining(t)
			first := w.written - 29 // of the thirty after the snapshot
			w.write(40)
			w.write(40)
			w.join(taken.Sequence)
			w.bring(&taken)
			w.audit("eu")
			w.level("eu")
			w.close("eu")
			c.damage(w, first)
			if c.kind != "" {
				w.open("eu")
				w.audit("eu")
				if f := w.finds("eu", c.kind, "us"); !f.Exact || f.First <= taken.Sequence {
					t.Errorf("%+v", f)
				}
				w.close("eu")
			}
			config := w.configs["eu"]
			config.KeepDamaged = false
			w.configs["eu"] = config
			w.open("eu")
			w.audit("eu")
			eventually(t, "it is healed", func() bool {
				a := w.state("eu")
				return a.Finding == nil && a.Healed != nil && len(a.Healed.Replays) == 0
			})
			w.write(20)
			w.level("us")
			w.level("eu")
			info, err := w.regions["eu"].Log().Info(t.Context())
			if err != nil || info.First != taken.Sequence {
				t.Errorf("%+v, %v", info, err)
			}
			if a, b := w.documents("us"), w.documents("eu"); a != b {
				t.Errorf("us has %s, eu %s", a, b)
			}
		})
	}
}

// cutBlockAt cuts a block of eu's copy off at an event.
func (w *watched) cutBlockAt(n int) {
	w.t.Helper()
	file, at := w.block("eu", n)
	if err := os.Truncate(file, int64(at)); err != nil {
		w.t.Fatal(err)
	}
}
