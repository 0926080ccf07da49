package projections

import (
	"math/bits"
	"strconv"
	"strings"

	"tidemark.dev/events"
)

// Signals carries hints between the readers and the projectors of one region: who waits for what, and what has moved. A signal may get lost, come late, or
// come twice, and nobody is told; nothing but speed depends on one. None of its methods waits for anybody.
type Signals interface {
	// Demand tells the projector of d.Projection that a reader waits.
	Demand(d Demand)
	// Demands has f called for each demand on a projection, until stop is called. f must be quick and must not wait; it may be called by several goroutines, and
	// once more while stop is on its way.
	Demands(projection string, f func(Demand)) (stop func())

	// Notify tells the readers of n.Projection what a commit has moved.
	Notify(n Notice)
	// Notices has f called for each notice about a projection, until stop is called. The same holds for f.
	Notices(projection string, f func(Notice)) (stop func())
}

// Demand says that a reader waits until partitions of the live generation are at a position. Without it a partition that no event touches follows the others
// a while later, which costs less.
type Demand struct {
	Projection string
	Partitions PartitionSet
	Position   events.Position
}

// Notice says that partitions of the live generation moved: whoever reads them now finds the new checkpoint.
type Notice struct {
	Projection string
	Generation uint32
	// Sequence of the checkpoint that they moved to.
	Sequence uint64
	Moved    PartitionSet
	// Written are those of them in which documents changed.
	Written PartitionSet
}

const wordBits = 64

// PartitionSet is a set of partition numbers, from 0 to MaxPartitions-1. The zero value is empty.
type PartitionSet [MaxPartitions / wordBits]uint64

// AllPartitions returns the set of the first n partitions.
func AllPartitions(n int) (s PartitionSet) {
	for i := range min(n, MaxPartitions) {
		s.Add(i)
	}
	return s
}

// Add puts a partition into the set. A number that no partition has changes nothing.
func (s *PartitionSet) Add(i int) {
	if i >= 0 && i < MaxPartitions {
		s[i/wordBits] |= 1 << (i % wordBits)
	}
}

// Has reports whether a partition is in the set.
func (s PartitionSet) Has(i int) bool {
	return i >= 0 && i < MaxPartitions && s[i/wordBits]&(1<<(i%wordBits)) != 0
}

// Empty reports whether no partition is.
func (s PartitionSet) Empty() bool { return s == PartitionSet{} }

// Len returns how many there are.
func (s PartitionSet) Len() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// Meets reports whether the two sets have a partition in common.
func (s PartitionSet) Meets(t PartitionSet) bool {
	for i := range s {
		if s[i]&t[i] != 0 {
			return true
		}
	}
	return false
}

// Union returns what is in either set.
func (s PartitionSet) Union(t PartitionSet) PartitionSet {
	for i := range s {
		s[i] |= t[i]
	}
	return s
}

// String returns the words of the set in hexadecimal, the lowest first, joined by points, without the empty ones at the end: the partitions 0 and 65 are 1.2.
func (s PartitionSet) String() string {
	last := len(s)
	for last > 1 && s[last-1] == 0 {
		last--
	}
	var b strings.Builder
	for i, w := range s[:last] {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strconv.FormatUint(w, 16))
	}
	return b.String()
}

// ParsePartitionSet reads what String writes.
func ParsePartitionSet(text string) (s PartitionSet, ok bool) {
	for i := 0; ; i++ {
		word, rest, more := strings.Cut(text, ".")
		w, err := strconv.ParseUint(word, 16, wordBits)
		if err != nil || i == len(s) {
			return PartitionSet{}, false
		}
		s[i] = w
		if !more {
			return s, true
		}
		text = rest
	}
}
