package marks

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"tidemark.dev/events"
)

// Other is another region's copy of the log. Close ends its use.
type Other interface {
	events.Reader
	Close()
}

// Opener opens another region's copy of the log. Errors are those of events.Reader, and ErrUnsafeLog.
type Opener func(ctx context.Context) (Other, error)

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
// chain of the mark over them, if there is one. It returns a digest of each record. An error says nothing about them.
func (a *Auditor) ask(ctx context.Context, f *Finding, open Opener) (holds bool, sums []events.Hash, err error) {
	ctx, cancel := context.WithTimeout(ctx, inquiry)
	defer cancel()
	other, err := open(ctx)
	if err == nil {
		defer other.Close()
		if holds, err = continues(ctx, other, &a.audit, f.From, max(f.To, f.First)); holds {
			holds, sums, err = compareRange(ctx, other, f)
		}
	}
	for _, code := range [...]events.Code{events.ErrForeignHistory, events.ErrDamaged, events.ErrHole, events.ErrUnsafeLog, events.ErrNoLog, events.ErrNotFound} {
		if errors.Is(err, code) {
			return false, nil, nil
		}
	}
	return holds, sums, err
}

// continues reports whether a copy is on the history that was audited, and reaches from one sequence to another.
func continues(ctx context.Context, other events.Reader, a *Audit, from, upto uint64) (bool, error) {
	info, err := other.Info(ctx)
	if err != nil || info.Terms.Lineage != a.Lineage || info.First > max(info.Begins, 1) || info.First > max(from, 1) || info.Last < upto {
		return false, err
	}
	for i := range min(anchors, len(a.Good)) {
		g := &a.Good[len(a.Good)-1-i]
		if g.Sequence > info.Last || g.Sequence < info.First {
			continue
		}
		r, err := other.Record(ctx, g.Sequence)
		if err != nil || r.Fingerprint().String() != g.Print {
			return false, err
		}
	}
	return true, nil
}

// compareRange reads what is in question from another copy.
func compareRange(ctx context.Context, other events.Reader, f *Finding) (holds bool, sums []events.Hash, err error) {
	to := min(max(f.To, f.First), f.From+events.MaxMarkRange-1)
	var chain events.Chain
	for records, err := range other.Read(ctx, events.Range{From: f.From, To: to}) {
		if err != nil {
			return false, nil, err
		}
		for i := range records {
			chain.Add(&records[i])
			sums = append(sums, sumOf(&records[i]))
		}
	}
	if uint64(len(sums)) != to-f.From+1 {
		return false, nil, ended(ctx, "the other copy of %s ended while it was read", other.Origin())
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
