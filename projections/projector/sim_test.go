package projector_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

var (
	simSeeds = flag.Int("sim.seeds", 300, "how many random runs the simulation makes")
	simLog   = flag.Bool("sim.log", false, "show what was logged in a run that fails")
	simFirst = flag.Uint64("sim.seed", 1, "the first seed; with -sim.seeds=1 the run to make again")
)

// TestSimulatedDisasters runs projectors through random faults, each run from a seed, and compares everything they store and everything
// that queries answer with a plain fold of the log, at the position that each header and each answer names.
//
//	go test ./projector -run TestSimulatedDisasters -sim.seeds=20000
//	go test ./projector -run TestSimulatedDisasters -sim.seeds=1 -sim.seed=4711 -sim.log
func TestSimulatedDisasters(t *testing.T) {
	const workers = 4
	var mu sync.Mutex
	total := counts{}
	t.Cleanup(func() {
		t.Logf("%d runs from seed %d: %s", *simSeeds, *simFirst, total)
		if *simSeeds >= 300 {
			total.requireAll(t)
		}
	})
	for worker := range workers {
		t.Run(fmt.Sprintf("worker %d", worker), func(t *testing.T) {
			t.Parallel()
			for i := worker; i < *simSeeds && !t.Failed(); i += workers {
				seed := *simFirst + uint64(i) //nolint:gosec // not negative
				done, err := simulate(t, seed, nil)
				if err != nil {
					t.Errorf("seed %d: %v\nrun it again with -sim.seeds=1 -sim.seed=%d", seed, err, seed)
				}
				mu.Lock()
				total.add(done)
				mu.Unlock()
			}
		})
	}
}

// counts says how often something happened.
type counts map[string]int

func (c counts) add(d counts) {
	for what, n := range d {
		c[what] += n
	}
}

// requireAll fails when something that the simulation is for never happened: then it would prove nothing about it.
func (c counts) requireAll(t *testing.T) {
	t.Helper()
	for _, what := range []string{
		"appends", "transactions", "marks", "fragments", "malformed", "promotions", "flushes", "restores", "lost headers", "edits", "expiries", "kills", "kills mid-call",
		"held calls", "second projectors", "store faults", "kv faults", "log faults", "holes", "replays", "replays refused", "upgrades",
		"documents answered", "absences answered", "pages answered", "waits answered", "waits refused", "final replays equal", "zombies", "panics",
		"changes followed", "copies compared", "watchers sent back", "watchers that wait for a store", "changes followed into another generation",
		"strong reads answered", "strong reads refused", "lookups answered", "lost signals", "demands made up",
		"skip records", "skips of what is not parked",
		"skips ignored", "documents released", "documents parked again", "parked documents listed",
		"dropped generations looked for", "snapshots asked for", "snapshots damaged", "replays from an offset", "rollbacks", "copies", "drops", "cancelled", "declined", "kept generations compared",
		"copies of old compared", "snapshots loaded", "snapshots taken", "refolds",
	} {
		if c[what] == 0 {
			t.Errorf("in all runs together there were no %s", what)
		}
	}
}

func (c counts) String() string {
	var s string
	for _, what := range slices.Sorted(maps.Keys(c)) {
		s += fmt.Sprintf("%s %d, ", what, c[what])
	}
	return s
}

// simulation is one random run.
type simulation struct {
	*world
	random    *rand.Rand
	counts    counts
	edited    edits
	versions  map[uint32]int // of each generation that was live
	receipts  []events.Position
	snapshots []*memstore.Snapshot
	drowsy    *drowsy
	release   func() // of a held call; nil: none is held
	holes     bool   // this run has holes instead of edits: an entity's history cannot show a hole
	leftovers bool   // a snapshot, or a projector that does not know of its successor and is making partitions, may have brought dropped generations back
	failure   error  // of a query
	orphaned  bool   // the lease may be held by nobody who knows of it
	watcher   watcher
	kept      *memstore.Snapshots // of read models
}

// simulate makes the run of a seed and returns what was wrong. plant may put a bug into the world before anything starts.
func simulate(t *testing.T, seed uint64, plant func(*world)) (done counts, err error) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 0x71de)) //nolint:gosec // the seed must give the same run again
		s := &simulation{
			world: newWorld(t, kinds[random.IntN(len(kinds))]), random: random, counts: counts{}, edited: edits{}, versions: map[uint32]int{},
			holes: random.IntN(2) == 0,
		}
		s.drowsy = &drowsy{Leases: s.leases}
		s.seenLeases = s.drowsy
		s.kept = memstore.NewSnapshots()
		s.log.Disorder(uint64(random.IntN(3)) * seed) //nolint:gosec // not negative
		if plant != nil {
			plant(s.world)
			s.open()
		}
		defer s.close()
		if err = s.run(); err != nil && *simLog {
			s.logs.dump(t)
		}
		s.heal()
		s.counts["snapshots loaded"] += s.logs.count("a snapshot was loaded")
		s.counts["snapshots taken"] += s.logs.count("a snapshot was taken")
		s.counts["refolds"] += s.logs.count("strategy=refold")
		done = s.counts
	})
	return done, err
}

func (s *simulation) run() error {
	s.begin()
	for range 25 + s.random.IntN(35) {
		if s.act(); s.failure != nil {
			return s.failure
		}
		if s.random.IntN(4) > 0 {
			synctest.Wait()
		}
		if err := s.check(); err != nil {
			return err
		}
		if s.random.IntN(3) == 0 {
			if err := s.look(&s.watcher); err != nil {
				return err
			}
		}
	}
	return s.finish()
}

// begin starts a projector with random options.
func (s *simulation) begin() {
	pick := func(of ...int) int { return of[s.random.IntN(len(of))] }
	s.options.Batch, s.options.CacheDocuments, s.options.Partitions = pick(0, 1, 2, 3, 7), pick(0, 1, 2, 3), pick(1, 3, 5)
	s.options.EvenInterval = time.Duration(pick(1, 20, 200)) * time.Millisecond
	s.options.CheckInterval = time.Duration(pick(50, 1_000)) * time.Millisecond
	s.options.RetireDelay = time.Duration(pick(10, 1_000)) * time.Millisecond
	s.options.Observer = newWitness() // is told from several goroutines, and must change nothing
	s.options.Signals = s.signals
	s.options.Keep = time.Duration(pick(0, 50, 3_000, 3_600_000)) * time.Millisecond
	s.options.Snapshots, s.options.SnapshotInterval, s.options.SnapshotCount = nil, time.Duration(pick(0, 1_000, 20_000))*time.Millisecond, pick(1, 3)
	if s.random.IntN(4) > 0 {
		s.options.Snapshots = s.kept
	}
	s.start()
}

// act does one thing.
func (s *simulation) act() {
	switch n := s.random.IntN(100); {
	case n < 27:
		s.write()
	case n < 33:
		s.skip()
	case n < 40:
		pass(time.Duration(s.random.IntN(60)) * time.Millisecond)
	case n < 45:
		pass(time.Duration(s.random.IntN(7_000)) * time.Millisecond)
	case n < 55:
		s.breakSomething()
	case n < 64:
		s.tamper()
	case n < 75:
		s.disturb()
	case n < 81:
		s.askReplay()
	case n < 84:
		s.repair()
	default:
		s.failure = s.query()
	}
}

// write appends something.
func (s *simulation) write() {
	if s.random.IntN(6) == 0 {
		s.mark()
		s.counts["marks"]++
	}
	switch n := s.random.IntN(20); {
	case n < 10:
		for range 1 + s.random.IntN(4) {
			s.receipts = append(s.receipts, s.append(s.randomEvent()).Position)
			s.counts["appends"]++
		}
	case n < 16:
		list := make([]events.Event, 2+s.random.IntN(9))
		for i := range list {
			list[i] = s.randomEvent()
		}
		s.receipts = append(s.receipts, s.append(list...).Position)
		s.counts["transactions"]++
	case n < 18:
		s.log.StoreRaw([]string{"evt.us.acct.a1", "evt.us.weird", "evt.us.misc.m%zz", "ctl.us.mark"}[s.random.IntN(4)], nil, []byte(`{"n":1}`))
		s.counts["malformed"]++
	default:
		count := 2 + s.random.IntN(4)
		if s.random.IntN(3) == 0 {
			s.part(count, 2, count)
		} else {
			s.fragment(count, 1+s.random.IntN(count-1))
		}
		s.log.Promote()
		s.counts["fragments"]++
		s.counts["promotions"]++
	}
}

func (s *simulation) randomEvent() events.Event {
	entity := fmt.Sprintf("%s/a%d", accountType, s.random.IntN(6))
	if s.random.IntN(5) == 0 {
		entity = fmt.Sprintf("%s/m%d", otherType, s.random.IntN(3))
	}
	tag := []string{"red", "green", "ö \"ü", "a0", "a1", "x", ""}[s.random.IntN(7)]
	switch n := s.random.IntN(40); {
	case n < 2:
		return s.event(added, entity, `{"n":"no number"}`)
	case n < 6:
		return s.event(withdrawn, entity, fmt.Sprintf(`{"n":%d}`, s.random.IntN(30)))
	case n < 11:
		return s.event(closed, entity, `{}`)
	case n < 15:
		return s.event(cleared, entity, fmt.Sprintf(`{"tag":%q}`, tag))
	case n < 17:
		return s.event(ignored, entity, `{}`)
	case n < 19:
		tag = []string{boom, noKey}[n-17]
		s.counts["panics"]++
	}
	return s.event(added, entity, fmt.Sprintf(`{"n":%d,"tag":%q}`, s.random.IntN(20)-3, tag))
}

// breakSomething arms a fault.
func (s *simulation) breakSomething() {
	nth := 1 + s.random.IntN(6)
	if s.random.IntN(10) == 0 {
		nth = 0
	}
	f := memstore.Fault{Nth: nth, After: s.random.IntN(2) == 0}
	pick := func(of ...memstore.Op) memstore.Op { return of[s.random.IntN(len(of))] }
	switch s.random.IntN(9) {
	case 8:
		f.Op = pick(memstore.OpSnapshotPut, memstore.OpSnapshotList, memstore.OpSnapshotOpen, memstore.OpSnapshotDelete)
		f.Err = events.Errorf(events.ErrUnreachable, "a fault that a test injected")
		s.kept.Fail(f)
	case 0:
		f.Op = pick(memstore.OpKVGet, memstore.OpKVPut, memstore.OpKVWatch, memstore.OpKVDelete)
		s.failKV(f)
		s.counts["kv faults"]++
	case 1:
		s.log.Unreachable(s.random.IntN(6) - 1)
		s.counts["log faults"]++
	case 2:
		f.Op, s.orphaned = pick(memstore.OpAcquire, memstore.OpRelease), true
		s.leases.Fail(f)
	case 3:
		if s.holes {
			s.hole()
		}
	default:
		f.Op = pick(memstore.OpHeaders, memstore.OpClaim, memstore.OpCreate, memstore.OpLoad, memstore.OpApply, memstore.OpCommit, memstore.OpCommit,
			memstore.OpSetState, memstore.OpDrop, memstore.OpGet, memstore.OpPage, memstore.OpChanges)
		s.store.Fail(f)
		s.counts["store faults"]++
	}
}

// hole makes a hole near the end of the log, but not of a skip record: reading those by their name cannot show one.
func (s *simulation) hole() {
	o := s.oracle(s.version)
	seq := o.head() + uint64(s.random.IntN(3)) //nolint:gosec // not negative
	if int(seq) <= len(o.records) && o.records[seq-1].Kind == events.KindControl {
		return
	}
	s.log.Skip(seq)
	s.counts["holes"]++
}

// tamper changes what is stored behind the projector's back.
func (s *simulation) tamper() {
	gen := s.live()
	switch s.random.IntN(7) {
	case 6:
		list, _ := s.kept.List(context.Background(), s.kind)
		if len(list) > 0 {
			s.kept.Tamper(s.kind, list[0].ID, func(b []byte) []byte { b[s.random.IntN(len(b))] ^= 16; return b })
			s.counts["snapshots damaged"]++
		}
	case 0:
		s.store.Flush()
		s.counts["flushes"]++
	case 1:
		if len(s.snapshots) > 0 {
			s.store.Restore(s.snapshots[s.random.IntN(len(s.snapshots))])
			s.leftovers = true
			s.counts["restores"]++
		}
	case 2:
		if gen.Partitions > 0 {
			s.store.LoseHeader(gen, s.random.IntN(gen.Partitions))
			s.counts["lost headers"]++
		}
	case 3:
		s.editDocument(gen)
	default:
		s.snapshots = append(s.snapshots, s.store.Snapshot())
	}
}

func (s *simulation) editDocument(gen projections.Generation) {
	o := s.oracle(s.version)
	if s.holes || len(o.docs) == 0 || gen.Partitions == 0 {
		return
	}
	keys := slices.Sorted(maps.Keys(o.docs))
	key := keys[s.random.IntN(len(keys))]
	ref := projections.Ref{Partition: projections.PartitionOf(key, gen.Partitions), Key: key}
	how := s.random.IntN(5)
	s.edited[edit{gen.Number, key}] = true // before anybody can read it
	if s.store.EditDocument(gen, ref, func(fields map[string]string) {
		switch how {
		case 0:
			fields["sum"] = "12345"
		case 1:
			delete(fields, "chain")
		case 2:
			fields["surprise"] = "x"
		case 3:
			fields["_digest"] = "00000000000000000000000000000000"
		case 4:
			fields["_parked"] = "us.7f3a11d2@1:1 by hand"
		}
	}) {
		s.counts["edits"]++
	}
}

// disturb troubles the projectors themselves.
func (s *simulation) disturb() {
	switch s.random.IntN(9) {
	case 0, 1:
		if len(s.running) > 0 {
			s.letGo()
			s.kill(s.running[s.random.IntN(len(s.running))])
			s.counts["kills"]++
		}
		s.begin()
	case 2:
		delay := time.Duration(s.random.IntN(2_000)) * time.Millisecond
		s.drowsy.delay.Store(int64(delay))
		s.leases.Expire("projector-" + s.kind)
		s.leftovers = true
		s.counts["expiries"]++
	case 3:
		if len(s.running) == 1 {
			s.begin()
			s.counts["second projectors"]++
		}
	case 4:
		s.hold()
	case 5:
		s.killMidCall()
	case 6:
		if s.version == 1 && s.random.IntN(3) == 0 {
			s.version, s.earlier = 2, s.random.IntN(3) > 0
			s.begin()
			s.counts["upgrades"]++
		}
	case 7:
		s.signals.Lose(s.random.IntN(2) == 0)
		s.counts["lost signals"]++
	case 8:
		s.makeUpDemands()
	}
}

// makeUpDemands posts demands of nobody, for what is, will be and can never be.
func (s *simulation) makeUpDemands() {
	for range 1 + s.random.IntN(30) {
		p := events.Point{Origin: "us", Lineage: "7f3a11d2", Term: 1 + uint32(s.random.IntN(3)), Sequence: uint64(s.random.IntN(200))} //nolint:gosec // small
		switch s.random.IntN(6) {
		case 0:
			p.Sequence = s.random.Uint64()
		case 1:
			p.Lineage = "ffff"
		case 2:
			p.Origin = "eu"
		}
		s.signals.Demand(projections.Demand{Projection: s.kind, Partitions: projections.PartitionSet{s.random.Uint64(), 0, 0, s.random.Uint64()}, Position: events.At(p)})
	}
	s.counts["demands made up"]++
}

// hold stops the next call of some kind, as if its process were paused there, and takes the lease away meanwhile.
func (s *simulation) hold() {
	s.letGo()
	held := make(chan struct{})
	var once sync.Once
	hook := func(c memstore.Call) {
		mine := false
		once.Do(func() { mine = true })
		if mine {
			<-held
		}
	}
	if s.random.IntN(4) == 0 {
		s.kv.Observe(func(c memstore.Call) {
			if c.Op == memstore.OpKVPut && c.Key == projections.PointerKey(s.kind) {
				hook(c)
			}
		})
	} else {
		op := []memstore.Op{memstore.OpClaim, memstore.OpCreate, memstore.OpLoad, memstore.OpApply, memstore.OpCommit, memstore.OpSetState, memstore.OpDrop}[s.random.IntN(7)]
		s.store.Observe(func(c memstore.Call) {
			if c.Op == op {
				hook(c)
			}
		})
	}
	s.release, s.leftovers = sync.OnceFunc(func() { close(held) }), true
	s.drowsy.delay.Store(int64(time.Duration(s.random.IntN(5_000)) * time.Millisecond))
	s.leases.Expire("projector-" + s.kind)
	if len(s.running) == 1 {
		s.begin()
	}
	s.counts["held calls"]++
}

// letGo lets a held call go on.
func (s *simulation) letGo() {
	s.store.Observe(nil)
	s.kv.Observe(nil)
	if s.release != nil {
		if s.drowsy.delay.Load() > 0 {
			s.counts["zombies"]++
		}
		s.release()
		s.release = nil
	}
}

// killMidCall ends a projector when it makes one of its next calls.
func (s *simulation) killMidCall() {
	if len(s.running) == 0 {
		return
	}
	s.letGo()
	victim := s.running[s.random.IntN(len(s.running))]
	left := s.random.IntN(12)
	var mu sync.Mutex
	count := func(memstore.Call) {
		mu.Lock()
		defer mu.Unlock()
		if left--; left < 0 {
			victim.cancel()
		}
	}
	s.store.Observe(count)
	s.kv.Observe(func(c memstore.Call) {
		if s.peeking.Load() == 0 {
			count(c)
		}
	})
	s.counts["kills mid-call"]++
}

// askReplay asks for a replay of some kind, or for a snapshot, or gives one up.
func (s *simulation) askReplay() {
	before := s.replay()
	ctx := context.Background()
	asked, what := projections.ReplayRequest{Reason: "test"}, "replays"
	head := s.oracle(s.version).head()
	switch n := s.random.IntN(20); {
	case n < 7:
	case n < 10:
		asked.From, what = 1+uint64(s.random.IntN(int(head)+1)), "replays from an offset" //nolint:gosec // small
		if s.random.IntN(3) > 0 {
			asked.From = head - min(head, uint64(s.random.IntN(2))) //nolint:gosec // small
		}
		s.world.repairs = true // it may be done in place
	case n < 13 || n < 17 && s.keepsAnother():
		asked.Kind, what = projections.ReplayRollback, "rollbacks"
	case n < 15 && len(s.receipts) > 0:
		at := s.receipts[s.random.IntN(len(s.receipts))]
		asked.Kind, asked.To, asked.As, what = projections.ReplayCopy, at.String(), fmt.Sprintf("c%d", s.random.IntN(3)), "copies"
		if s.random.IntN(2) == 0 {
			until := time.Now().Add(time.Duration(s.random.IntN(20)) * time.Second)
			asked.Until = &until
		}
	case n < 17:
		asked.Kind, what = projections.ReplayDrop, "drops"
		if s.random.IntN(2) == 0 {
			asked.As = fmt.Sprintf("c%d", s.random.IntN(3))
		}
	case n < 18 && before.Running():
		if _, err := projections.CancelReplay(ctx, s.kv, s.kind, before.ID); err == nil {
			s.counts["cancelled"]++
		}
		return
	default:
		if _, err := projections.RequestSnapshot(ctx, s.kv, s.kind, time.Now()); err == nil {
			s.counts["snapshots asked for"]++
		}
		return
	}
	if s.random.IntN(6) == 0 {
		asked.Rate = 20 + s.random.IntN(100)
	}
	asked.RequireEqual = asked.Kind == projections.ReplayModel && s.random.IntN(5) == 0
	_, err := projections.AskReplay(ctx, s.kv, s.kind, asked, time.Now())
	switch {
	case err == nil:
		s.counts[what]++
	case errors.Is(err, projections.ErrReplayRunning):
		s.counts["replays refused"]++
	case before.Running() && errors.Is(err, projections.ErrUnknownProjection):
		s.failure = fmt.Errorf("a projection that is being replayed is unknown: %w", err)
	}
}

// keepsAnother reports whether a generation of another version is kept.
func (s *simulation) keepsAnother() bool {
	p := s.pointer()
	return p.Previous != nil && p.Previous.Version != p.Version
}

// repair ends some faults.
func (s *simulation) repair() {
	switch s.random.IntN(5) {
	case 4:
		s.kept.Disarm()
	case 0:
		s.store.Disarm()
	case 1:
		s.kv.Disarm()
	case 2:
		s.log.Unreachable(0)
		s.log.Heal()
	case 3:
		s.letGo()
	}
}

// heal ends every fault.
func (s *simulation) heal() {
	s.store.Disarm()
	s.kv.Disarm()
	s.kept.Disarm()
	s.leases.Disarm()
	s.log.Unreachable(0)
	s.log.Heal()
	s.letGo()
	s.drowsy.delay.Store(0)
	s.expireOrphan()
}

// expireOrphan frees a lease that nobody knows to hold, as time does.
func (s *simulation) expireOrphan() {
	if s.orphaned {
		s.leases.Expire("projector-" + s.kind)
	}
}
