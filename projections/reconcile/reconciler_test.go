package reconcile_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/reconcile"
)

// Names and Live make a place the Versions of its reconciler.
func (p *place) Names(context.Context) ([]string, error) { return []string{p.kind}, nil }

func (p *place) Live(context.Context, string) (projector.Version, error) {
	return projector.Version{Projection: p.proj, Log: p.log}, nil
}

// announced keeps what was announced.
type announced struct {
	mu   sync.Mutex
	list []reconcile.Record
}

func (a *announced) add(r reconcile.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, r)
}

func (a *announced) all() []reconcile.Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.list)
}

// reconciling runs a reconciler until the returned function is called.
func (p *place) reconciling(o reconcile.ReconcilerOptions) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r := reconcile.NewReconciler("us", p, p.store, p.kv, p.leases, o)
	go func() {
		defer close(done)
		_ = r.Run(ctx) // returns nil
	}()
	return func() {
		cancel()
		<-done
	}
}

func (p *place) record() reconcile.Record {
	p.t.Helper()
	r, err := reconcile.ReadRecord(context.Background(), p.kv, p.kind)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// until waits until ok, at most an hour of the bubble's.
func (p *place) until(what string, ok func() bool) {
	p.t.Helper()
	for range 3_600 {
		if ok() {
			return
		}
		pass(time.Second)
	}
	p.t.Fatalf("%s: not within an hour; the record is %+v", what, p.record())
}

func TestAReconcilerRepairsByItself(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			inPlace(t, kind, 3, nil, func(p *place) {
				p.add(150)
				p.mark()
				p.settle()
				var told announced
				defer p.reconciling(reconcile.ReconcilerOptions{Announce: told.add})()
				p.until("it was scrubbed", func() bool { return p.record().Scrubbed != nil })
				if r := p.record(); r.Open || r.Found > 0 || r.Scrubbed.Compared != 4 || len(told.all()) > 0 {
					t.Fatalf("of a healthy read model the record says %+v", r)
				}
				for _, ref := range p.pick(3) {
					p.edit(ref, func(f map[string]string) { f["sum"] += "1" })
				}
				p.until("it was repaired", func() bool { return p.record().Repaired != nil })
				r := p.record()
				if r.Open || r.Found != 3 || r.TotalFound != 3 || r.TotalRepaired != 3 || r.Repaired.Repaired != 3 || r.Repaired.Left != 0 || len(r.Findings) != 3 {
					t.Errorf("the record says %+v, %+v", r, r.Repaired)
				}
				for i, r := range told.all() { // at least once when it was found, and when it was repaired
					if last := i == len(told.all())-1; i == 0 && last || r.Open == last {
						t.Errorf("announced was %d: %+v", i, r)
					}
				}
				if left := p.examine(reconcile.Options{Deep: true}); len(left.Findings) > 0 {
					t.Errorf("left is %+v", left.Findings)
				}
			})
		})
	}
}

// slowStore takes a while for each page of documents, and says of each when it was read.
type slowStore struct {
	projections.Store

	page time.Duration
	met  map[string]time.Time
}

func (s *slowStore) Page(ctx context.Context, g projections.Generation, def *projections.Definition, partition int, after string, limit int) (projections.Header, []projections.Document, error) {
	pass(s.page)
	h, page, err := s.Store.Page(ctx, g, def, partition, after, limit)
	for i := range page {
		s.met[page[i].Key] = time.Now()
	}
	return h, page, err
}

// A scrub of a large read model takes minutes within its budget. What it meets does not wait for that.
func TestWhatAScrubMeetsIsRepairedWhileItGoesOn(t *testing.T) {
	inPlace(t, "accounts", 3, nil, func(p *place) {
		p.add(150)
		p.mark()
		p.settle()
		var of []projections.Ref // one of each partition
		for _, ref := range p.refs() {
			if ref.Partition == len(of) {
				of = append(of, ref)
			}
		}
		if len(of) != 4 {
			t.Fatalf("there are %v", of)
		}
		slow := &slowStore{Store: p.store, page: 4 * time.Second, met: map[string]time.Time{}} // of which a scrub rests for five
		right := make([]map[string]string, len(of))
		for i, ref := range of {
			right[i] = p.fieldsOf(ref)
			if i == 1 {
				p.vanish(ref)
			} else {
				p.edit(ref, func(f map[string]string) { f["sum"] += "1" })
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		var told announced
		r := reconcile.NewReconciler("us", p, slow, p.kv, p.leases, reconcile.ReconcilerOptions{Announce: told.add})
		go func() {
			defer close(done)
			_ = r.Run(ctx) // returns nil
		}()
		mended := make([]time.Time, len(of))
		for p.record().Scrubbed == nil {
			pass(10 * time.Millisecond)
			for i, ref := range of {
				if mended[i].IsZero() && maps.Equal(p.fieldsOf(ref), right[i]) {
					mended[i] = time.Now()
				}
			}
		}
		ended := p.record()
		for i, ref := range of {
			met := slow.met[ref.Key]
			if i == 1 {
				met = mended[0].Add(slow.page + 5*time.Second) // when the list of its partition had been read, in which it is not, and the scrub had rested
			}
			if mended[i].IsZero() || mended[i].Sub(met) > slow.page+time.Second {
				t.Errorf("the document of partition %d was repaired %s after it was met", i, mended[i].Sub(met))
			}
		}
		if len(told.all()) < len(of) || ended.Found != len(of) || !ended.Open || !ended.Since.Before(ended.Scrubbed.Ended) {
			t.Errorf("said was %d times, and in the end %+v", len(told.all()), ended)
		}
		p.until("it is over", func() bool { return !p.record().Open })
		if r := p.record(); r.Repaired.Repaired != len(of) || r.TotalRepaired != uint64(len(of)) || r.TotalFound != uint64(len(of)) || r.Repaired.Left > 0 || r.Repaired.Right > 0 {
			t.Errorf("the record says %+v, %+v", r, r.Repaired)
		}
		cancel()
		<-done
	})
}

// A document that is right by itself and old shows only in the sums of its partition: that is read in one burst, and rested for afterwards.
func TestWhatOnlySumsShowDoesNotWaitForTheBudget(t *testing.T) {
	inPlace(t, "many", 3, nil, func(p *place) {
		p.fill(16_000) // four to five pages in each partition
		p.settle()
		i := slices.IndexFunc(p.refs(), func(ref projections.Ref) bool { return ref.Partition == 2 })
		ref := p.refs()[i] // the first one in its partition
		old := p.fieldsOf(ref)
		_, err := p.log.Append(context.Background(), events.Batch{Events: []events.Event{{ID: "later", Source: "urn:test", Type: "Changed", Entity: events.Entity{Type: "acct", ID: ref.Key}, Data: []byte(`{"n":7,"tag":"t"}`)}}})
		if err != nil {
			t.Fatal(err)
		}
		p.settle()
		right := p.fieldsOf(ref)
		if maps.Equal(old, right) {
			t.Fatalf("%q was not changed", ref.Key)
		}
		p.edit(ref, func(f map[string]string) { clear(f); maps.Copy(f, old) })
		slow := &slowStore{Store: p.store, page: 100 * time.Millisecond, met: map[string]time.Time{}}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		r := reconcile.NewReconciler("us", p, slow, p.kv, p.leases, reconcile.ReconcilerOptions{})
		go func() {
			defer close(done)
			_ = r.Run(ctx) // returns nil
		}()
		began, mended := time.Now(), time.Time{}
		for p.record().Scrubbed == nil {
			pass(10 * time.Millisecond)
			if mended.IsZero() && maps.Equal(p.fieldsOf(ref), right) {
				mended = time.Now()
			}
		}
		if mended.IsZero() || mended.Sub(slow.met[ref.Key]) > 2*time.Second {
			t.Errorf("it was repaired %s after it was read", mended.Sub(slow.met[ref.Key]))
		}
		if took := time.Since(began); took < 30*time.Second || took > time.Minute { // some twenty pages, two seconds each
			t.Errorf("the scrub took %s", took)
		}
		cancel()
		<-done
	})
}

// A read model that is replaced while it is examined is examined anew, and nothing has failed.
func TestAReadModelIsReplacedWhileItIsRepaired(t *testing.T) {
	inPlace(t, "accounts", 3, nil, func(p *place) {
		p.add(150)
		p.settle()
		var of []projections.Ref // one of the first partition, and of the last one
		for _, ref := range p.refs() {
			if len(of) == 0 && ref.Partition == 0 || len(of) == 1 && ref.Partition == 3 {
				of = append(of, ref)
			}
		}
		for _, ref := range of {
			p.edit(ref, func(f map[string]string) { f["sum"] += "1" })
		}
		var seen mendings
		slow := &slowStore{Store: p.store, page: 10 * time.Second, met: map[string]time.Time{}}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		r := reconcile.NewReconciler("us", p, slow, p.kv, p.leases, reconcile.ReconcilerOptions{Observer: &seen})
		go func() {
			defer close(done)
			_ = r.Run(ctx) // returns nil
		}()
		p.until("the first one is repaired", func() bool { return p.record().TotalRepaired == 1 })
		if _, err := projections.RequestReplay(context.Background(), p.kv, p.kind, "a test", time.Now()); err != nil {
			t.Fatal(err)
		}
		p.until("it was examined", func() bool { now := p.record(); return now.Scrubbed != nil && now.Scrubbed.Generation == 2 })
		cancel()
		<-done
		if now := p.record(); now.Open || now.Failed != "" || now.TotalFound != 1 || now.TotalRepaired != 1 {
			t.Errorf("the record says %+v", now)
		}
		if n := seen.failed.Load(); n > 0 {
			t.Errorf("it was told of %d repairs that failed", n)
		}
	})
}

// mendings counts repairs that failed.
type mendings struct {
	examinations

	failed atomic.Int64
}

func (m *mendings) Mended(_ string, _ reconcile.Outcome, err error) {
	if err != nil {
		m.failed.Add(1)
	}
}

// Where more is wrong than is repaired one by one, nothing is: not early either, however many partitions it is spread over.
func TestBeyondAShareNothingIsRepairedEarly(t *testing.T) {
	inPlace(t, "many", 3, nil, func(p *place) {
		p.fill(6 * reconcile.MaxFindings)
		p.settle()
		for i, ref := range p.refs() {
			if i%4 == 0 {
				p.edit(ref, func(f map[string]string) { f["sum"] += "1" })
			}
		}
		defer p.reconciling(reconcile.ReconcilerOptions{})()
		p.until("a rebuild is asked for", func() bool {
			r := p.record()
			return r.Repaired != nil && r.Repaired.Code == string(reconcile.ErrRebuild)
		})
		if r := p.record(); !r.Open || r.TotalRepaired > 0 || r.Found != 6*reconcile.MaxFindings/4 || r.TotalFound != 6*reconcile.MaxFindings/4 {
			t.Errorf("the record says %d found, %d and %d in all, %+v", r.Found, r.TotalFound, r.TotalRepaired, r.Repaired)
		}
	})
}

func TestAReconcilerThatMayNotRepairReports(t *testing.T) {
	inPlace(t, "accounts", 3, nil, func(p *place) {
		p.add(100)
		p.settle()
		var told announced
		p.edit(p.pick(1)[0], func(f map[string]string) { f["sum"] += "1" })
		defer p.reconciling(reconcile.ReconcilerOptions{Announce: told.add, KeepWrong: true})()
		p.until("it was found", func() bool { return p.record().Open })
		pass(time.Hour)
		if r := p.record(); !r.Open || r.Repaired != nil || r.Found != 1 || len(p.examine(reconcile.Options{}).Findings) != 1 {
			t.Errorf("the record says %+v", r)
		}
	})
}

// What a projector folded wrongly has the right digest, so no scrub finds it; another region that has folded it rightly does.
func TestARegionThatDiffersIsExaminedAtOnce(t *testing.T) {
	inPlace(t, "accounts", 5, func(p *place) { plants()["an event is applied twice"](p, 90) }, func(p *place) {
		p.add(120)
		p.mark()
		p.settle()
		p.fixed.Store(true)
		standings := func(context.Context, string) []reconcile.Standing {
			_, recorded, err := p.store.Marks(context.Background(), p.gen())
			if err != nil {
				t.Error(err)
				return nil
			}
			us := reconcile.Standing{Region: "us", Projection: p.kind, Version: 1, Definition: p.proj.Definition().Fingerprint(), Partitions: 4, Marks: reconcile.Common(recorded)}
			us.Position = events.At(events.Point{Origin: "us", Lineage: "7f3a11d2", Term: 1, Sequence: 1})
			eu := us
			eu.Region, eu.Marks = "eu", slices.Clone(us.Marks)
			for i := range eu.Marks { // what a healthy projector records there
				eu.Marks[i].Sum = p.rightAt(eu.Marks[i].Sequence)
			}
			return []reconcile.Standing{us, eu}
		}
		defer p.reconciling(reconcile.ReconcilerOptions{Standings: standings, Deep: 1_000 * time.Hour})()
		began := time.Now()
		p.until("it was repaired", func() bool { return p.record().Repaired != nil })
		r := p.record()
		if took := time.Since(began); took > 2*time.Minute || r.Open || !r.Scrubbed.Deep || r.TotalRepaired == 0 {
			t.Errorf("after %s the record says %+v", took, r)
		}
		for i := range r.Findings {
			if f := &r.Findings[i]; f.Key != "" && (f.Outside || f.FirstBad == 0) {
				t.Errorf("the finding is %+v", f)
			}
		}
		if left := p.examine(reconcile.Options{Deep: true}); len(left.Findings) > 0 {
			t.Errorf("left is %+v", left.Findings)
		}
	})
}

// rightAt returns what all partitions should have been at a sequence.
func (p *place) rightAt(seq uint64) (sum reconcile.Sum) {
	p.t.Helper()
	surveys := make([]*projector.Survey, 4)
	for i := range surveys {
		surveys[i] = &projector.Survey{Partition: i, Upto: seq}
	}
	if err := projector.FoldPartitions(context.Background(), projector.Version{Projection: p.proj, Log: p.log}, 4, surveys); err != nil {
		p.t.Error(err)
	}
	for _, s := range surveys {
		sum.Digest, sum.Documents = sum.Digest.Add(s.Digest), sum.Documents+uint64(len(s.Documents))
	}
	return sum
}

// Headers that were damaged keep the projector from going on; the read model is then built anew. When all are of another history, it is the log that is another one.
func TestDamagedHeadersAreMendedByARebuild(t *testing.T) {
	for name, partitions := range map[string]int{"one": 1, "all": 4} {
		t.Run(name, func(t *testing.T) {
			inPlace(t, "accounts", 3, nil, func(p *place) {
				p.add(100)
				p.settle()
				p.stop()
				for i := range partitions {
					p.store.EditHeader(p.gen(), i, func(h *projections.Header) {
						h.Checkpoint = events.At(events.Point{Origin: "us", Lineage: "7f3a11d2", Term: 1, Sequence: 50})
					})
				}
				p.start()
				defer p.reconciling(reconcile.ReconcilerOptions{})()
				if partitions == 4 {
					pass(time.Hour)
					if p.gen().Number != 1 {
						t.Errorf("it was built anew from another history: %+v", p.gen())
					}
					return
				}
				p.until("it was built anew", func() bool { return p.gen().Number == 2 })
				p.settle()
				if left := p.examine(reconcile.Options{Deep: true}); len(left.Findings) > 0 {
					t.Errorf("left is %+v", left.Findings)
				}
			})
		})
	}
}

// So much is wrong that repairing documents one by one is not offered.
func TestBeyondAShareARebuildIsAskedFor(t *testing.T) {
	inPlace(t, "accounts", 3, nil, func(p *place) {
		r := &reconcile.Report{Region: "us", Projection: "accounts", Generation: 1, Documents: 10_000}
		for i := range 1_001 {
			r.Findings = append(r.Findings, reconcile.Finding{Projection: "accounts", Key: strings.Repeat("k", 1+i%50) + string(rune('a'+i/50)), Kind: reconcile.KindAltered})
		}
		r.More = 200
		plan := r.Plan(0)
		if plan.Rebuild == "" || len(plan.Repairs) > 0 {
			t.Errorf("the plan is %+v", plan)
		}
		_, err := reconcile.Execute(context.Background(), p.kv, &plan, nil)
		if code, _ := events.CodeOf(err); code != reconcile.ErrRebuild {
			t.Errorf("it answered %v", err)
		}
		if plan = r.Plan(0.5); plan.Rebuild != "" || len(plan.Repairs) == 0 {
			t.Errorf("with a larger share the plan is %+v", plan)
		}
	})
}

// A log that its own audit found damaged judges nothing: what it says could be what is wrong.
func TestADamagedLogJudgesNothing(t *testing.T) {
	inPlace(t, "accounts", 3, nil, func(p *place) {
		p.add(50)
		p.settle()
		p.edit(p.pick(1)[0], func(f map[string]string) { f["sum"] += "1" })
		audit := marks.Audit{Origin: "us", Region: "us", Finding: &marks.Finding{Kind: marks.Altered, From: 1, First: 7, Text: "a record cannot be read"}}
		if _, err := projections.WriteJSON(context.Background(), p.kv, marks.AuditKey("us"), audit, 0); err != nil {
			t.Fatal(err)
		}
		v := projector.Version{Projection: p.proj, Log: p.log}
		_, err := reconcile.Examine(context.Background(), "us", v, p.store, p.kv, reconcile.Options{Budget: 1})
		if code, _ := events.CodeOf(err); code != projections.ErrUntrustedLog {
			t.Errorf("it answered %v", err)
		}
		defer p.reconciling(reconcile.ReconcilerOptions{})()
		p.until("it says why it is not examined", func() bool { return strings.Contains(p.record().Failed, "fails its audit") })
		if r := p.record(); r.Repaired != nil || r.Found != 0 {
			t.Errorf("the record says %+v", r)
		}
	})
}

// empty has no read model for a while.
type empty struct {
	*place
	until time.Time
}

func (e empty) Names(ctx context.Context) ([]string, error) {
	if time.Now().Before(e.until) {
		return nil, nil
	}
	return e.place.Names(ctx)
}

// A read model that is made later is scrubbed soon, and not when the others are due again.
func TestANewReadModelIsScrubbedSoon(t *testing.T) {
	inPlace(t, "accounts", 3, nil, func(p *place) {
		p.add(20)
		p.settle()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		r := reconcile.NewReconciler("us", empty{p, time.Now().Add(30 * time.Second)}, p.store, p.kv, p.leases, reconcile.ReconcilerOptions{})
		go func() {
			defer close(done)
			_ = r.Run(ctx) // returns nil
		}()
		defer func() {
			cancel()
			<-done
		}()
		began := time.Now()
		p.until("it is scrubbed", func() bool { return p.record().Scrubbed != nil })
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %s", took)
		}
	})
}

// examinations counts what a reconciler examines.
type examinations struct {
	mu         sync.Mutex
	deep, some int
}

func (e *examinations) Compared(*reconcile.Verdict) {}

func (e *examinations) Examined(r *reconcile.Report) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.some++; r.Deep {
		e.deep++
	}
}

func (e *examinations) Mended(string, reconcile.Outcome, error) {}

func (e *examinations) count() (deep, some int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.deep, e.some
}

// A region that is right, beside one that stays wrong, is not folded again at each mark.
func TestARegionThatIsRightIsNotExaminedAtEachMark(t *testing.T) {
	inPlace(t, "accounts", 5, nil, func(p *place) {
		p.add(60)
		p.mark()
		p.settle()
		standings := func(context.Context, string) []reconcile.Standing {
			_, recorded, err := p.store.Marks(context.Background(), p.gen())
			if err != nil {
				t.Error(err)
				return nil
			}
			us := reconcile.Standing{Region: "us", Projection: p.kind, Version: 1, Definition: p.proj.Definition().Fingerprint(), Partitions: 4, Marks: reconcile.Common(recorded)}
			us.Position = events.At(events.Point{Origin: "us", Lineage: "7f3a11d2", Term: 1, Sequence: 1})
			eu := us
			eu.Region, eu.Marks = "eu", slices.Clone(us.Marks)
			for i := range eu.Marks {
				eu.Marks[i].Documents++ // that region stays wrong
			}
			return []reconcile.Standing{us, eu}
		}
		var seen examinations
		defer p.reconciling(reconcile.ReconcilerOptions{Standings: standings, Deep: 1_000 * time.Hour, Observer: &seen})()
		for range 360 { // an hour of marks
			p.mark()
			pass(10 * time.Second)
		}
		if deep, _ := seen.count(); deep < 1 || deep > 7 {
			t.Errorf("in an hour it was folded again %d times", deep)
		}
	})
}

// More than one report has room for is repaired in one go.
func TestMoreThanAReportHoldsIsRepairedAtOnce(t *testing.T) {
	inPlace(t, "many", 3, nil, func(p *place) {
		const n = 2*reconcile.MaxFindings + 300
		p.fill(n)
		p.settle()
		for _, ref := range p.refs() {
			p.edit(ref, func(f map[string]string) { f["sum"] += "1" })
		}
		defer p.reconciling(reconcile.ReconcilerOptions{Share: 1})()
		began := time.Now()
		p.until("all of it is repaired", func() bool { return p.record().TotalRepaired == n && !p.record().Open })
		if took := time.Since(began); took > reconcile.DefaultPause {
			t.Errorf("it took %s", took)
		}
	})
}
