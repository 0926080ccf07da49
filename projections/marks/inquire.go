package marks

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"time"

	"tidemark.dev/events"
)

// Other is another region's copy of the log. Info is asked first. Close ends its use.
type Other interface {
	Close()
	Info(ctx context.Context) (events.Info, error)
	Record(ctx context.Context, seq uint64) (events.Record, error)
	// Walk yields the records with sequence >= from, in order, each content checked. What is missing is left out. An error ends it.
	Walk(ctx context.Context, from uint64) iter.Seq2[events.Record, error]
}

const (
	// inquiry bounds the questions to one region.
	inquiry = time.Minute
	// anchors is how many of the good marks another region is asked about.
	anchors = 3
)

// inquire asks other regions what they hold in place of what was found, and returns the finding with what they said.
func (a *Auditor) inquire(ctx context.Context, f *Finding) *Finding {
	g := *f
	g.Holds, g.Asked, g.Mirror = nil, nil, false
	asking, cancel := context.WithTimeout(ctx, inquiry)
	defer cancel()
	others, err := a.options.Others(asking)
	if err != nil {
		a.options.Logger.DebugContext(ctx, "other regions cannot be asked about the log", "reason", err.Error())
	}
	for _, region := range slices.Sorted(maps.Keys(others)) {
		holds, sums, err := a.ask(ctx, &g, others[region])
		others[region].Close()
		if err != nil {
			continue // it does not answer: it is asked again
		}
		g.Asked = append(g.Asked, region)
		if !holds {
			continue
		}
		g.Holds = append(g.Holds, region)
		if !g.Exact && len(sums) > 0 {
			if seq, err := a.differs(ctx, g.From, sums); err == nil && seq != 0 {
				g.First, g.Exact = seq, true
			}
		}
	}
	// What a copy has lost at its end comes back by itself, and which of two histories is right is for a person to say.
	g.Mirror = (f.Kind == Hole || f.Kind == Altered) && a.options.Region != a.options.Leader && slices.Contains(g.Holds, a.options.Leader)
	return &g
}

// ask reports whether another region holds the records that are in question as they were: it is on the history that was audited, holds every record of the range, and comes to the
// chain of the mark over them, if there is one. It returns a digest of each record.
func (a *Auditor) ask(ctx context.Context, f *Finding, other Other) (holds bool, sums []events.Hash, err error) {
	ctx, cancel := context.WithTimeout(ctx, inquiry)
	defer cancel()
	info, err := other.Info(ctx)
	for _, code := range [...]events.Code{events.ErrForeignHistory, events.ErrDamaged, events.ErrHole, events.ErrUnsafeLog, events.ErrNoLog} {
		if errors.Is(err, code) {
			return false, nil, nil
		}
	}
	if err != nil {
		return false, nil, err
	}
	to := max(f.To, f.First)
	if info.Terms.Lineage != a.audit.Lineage || info.First > 1 || info.Last < to {
		return false, nil, nil
	}
	for i := range min(anchors, len(a.audit.Good)) {
		g := &a.audit.Good[len(a.audit.Good)-1-i]
		if g.Sequence > info.Last {
			continue
		}
		r, err := other.Record(ctx, g.Sequence)
		switch {
		case errors.Is(err, events.ErrNotFound), errors.Is(err, events.ErrDamaged):
			return false, nil, nil
		case err != nil:
			return false, nil, err
		case r.Fingerprint().String() != g.Print:
			return false, nil, nil
		}
	}
	var chain events.Chain
	next := f.From
	for r, err := range other.Walk(ctx, f.From) {
		switch {
		case errors.Is(err, events.ErrDamaged):
			return false, nil, nil
		case err != nil:
			return false, nil, err
		case r.Sequence != next:
			return false, nil, nil // one is missing
		}
		chain.Add(&r)
		sums = append(sums, sumOf(&r))
		if next++; next > to || len(sums) >= events.MaxMarkRange {
			break
		}
	}
	switch {
	case ctx.Err() != nil:
		return false, nil, context.Cause(ctx)
	case next <= to && len(sums) < events.MaxMarkRange:
		return false, nil, nil
	}
	return f.Chain == "" || f.Chain == chain.Sum().String(), sums, nil
}

// differs returns the first of the records from a sequence on that is not in the log as the digests say; 0 when all are.
func (a *Auditor) differs(ctx context.Context, from uint64, sums []events.Hash) (uint64, error) {
	seq := from
	for records, err := range a.log.Read(ctx, events.Range{From: from, To: from + uint64(len(sums)) - 1}) {
		if err != nil {
			if broken(err, seq) != nil {
				return seq, nil
			}
			return 0, err
		}
		for i := range records {
			if sumOf(&records[i]) != sums[seq-from] {
				return seq, nil
			}
			seq++
		}
	}
	return 0, ctx.Err()
}

// sumOf returns a digest of everything that a chain covers of one record.
func sumOf(r *events.Record) events.Hash {
	var c events.Chain
	c.Add(r)
	return c.Sum()
}
