package projector

import (
	"context"
	"slices"

	"tidemark.dev/projections"
)

const (
	// demandRoom is how many demands may wait for the engine to finish its batch. One that finds no room is lost: whoever waits posts it again.
	demandRoom = 256
	// maxWants bounds the different sequences that a partition remembers to be wanted. The highest are forgotten: they are the farthest in the future, if not made up.
	maxWants = 16
)

// demand hands a reader's demand to the engine that follows the log.
func (p *Projector) demand(d projections.Demand) {
	select {
	case p.demands <- d:
	default:
	}
}

// want takes note of a demand, and of all others that came meanwhile.
func (e *engine) want(d projections.Demand) {
	for {
		point, ours := d.Position.Point(e.log.Origin())
		for i := 0; ours && point.Lineage == e.terms.Lineage && i < len(e.parts); i++ {
			if d.Partitions.Has(i) {
				e.parts[i].want(point.Sequence)
			}
		}
		select {
		case d = <-e.demands:
		default:
			return
		}
	}
}

// want remembers a sequence that a reader waits for. One that is made up takes the place of none that is not: it is far ahead, or wanted once only.
func (p *partition) want(seq uint64) {
	i, known := slices.BinarySearch(p.wants, seq)
	if known || seq <= p.seq || i == maxWants {
		return
	}
	if len(p.wants) == maxWants {
		p.wants = p.wants[:maxWants-1]
	}
	p.wants = slices.Insert(p.wants, i, seq)
}

// oblige moves the partitions that somebody waits for up to the tip, once that is where they are wanted, and those that are complete and not live yet. All others
// are left alone: they follow after a while.
func (e *engine) oblige(ctx context.Context) error {
	if !e.obliged() {
		return nil
	}
	e.begin()
	for i := range e.parts {
		p := &e.parts[i]
		p.touched = p.due(e.tip.seq) || e.complete(p)
	}
	if err := e.commit(ctx); err != nil {
		return err
	}
	e.committed(ctx, nil)
	return nil
}

// obliged forgets the wants that are met, and reports whether something is due.
func (e *engine) obliged() (is bool) {
	for i := range e.parts {
		p := &e.parts[i]
		p.met()
		is = is || p.due(e.tip.seq) || e.complete(p)
	}
	return is
}

// due reports whether somebody waits for a sequence that is applied everywhere and that the partition is not at.
func (p *partition) due(tip uint64) bool { return len(p.wants) > 0 && p.seq < tip && p.wants[0] <= tip }

// met forgets the wants up to the checkpoint.
func (p *partition) met() {
	if len(p.wants) == 0 {
		return
	}
	n, found := slices.BinarySearch(p.wants, p.seq)
	if found {
		n++
	}
	p.wants = slices.Delete(p.wants, 0, n)
}

// notify tells readers which partitions a commit has moved.
func (e *engine) notify() {
	s := e.options.Signals
	if s == nil || !e.live.Load() {
		return
	}
	n := projections.Notice{Projection: e.def.Name, Generation: e.gen.Number, Sequence: e.tip.seq}
	for i := range e.batch.commits {
		c := &e.batch.commits[i]
		n.Moved.Add(c.Partition)
		if len(c.Writes) > 0 {
			n.Written.Add(c.Partition)
		}
	}
	s.Notify(n)
}
