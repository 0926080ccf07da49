package reconcile

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
)

// verdict is what the log said of a document.
type verdict struct {
	partition int
	position  string
	detected  time.Time
	judged    projector.Case
	misplaced bool
	foreign   bool // there is something that is no document
	unindex   []projections.IndexEntry
	lost      []string // indexes that lack it; empty text: the list of keys
}

// verdictOf names what is said of a key in a partition.
func verdictOf(partition int, key string) string { return key + "\x00" + strconv.Itoa(partition) }

// looked are documents of one partition that are judged together: all were read in one atomic step.
type looked struct {
	s     *scrubbed
	keys  []string
	was   inspected
	cases []projector.Case
}

// judge asks the log about everything that is suspect and was not judged yet. What changes too often is asked about again the next time.
func (x *examination) judge(ctx context.Context, all []*scrubbed) error {
	var waiting []*looked
	for _, s := range all {
		for _, key := range slices.Sorted(maps.Keys(s.misplaced)) {
			if x.verdicts[verdictOf(s.partition, key)] != nil {
				continue
			}
			if err := x.judgeMisplaced(ctx, s, key); err != nil {
				return err
			}
		}
		keys := slices.DeleteFunc(slices.Sorted(maps.Keys(s.suspects)), func(key string) bool { return x.verdicts[verdictOf(s.partition, key)] != nil })
		for chunk := range slices.Chunk(keys, projections.MaxInspected) {
			waiting = append(waiting, &looked{s: s, keys: chunk})
		}
	}
	for group := range slices.Chunk(waiting, judgedAtOnce/projections.MaxInspected) {
		for try := 0; len(group) > 0 && try < judgeTries; try++ {
			again, err := x.judgeSome(ctx, group)
			if err != nil {
				return err
			}
			group = again
		}
		for _, l := range group {
			for _, key := range l.keys {
				x.unjudged[verdictOf(l.s.partition, key)] = true
			}
		}
	}
	return nil
}

// judgeMisplaced looks whether a document is in a partition that is not its own.
func (x *examination) judgeMisplaced(ctx context.Context, s *scrubbed, key string) error {
	u := s.misplaced[key]
	now, err := x.ask(ctx, s.partition, []projections.Inspected{{Key: key, Entries: u.unindex}})
	if err != nil || now.header.State != projections.Live {
		return err
	}
	f := &now.found[0]
	if f.Document == nil && !f.Listed && !f.Foreign && !slices.Contains(f.Has, true) {
		return nil
	}
	x.verdicts[verdictOf(s.partition, key)] = &verdict{
		partition: s.partition, position: now.header.Checkpoint.String(), detected: x.now(), misplaced: true, foreign: f.Foreign, unindex: u.unindex, judged: projector.Case{Key: key, Found: f.Document},
	}
	return nil
}

// judgeSome has the log judge documents, and returns those that changed while they were looked at.
func (x *examination) judgeSome(ctx context.Context, group []*looked) (again []*looked, err error) {
	var cases []projector.Case
	for _, l := range group {
		if l.was, err = x.inspect(ctx, l.s.partition, l.keys); err != nil {
			return nil, err
		}
		if l.was.header.State != projections.Live {
			l.keys = nil // there is nothing to say of it
		}
		for i, key := range l.keys {
			cases = append(cases, projector.Case{Key: key, Upto: projections.SequenceOf(l.was.header.Checkpoint), Found: l.was.found[i].Document})
		}
	}
	done := x.budget.step()
	if err := projector.Judge(ctx, x.v, cases); err != nil {
		return nil, err
	}
	if err := done(ctx); err != nil {
		return nil, err
	}
	for _, l := range group {
		l.cases, cases = cases[:len(l.keys)], cases[len(l.keys):]
		keys, err := x.conclusion(ctx, l)
		if err != nil {
			return nil, err
		}
		if len(keys) > 0 {
			again = append(again, &looked{s: l.s, keys: keys})
		}
	}
	return again, nil
}

// conclusion compares what was judged with what is stored, and with the indexes; it returns the keys of the documents that changed meanwhile.
func (x *examination) conclusion(ctx context.Context, l *looked) (again []string, err error) {
	asked := make([]projections.Inspected, len(l.keys))
	right := make([]int, len(l.keys)) // how many of the entries are those that it should have
	for i, key := range l.keys {
		entries := x.entriesOf(l.cases[i].Right)
		right[i] = len(entries)
		asked[i] = projections.Inspected{Key: key, Entries: withOthers(entries, l.s.suspects[key].unindex)}
	}
	now, err := x.ask(ctx, l.s.partition, asked)
	if err != nil || now.header.State != projections.Live {
		return nil, err
	}
	for i := range l.cases {
		c, f := &l.cases[i], &now.found[i]
		if !same(c.Found, f.Document) {
			again = append(again, c.Key)
			continue
		}
		v := &verdict{partition: l.s.partition, position: l.was.header.Checkpoint.String(), detected: x.now(), judged: *c, foreign: f.Foreign}
		if !c.Wrong() && f.Listed != (c.Right != nil) {
			v.lost = append(v.lost, "")
		}
		for j, has := range f.Has {
			switch {
			case j < right[i] && !has && !c.Wrong():
				name, _ := x.def.IndexName(f.Entries[j].Index)
				v.lost = append(v.lost, name)
			case j >= right[i] && has:
				v.unindex = append(v.unindex, f.Entries[j])
			}
		}
		x.verdicts[verdictOf(l.s.partition, c.Key)] = v
	}
	return again, nil
}
