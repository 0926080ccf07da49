package reconcile

import (
	"cmp"
	"fmt"
	"slices"

	"tidemark.dev/events"
)

// Result is what comparing the regions' read models of one projection came to.
type Result string

// The results. What is not known is never equal.
const (
	Equal     Result = "equal"     // every region had the same documents at the same mark
	Different Result = "different" // two regions had different ones at a mark
	Unknown   Result = "unknown"   // nothing is known to differ, and not everything was compared
)

// Verdict is what comparing said of one projection.
type Verdict struct {
	Projection string `json:"projection"`
	Result     Result `json:"result"`
	// Sequence and Number are the mark that the result is about: the newest that all regions have recorded, or, of a difference, the newest at which two regions differ. 0: there is none.
	Sequence uint64 `json:"sequence,omitempty"`
	Number   uint64 `json:"number,omitempty"`
	// Regions are in the order of their names.
	Regions []Told `json:"regions"`
	// Reasons say what keeps the result from being equal, or what else is not known of a difference.
	Reasons []Reason `json:"reasons,omitempty"`
	// Partitions are those that differ, once Narrow was told; Whole says that there are none because the regions partition differently or do not say.
	Partitions []Difference `json:"partitions,omitempty"`
	Whole      *Reason      `json:"partitions_unknown,omitempty"`
}

// Told is what one region said of the projection, but for all its marks.
type Told struct {
	Standing
	// Newest is its newest mark, and Here what it had come to at the verdict's; nil when there is none.
	Newest *Mark `json:"newest,omitempty"`
	Here   *Sum  `json:"here,omitempty"`
}

// Difference is a partition that differs, and what each region had of it, in the order of the verdict's regions that say so.
type Difference struct {
	Partition int       `json:"partition"`
	Regions   []InPlace `json:"regions"`
}

// InPlace is a Sum of a region.
type InPlace struct {
	Region string `json:"region"`
	Sum
}

// Healthy reports whether the marks of all regions say something of now.
func (v *Verdict) Healthy() bool {
	return !slices.ContainsFunc(v.Regions, func(t Told) bool { return t.Unhealthy != nil })
}

// Holds reports whether the regions are equal, and none of them has stopped passing marks.
func (v *Verdict) Holds() bool { return v.Result == Equal && v.Healthy() }

// Compare compares what regions say of one projection: all of the installation's, those too that say nothing (Unknown). It depends on nothing else, and not on their order.
//
// Two regions that answer from the same definition and the same history are compared at the newest mark that both have. They are equal only when every region is in it, and all had the same at
// the newest mark that all have.
func Compare(standings []Standing) Verdict {
	all := slices.Clone(standings)
	slices.SortStableFunc(all, func(a, b Standing) int { return cmp.Compare(a.Region, b.Region) })
	c := comparison{all: all}
	if len(all) > 0 {
		c.Projection = all[0].Projection
	}
	c.lag()
	for i := range all {
		if why := silent(&all[i]); why != nil {
			c.doubt(*why)
			continue
		}
		c.known = append(c.known, &all[i])
	}
	if len(all) < 2 {
		c.doubt(Reason{ReasonAlone, "there is no other region to compare with"})
	}
	c.pairs()
	c.conclude()
	return c.Verdict
}

// comparison is a Verdict in the making.
type comparison struct {
	Verdict
	all   []Standing
	known []*Standing // those that can be compared
}

// doubt takes note of why not everything is compared.
func (c *comparison) doubt(r Reason) { c.Reasons = append(c.Reasons, r) }

// silent says why a region's read model cannot be compared; nil: it can.
func silent(s *Standing) *Reason {
	switch {
	case s.Unknown != nil:
		return &Reason{s.Unknown.Code, s.Region + ": " + s.Unknown.Message}
	case s.Stream != "":
		return &Reason{ReasonAttached, fmt.Sprintf("%s: it is folded from the stream %s, which is not ours: it has no marks, and no other region reads it", s.Region, s.Stream)}
	case len(s.Marks) == 0:
		return &Reason{ReasonNoMarks, s.Region + ": its read model has passed no mark yet with all its partitions"}
	}
	return nil
}

// lag says which regions have stopped while others passed several marks. It needs no clock: marks are counted.
func (c *comparison) lag() {
	var most Mark
	first := ""
	for i := range c.all {
		if m, ok := c.all[i].Newest(); ok && m.Number > most.Number {
			most, first = m, c.all[i].Region
		}
	}
	for i := range c.all {
		s := &c.all[i]
		m, _ := s.Newest()
		if s.Unknown != nil || s.Stream != "" || s.Unhealthy != nil || most.Number-m.Number < OverdueMarks {
			continue
		}
		s.Unhealthy = &Reason{ReasonBehind, fmt.Sprintf("it has come to mark %d, and %s to mark %d", m.Number, first, most.Number)}
	}
}

// pairs compares every two regions at the newest mark that both have.
func (c *comparison) pairs() {
	for i, a := range c.known {
		for _, b := range c.known[i+1:] {
			if why := incomparable(a, b); why != nil {
				c.doubt(*why)
				continue
			}
			m, n, ok := common(a, b)
			switch {
			case !ok:
				c.doubt(Reason{ReasonNoCommonMark, fmt.Sprintf("%s and %s have recorded no mark that is the same", a.Region, b.Region)})
			case m.Sum != n.Sum:
				if c.Result = Different; m.Sequence > c.Sequence {
					c.Sequence, c.Number = m.Sequence, m.Number
				}
			}
		}
	}
}

// incomparable says why two read models are none of the same; nil: they are.
func incomparable(a, b *Standing) *Reason {
	if a.Version != b.Version || a.Definition != b.Definition {
		what := fmt.Sprintf("version %d, and %s from version %d", a.Version, b.Region, b.Version)
		if a.Version == b.Version {
			what = fmt.Sprintf("another definition of version %d than %s", a.Version, b.Region)
		}
		return &Reason{ReasonOtherDefinition, fmt.Sprintf("%s answers from %s", a.Region, what)}
	}
	if history(a.Position) != history(b.Position) {
		return &Reason{ReasonOtherHistory, fmt.Sprintf("%s is at %s and %s at %s: their logs are not the same one", a.Region, a.Position, b.Region, b.Position)}
	}
	return nil
}

// history returns what a sequence means something in: the lineages of a position.
func history(p events.Position) (h string) {
	for _, point := range p.Points() {
		h += point.Origin + "." + string(point.Lineage) + " "
	}
	return h
}

// common returns the newest mark that both have, as each recorded it.
func common(a, b *Standing) (Mark, Mark, bool) {
	for _, m := range slices.Backward(a.Marks) {
		if n, ok := b.mark(m.Sequence); ok && m.Number == n.Number {
			return m, n, true
		}
	}
	return Mark{}, Mark{}, false
}

// everywhere returns the newest mark that all of them have, and whether all had the same there.
func everywhere(all []*Standing) (newest Mark, same, ok bool) {
	for _, m := range slices.Backward(all[0].Marks) {
		have, same := true, true
		for _, s := range all[1:] {
			n, ok := s.mark(m.Sequence)
			have = have && ok && n.Number == m.Number
			same = same && n.Sum == m.Sum
		}
		if have {
			return m, same, true
		}
	}
	return Mark{}, false, false
}

// conclude says what the pairs come to, and what each region has at the mark of it.
func (c *comparison) conclude() {
	if c.Result == "" {
		c.Result = Unknown
		if len(c.known) > 1 {
			m, same, ok := everywhere(c.known)
			switch {
			case ok && same:
				c.Sequence, c.Number = m.Sequence, m.Number
				if len(c.Reasons) == 0 {
					c.Result = Equal
				}
			case len(c.Reasons) == 0: // what was mended in one region since, and another one has not come that far
				c.doubt(Reason{ReasonNoCommonMark, "every two regions are the same at the newest mark that they have in common, and there is none at which all are"})
			}
		}
	}
	for i := range c.all {
		t := Told{Standing: c.all[i]}
		if m, ok := t.Standing.Newest(); ok {
			t.Newest = &m
		}
		if m, ok := t.mark(c.Sequence); ok && m.Number == c.Number {
			t.Here = &m.Sum
		}
		t.Marks, t.At = nil, nil
		c.Regions = append(c.Regions, t)
	}
}

// Narrow names the partitions that differ at the verdict's mark, from what regions answered when they were asked for it (Standing.At). Those that say nothing of it are passed over.
func (v *Verdict) Narrow(answers []Standing) {
	v.Partitions, v.Whole = nil, nil
	var said []*Standing
	for i := range answers {
		if at := answers[i].At; at != nil && at.Sequence == v.Sequence && at.Number == v.Number {
			said = append(said, &answers[i])
		}
	}
	slices.SortStableFunc(said, func(a, b *Standing) int { return cmp.Compare(a.Region, b.Region) })
	if len(said) < 2 {
		v.Whole = &Reason{ReasonNoCommonMark, fmt.Sprintf("fewer than two regions say what their partitions were at mark %d", v.Number)}
		return
	}
	n := len(said[0].At.Partitions)
	for _, s := range said[1:] {
		if len(s.At.Partitions) != n {
			v.Whole = &Reason{ReasonOtherDefinition, fmt.Sprintf("%s has %d partitions and %s %d: which of them differ cannot be told", said[0].Region, n, s.Region, len(s.At.Partitions))}
			return
		}
	}
	for p := range n {
		d := Difference{Partition: p}
		differs := false
		for _, s := range said {
			d.Regions = append(d.Regions, InPlace{Region: s.Region, Sum: s.At.Partitions[p]})
			differs = differs || s.At.Partitions[p] != said[0].At.Partitions[p]
		}
		if differs {
			v.Partitions = append(v.Partitions, d)
		}
	}
}
