package reconcile

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/projector"
)

const (
	// DefaultBudget is the share of a core that an examination takes, unless it is told otherwise.
	DefaultBudget = 0.05
	// MaxFindings bounds the findings of one report; the others are counted.
	MaxFindings = 1_000
	// judgedAtOnce is how many documents the log is asked about at once. Where the log has to be read as a whole for them, that is done once for so many.
	judgedAtOnce = 5_000
	// judgeTries bounds how often a document that changes all the time is looked at again.
	judgeTries = 5
)

// Options of an examination. The zero value works.
type Options struct {
	// Budget is the share of one core that may be taken, and 1 is no limit; default DefaultBudget. It is an average: with Found, a partition is read with ten times as much, and half of a core at most, and that is rested for before the next one.
	Budget float64
	// Deep has every partition folded again from the log, and not only those that look wrong. So it finds also what was folded wrongly, and has the right digest.
	Deep bool
	// Snapshots are those of the region. Which documents changed last is read from one of them, and from the log only what came after; nil: all of it is read from the log.
	Snapshots projections.Snapshots
	// Found is told what is wrong with a partition as soon as the log has judged its documents, while the others are still to be examined; the report says it again in the end. Documents of the report so far are those of that partition. Documents of which each
	// has its entity's history are judged so early, others all together in the end. An error ends the examination. nil: nobody is told.
	Found func(ctx context.Context, soFar *Report) error
	// Hurry is the share of one core that may be taken from when something looks wrong until the log has judged it; default Budget.
	Hurry float64
	// Progress is told how many documents were read, of about how many; default: nobody is.
	Progress func(done, total uint64)
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Report is what an examination of one read model in one region came to.
type Report struct {
	Region     string    `json:"region"`
	Projection string    `json:"projection"`
	Version    int       `json:"version"`
	Generation uint32    `json:"generation"`
	Began      time.Time `json:"began"`
	Ended      time.Time `json:"ended"`
	Deep       bool      `json:"deep"`
	// Documents were read and compared with their digests.
	Documents uint64 `json:"documents"`
	// Partitions is how many there are, and Compared how many stood still for long enough to compare their sums.
	Partitions int `json:"partitions"`
	Compared   int `json:"compared"`
	// Findings are all that is wrong, sorted by partition and key; More counts those beyond MaxFindings.
	Findings []Finding `json:"findings"`
	More     int       `json:"more,omitempty"`
	// Unjudged counts documents that looked wrong and changed each time while the log was asked about them, so that nothing is said of them.
	Unjudged int `json:"unjudged,omitempty"`
	// Recount are the partitions whose sums are wrong.
	Recount []int `json:"recount,omitempty"`
}

// Examine compares what a region stores of a read model with what the log makes of it. v is the version that is live; its log is the region's own copy. It reads only, and goes on while events are
// applied: whatever looks wrong is judged by the log at the very position at which it was read, so nothing is reported that is right. It returns events.ErrConflict when another generation goes live meanwhile, or
// v is not what is live; and the errors of the store, the log and kv.
func Examine(ctx context.Context, region string, v projector.Version, store projections.Store, kv projections.KV, o Options) (*Report, error) {
	def := v.Projection.Definition()
	pointer, _, err := projections.ReadPointer(ctx, kv, def.Name)
	switch {
	case err != nil:
		return nil, err
	case pointer.Generation == 0:
		return nil, projections.UnknownProjection(def.Name)
	case pointer.Definition != def.Fingerprint():
		return nil, events.Errorf(events.ErrConflict, "version %d of %s is live, and version %d was to be examined", pointer.Version, def.Name, def.Version)
	}
	if err := trusted(ctx, region, v, kv); err != nil {
		return nil, err
	}
	x := &examination{
		v: v, def: def, store: store, gen: pointer.Live(def.Name), hasher: projections.NewHasher(def), indexer: projections.NewIndexer(def), options: o,
		budget: budget{share: cmp.Or(o.Budget, DefaultBudget)},
		report: Report{Region: region, Projection: def.Name, Version: def.Version, Generation: pointer.Generation, Partitions: pointer.Partitions, Deep: o.Deep, Findings: []Finding{}},
	}
	x.early = o.Found != nil && projector.ByHistory(def)
	x.v.Log = pacedLog{Reader: v.Log, budget: &x.budget}
	if x.options.Now == nil {
		x.options.Now = time.Now
	}
	x.progress = &progress{told: o.Progress}
	x.report.Began = x.now()
	if err := x.run(ctx); err != nil {
		return nil, err
	}
	if now, _, err := projections.ReadPointer(ctx, kv, def.Name); err != nil || now.Generation != pointer.Generation {
		return nil, cmp.Or(err, error(events.Errorf(events.ErrConflict, "generation %d of %s was replaced while it was examined", pointer.Generation, def.Name)))
	}
	x.report.Ended = x.now()
	return &x.report, nil
}

// trusted returns why the log cannot judge: its own audit found it damaged. Streams that are not ours are not audited.
func trusted(ctx context.Context, region string, v projector.Version, kv projections.KV) error {
	if v.Projection.Definition().Source != nil {
		return nil
	}
	return marks.Trusted(ctx, kv, v.Log.Origin(), region, "")
}

// examination is one examination.
type examination struct {
	v       projector.Version
	def     *projections.Definition
	store   projections.Store
	gen     projections.Generation
	hasher  *projections.Hasher
	indexer *projections.Indexer
	options Options
	budget  budget
	report  Report

	early    bool     // partitions are judged one by one
	expected expected // of the partition that is walked through
	progress *progress
	sizes    []uint64 // how many documents each partition had when it began
	from     uint64   // the lowest checkpoint then
	marks    [][]projections.PartitionMark
	past     []priors            // by partition
	verdicts map[string]*verdict // by verdictOf
	unjudged map[string]bool     // what changed too often; it may have been judged since
	last     *lastChanges        // of partitions whose sums are wrong, or may be; nil: nobody has asked
	alone    bool                // what the log says of several partitions is too much for last
}

func (x *examination) now() time.Time { return x.options.Now().UTC() }

// progress counts the documents that were read.
type progress struct {
	mu          sync.Mutex
	told        func(done, total uint64) // nil: nobody is told
	read, total uint64
}

func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read += uint64(n) //nolint:gosec // not negative
	if p.told != nil {
		p.told(min(p.read, p.total), p.total)
	}
}

func (x *examination) run(ctx context.Context) error {
	headers, marks, err := x.store.Marks(ctx, x.gen)
	if err != nil {
		return err
	}
	x.marks, x.past, x.verdicts, x.unjudged, x.from = marks, make([]priors, len(headers)), map[string]*verdict{}, map[string]bool{}, math.MaxUint64
	for i := range headers {
		x.sizes = append(x.sizes, headers[i].Documents)
		x.progress.total += headers[i].Documents
		x.from = min(x.from, projections.SequenceOf(headers[i].Checkpoint))
	}
	all := make([]*scrubbed, len(headers))
	defer func() { x.last.stop() }()
	if err := x.walk(ctx, all); err != nil {
		return err
	}
	for _, s := range all {
		x.report.Documents += s.read
		if s.settled {
			x.report.Compared++
		}
	}
	if err := x.strays(ctx, all); err != nil {
		return err
	}
	for _, s := range all { // also what was judged early and is not explained by that
		x.hurryFor(s)
	}
	if err := x.judge(ctx, all); err != nil {
		return err
	}
	for _, look := range []func(context.Context, []*scrubbed) error{x.narrow, x.fold} {
		if err := look(ctx, all); err != nil {
			return err
		}
		if err := x.judge(ctx, all); err != nil { // what is suspect now
			return err
		}
	}
	x.conclude(all)
	return nil
}

// atOnce is how many partitions are walked through at once where the work has no bound: what is stored of one is read while another one is looked at.
const atOnce = 2

// walk walks through all partitions.
func (x *examination) walk(ctx context.Context, all []*scrubbed) (err error) {
	switch {
	case x.early:
		return x.walkEarly(ctx, all)
	case x.budget.share < 1:
		for i := range all {
			if all[i], err = x.scrub(ctx, i); err != nil {
				return err
			}
		}
		return nil
	}
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	walked := make(chan *scrubbed, len(all))
	var next atomic.Int64
	var walking sync.WaitGroup
	for range atOnce {
		own := *x // what is used for one partition after the other
		own.hasher, own.indexer, own.expected = projections.NewHasher(x.def), projections.NewIndexer(x.def), expected{}
		walking.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(all)) && within.Err() == nil; i = next.Add(1) - 1 {
				s, err := own.scrub(within, int(i))
				if err != nil {
					cancel(err)
					return
				}
				walked <- s
			}
		})
	}
	go func() {
		walking.Wait()
		close(walked)
	}()
	for s := range walked {
		all[s.partition] = s
		if within.Err() == nil {
			if err := x.lookBeside(ctx, within, s); err != nil {
				cancel(err)
			}
		}
	}
	return context.Cause(within)
}

// same reports whether a document was not changed from one look to the next.
func same(a, b *projections.Document) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.At == b.At && a.Digest == b.Digest && a.Parked == b.Parked && slices.Equal(a.Values, b.Values)
}

// entriesOf returns the entries of indexes that a document should have.
func (x *examination) entriesOf(d *projections.Document) (list []projections.IndexEntry) {
	if d == nil {
		return nil
	}
	for place := projections.FirstIndex; place < len(x.def.Indexes); place++ {
		name, err := x.def.IndexName(place)
		if err != nil {
			continue
		}
		if value, ok := x.def.IndexValue(name, d); ok {
			list = append(list, projections.IndexEntry{Index: place, Value: value})
		}
	}
	return list
}

// conclude makes the findings.
func (x *examination) conclude(all []*scrubbed) {
	for id := range x.unjudged {
		if x.verdicts[id] == nil {
			x.report.Unjudged++
		}
	}
	found := make(map[int]bool)
	for _, id := range slices.Sorted(maps.Keys(x.verdicts)) {
		for _, f := range x.findings(x.verdicts[id]) {
			found[f.Partition] = true
			x.report.Findings = append(x.report.Findings, f)
		}
	}
	slices.Sort(x.report.Recount)
	for _, n := range x.report.Recount {
		if !found[n] {
			x.report.Findings = append(x.report.Findings, Finding{
				Region: x.report.Region, Projection: x.report.Projection, Generation: x.report.Generation, Partition: n, Kind: KindPartition,
				Position: all[n].header.Checkpoint.String(), LastGood: x.past[n].good, Detected: x.now(),
			})
		}
	}
	for _, s := range all {
		for _, u := range s.unreadable {
			f := Finding{
				Region: x.report.Region, Projection: x.report.Projection, Generation: x.report.Generation, Partition: s.partition, Kind: KindExtra, Member: u.entry,
				Position: s.header.Checkpoint.String(), Outside: true, Detected: x.now(),
			}
			if u.index != "" {
				f.Kind, f.Index, f.Entry = KindIndex, u.index, EntryExtra
			}
			x.report.Findings = append(x.report.Findings, f)
		}
	}
	slices.SortStableFunc(x.report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Key, b.Key))
	})
	if n := len(x.report.Findings); n > MaxFindings {
		x.report.Findings, x.report.More = x.report.Findings[:MaxFindings], n-MaxFindings
	}
}

// findings returns what is wrong with one document.
func (x *examination) findings(v *verdict) []Finding {
	list := x.wrong(v)
	for i := range list {
		f := &list[i]
		f.Region, f.Projection, f.Generation, f.Partition = x.report.Region, x.report.Projection, x.report.Generation, v.partition
		f.Position, f.Detected = v.position, v.detected
	}
	return list
}

func (x *examination) wrong(v *verdict) (list []Finding) {
	past := x.past[v.partition]
	switch {
	case v.misplaced:
		return []Finding{{Key: v.judged.Key, Kind: KindExtra, Found: contentOf(v.judged.Found), Outside: true, Misplaced: true, Foreign: v.foreign, unindex: v.unindex}}
	case v.foreign && v.judged.Right == nil:
		return []Finding{{Key: v.judged.Key, Kind: KindExtra, Outside: true, Foreign: true, unindex: v.unindex}}
	case v.judged.Wrong():
		f := judged(x.def, &v.judged, past)
		f.unindex, f.Foreign = v.unindex, v.foreign
		f.Outside = f.Outside || v.foreign
		return []Finding{f}
	}
	for _, name := range v.lost {
		list = append(list, Finding{Key: v.judged.Key, Kind: KindIndex, Index: name, Entry: EntryMissing, Found: contentOf(v.judged.Found), Outside: true})
	}
	for _, e := range v.unindex {
		name, _ := x.def.IndexName(e.Index)
		list = append(list, Finding{
			Key: v.judged.Key, Kind: KindIndex, Index: name, Entry: EntryExtra, Found: contentOf(v.judged.Found), Outside: true, unindex: []projections.IndexEntry{e},
		})
	}
	return list
}
