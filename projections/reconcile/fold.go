package reconcile

import (
	"cmp"
	"context"
	"slices"

	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
)

const (
	// foldedAtOnce bounds the documents of partitions that are folded again in one pass over the log, for all of them are in memory then.
	foldedAtOnce = 250_000
	// narrowedAtOnce bounds those of which only the last record is looked for, and notedAtOnce all that a record is about, removed ones too.
	narrowedAtOnce = 4_000_000
	notedAtOnce    = 2 * narrowedAtOnce
	// narrowed bounds the documents of a partition that are suspected by their last record: beyond it folding all of them is cheaper than judging each.
	narrowed = 1_000
)

// explained reports whether the sums of a partition are what they should be once each document that was judged is as the log says, and all others are as they are. Then its projector counted every
// one of these right, and what is stored of them was changed outside of the log.
func (x *examination) explained(s *scrubbed) bool {
	at, sum := s.at(), s.sum()
	for _, v := range x.verdicts {
		if v.partition != s.partition {
			continue
		}
		if d, counted := s.find(v.judged.Key); counted {
			sum.take(d)
		}
		if n := len(v.judged.Touched); n > 0 && v.judged.Touched[n-1] > at {
			return false // it has changed since
		}
		if right := v.judged.Right; right != nil {
			if sequence, ok := projections.SequenceIn(right.At); !ok || sequence > at {
				return false
			}
			sum.add(seen{digest: right.Digest, parked: right.Parked != ""})
		}
	}
	return sum == sumOf(&s.header)
}

// narrow finds out which documents make the sums of partitions wrong, where what was judged so far does not: those whose last record is not the last one about them, and those that no record is
// about. That needs one pass over the log, in which nothing is folded.
func (x *examination) narrow(ctx context.Context, all []*scrubbed) error {
	if x.options.Deep {
		return nil // all are folded again anyway
	}
	var list []int
	for i, s := range all {
		if x.unexplained(s) {
			list = append(list, i)
		}
	}
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(all[a].at(), all[b].at()) }) // the log is read on from one to the next
	for n, i := range list {
		done := x.budget.step()
		if err := x.compareLast(ctx, all[i], list[n:]); err != nil {
			return err
		}
		if err := done(ctx); err != nil {
			return err
		}
	}
	return nil
}

// unexplained reports whether the sums of a partition are wrong, and what was judged so far does not explain that.
func (x *examination) unexplained(s *scrubbed) bool { return s.settled && s.sums && !x.explained(s) }

// at returns the checkpoint for which a partition's sums were compared.
func (s *scrubbed) at() uint64 { return projections.SequenceOf(s.header.Checkpoint) }

// compareLast suspects documents of a partition by the last record that is about each. Too many are no suspects: then the partition is folded. next are the partitions that may be asked about, beginning
// with this one.
func (x *examination) compareLast(ctx context.Context, s *scrubbed, next []int) error {
	if x.alone {
		next = []int{s.partition}
	}
	if x.last == nil || x.last.of[s.partition] == nil {
		x.last.stop()
		x.last = newLastChanges(x.sizes, next)
	}
	if err := x.last.read(ctx, x.v, x.options.Snapshots, s.at()); err != nil {
		return err
	}
	if x.last.noted >= notedAtOnce { // not all of them are known
		if x.alone {
			return nil
		}
		x.last.stop()
		x.last, x.alone = nil, true
		return x.compareLast(ctx, s, next)
	}
	last := x.last.of[s.partition]
	var keys []string
	told := uint64(0)
	for place, sequence := range last.sequence {
		key := last.keys.at(place)
		d, stored := s.find(key)
		if stored {
			told++
		}
		if !stored || d.sequence != sequence {
			keys = append(keys, key)
		}
	}
	if told < s.stored() { // no record is about some of them
		for at := range s.seen {
			if key := s.keys.at(at); !s.seen[at].gone && !last.has(key) {
				keys = append(keys, key)
			}
		}
	}
	if len(keys) > narrowed {
		return nil
	}
	for _, key := range keys {
		s.doubt(key, x.gen.Partitions)
	}
	return nil
}

// lookBeside begins to read which records are the last ones, while the other partitions are walked through, where what is suspect in one does not explain its sums. It reads up to where no partition is beyond.
// ctx is that of the examination, and within that of the walk.
func (x *examination) lookBeside(ctx, within context.Context, s *scrubbed) error {
	if x.options.Deep || x.last != nil || !s.sums || !projector.ByHistory(x.def) || x.progress.total > narrowedAtOnce {
		return nil
	}
	if err := x.judge(within, []*scrubbed{s}); err != nil || !x.unexplained(s) {
		return err
	}
	all := make([]int, len(x.sizes))
	for i := range all {
		all[i] = i
	}
	x.last = newLastChanges(x.sizes, all)
	x.last.begin(ctx, x.v, x.options.Snapshots, x.from)
	return nil
}

// stored returns how many documents are there.
func (s *scrubbed) stored() (n uint64) {
	for i := range s.seen {
		if !s.seen[i].gone {
			n++
		}
	}
	return n
}

// lastChanges are the last records about the documents of some partitions, as far as the log was read for them: in one pass for all of them. A partition that is behind where that is by then may
// have documents that are suspected and right.
type lastChanges struct {
	of    []*lastChange // by partition; nil: it is not one of them
	to    uint64
	noted int // documents; none beyond notedAtOnce

	ahead  chan struct{} // closed once what begin began has ended; nil: nothing was begun
	failed error         // of what begin began
	cancel context.CancelFunc
}

// lastChange are those of one partition.
type lastChange struct {
	keys     *keys
	sequence []uint64 // of each, by the place of its key
}

// newLastChanges returns empty ones for the first of some partitions, and for as many others as fit into memory. sizes are the numbers of documents of all partitions.
func newLastChanges(sizes []uint64, list []int) *lastChanges {
	l := &lastChanges{of: make([]*lastChange, len(sizes))}
	var size uint64
	for i, partition := range list {
		if size += sizes[partition]; i > 0 && size > narrowedAtOnce {
			break
		}
		n := min(sizes[partition], maxExpected)
		l.of[partition] = &lastChange{keys: newKeys(n), sequence: make([]uint64, 0, n)}
	}
	return l
}

// begin begins to read; the next call of read or stop waits for it.
func (l *lastChanges) begin(ctx context.Context, v projector.Version, kept projections.Snapshots, to uint64) {
	ctx, l.cancel = context.WithCancel(ctx)
	l.ahead = make(chan struct{})
	go func() {
		defer close(l.ahead)
		l.failed = l.take(ctx, v, kept, to)
	}()
}

// stop ends what begin began. l may be nil.
func (l *lastChanges) stop() {
	if l == nil || l.ahead == nil {
		return
	}
	l.cancel()
	<-l.ahead
}

// read reads the log on.
func (l *lastChanges) read(ctx context.Context, v projector.Version, kept projections.Snapshots, to uint64) error {
	if l.ahead != nil {
		if <-l.ahead; l.failed != nil {
			return l.failed
		}
	}
	return l.take(ctx, v, kept, to)
}

func (l *lastChanges) take(ctx context.Context, v projector.Version, kept projections.Snapshots, to uint64) error {
	err := projector.LastChanges(ctx, v, kept, len(l.of), l.to, to, func(partition int, key string, sequence uint64) {
		if of := l.of[partition]; of != nil && l.noted < notedAtOnce && of.note(key, sequence) {
			l.noted++
		}
	})
	if err == nil { // otherwise the examination ends
		l.to = max(l.to, to)
	}
	return err
}

// has reports whether a record is about a document.
func (l *lastChange) has(key string) bool {
	_, ok := l.keys.find(key)
	return ok
}

// note takes in a record, and reports whether it is the first one about its document.
func (l *lastChange) note(key string, sequence uint64) bool {
	at, added := l.keys.add(key)
	if added {
		l.sequence = append(l.sequence, sequence)
	} else {
		l.sequence[at] = max(l.sequence[at], sequence)
	}
	return added
}

// fold folds those partitions again of which something is to be learned: all of them when it goes deep, otherwise those whose sums are wrong, and those with a document that is wrong though its
// digest is right, unless what was judged explains that.
func (x *examination) fold(ctx context.Context, all []*scrubbed) error {
	var group []*projector.Survey
	var size uint64
	flush := func() error {
		if len(group) == 0 {
			return nil
		}
		done := x.budget.step()
		if err := projector.FoldPartitions(ctx, x.v, x.gen.Partitions, group); err != nil {
			return err
		}
		for _, survey := range group {
			x.surveyed(all[survey.Partition], survey)
		}
		group, size = nil, 0
		return done(ctx)
	}
	genuine := x.genuine()
	for i, s := range all {
		switch {
		case !s.settled, !x.options.Deep && !s.sums && !genuine[i]:
			continue
		case !x.options.Deep && x.explained(s):
			x.past[i] = priors{known: true}
			continue
		case size+s.header.Documents > foldedAtOnce:
			if err := flush(); err != nil {
				return err
			}
		}
		at := s.at()
		marks := slices.DeleteFunc(slices.Clone(x.marks[i]), func(m projections.PartitionMark) bool { return m.Sequence > at })
		group, size = append(group, &projector.Survey{Partition: i, Upto: at, Marks: marks}), size+s.header.Documents
	}
	return flush()
}

// genuine says which partitions have a document that is wrong though its digest is right.
func (x *examination) genuine() map[int]bool {
	in := map[int]bool{}
	for _, v := range x.verdicts {
		if v.judged.Wrong() && !forged(x.def, v.judged.Found) && !v.misplaced && !v.foreign {
			in[v.partition] = true
		}
	}
	return in
}

// surveyed takes in what a partition should have been at the moment for which it was read.
func (x *examination) surveyed(s *scrubbed, survey *projector.Survey) {
	h := &s.header
	wrong := survey.Digest != h.Digest || uint64(len(survey.Documents)) != h.Documents || survey.Parked != h.Parked
	x.past[s.partition] = priors{known: true, good: survey.Good, wrong: wrong || survey.Bad != 0}
	if wrong {
		x.report.Recount = append(x.report.Recount, s.partition)
	}
	for key, want := range survey.Documents {
		if got, ok := s.find(key); !ok || got.digest != want.Digest {
			s.doubt(key, x.gen.Partitions)
		}
	}
	for at := range s.seen {
		if s.seen[at].gone {
			continue
		}
		key := s.keys.at(at)
		if _, ok := survey.Documents[key]; !ok {
			s.doubt(key, x.gen.Partitions)
		}
	}
}
