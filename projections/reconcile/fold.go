package reconcile

import (
	"context"
	"maps"
	"slices"

	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
)

const (
	// foldedAtOnce bounds the documents of partitions that are folded again in one pass over the log, for all of them are in memory then.
	foldedAtOnce = 250_000
	// narrowedAtOnce bounds those of which only the last record is looked for.
	narrowedAtOnce = 4_000_000
	// narrowed bounds the documents of a partition that are suspected by their last record: beyond it folding all of them is cheaper than judging each.
	narrowed = 1_000
)

// explained reports whether the sums of a partition are what they should be once each document that was judged is as the log says, and all others are as they are. Then its projector counted every
// one of these right, and what is stored of them was changed outside of the log.
func (x *examination) explained(s *scrubbed) bool {
	at := projections.SequenceOf(s.header.Checkpoint)
	sum := s.sum()
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
	upto := make([]uint64, len(all))
	var size uint64
	flush := func() error {
		if size == 0 {
			return nil
		}
		done := x.budget.step()
		last := make([]lastChanges, len(all))
		for i, s := range all {
			if upto[i] > 0 {
				last[i] = lastChanges{s: s, of: make([]uint64, len(s.seen)), others: map[string]bool{}}
			}
		}
		if err := projector.LastChanges(ctx, x.v, x.options.Snapshots, upto, func(partition int, key string, sequence uint64) { last[partition].note(key, sequence) }); err != nil {
			return err
		}
		for i := range last {
			if upto[i] > 0 {
				x.compareLast(&last[i])
			}
		}
		clear(upto)
		size = 0
		return done(ctx)
	}
	for i, s := range all {
		if !s.settled || !s.sums || x.explained(s) {
			continue
		}
		if size+s.header.Documents > narrowedAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
		upto[i], size = projections.SequenceOf(s.header.Checkpoint), size+max(s.header.Documents, 1)
	}
	return flush()
}

// lastChanges are the last records about the documents of a partition.
type lastChanges struct {
	s      *scrubbed
	of     []uint64        // by their places in seen; 0: there is none
	others map[string]bool // keys of records about what is not stored
}

func (l *lastChanges) note(key string, sequence uint64) {
	if at, stored := l.s.place(key); stored {
		l.of[at] = max(l.of[at], sequence)
	} else {
		l.others[key] = true
	}
}

// compareLast suspects documents by the last record that is about each. Too many are no suspects: then the partition is folded.
func (x *examination) compareLast(l *lastChanges) {
	keys := slices.Collect(maps.Keys(l.others))
	for at := range l.s.seen {
		if d := &l.s.seen[at]; !d.gone && (l.of[at] == 0 || l.of[at] != d.sequence) {
			keys = append(keys, l.s.keys.at(at))
		}
	}
	if len(keys) > narrowed {
		return
	}
	for _, key := range keys {
		l.s.doubt(key, x.gen.Partitions)
	}
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
		at := projections.SequenceOf(s.header.Checkpoint)
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
