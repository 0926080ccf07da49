package memstore

import (
	"maps"
	"slices"
)

// sortedSet is a set of texts in byte order: the keys of a partition, or the entries of an index.
type sortedSet struct {
	members map[string]bool
	order   []string // nil after a change
	foreign bool     // something else is under its name
}

func newSortedSet() *sortedSet { return &sortedSet{members: map[string]bool{}} }

func (s *sortedSet) clone() *sortedSet {
	return &sortedSet{members: maps.Clone(s.members), foreign: s.foreign}
}

func (s *sortedSet) add(member string) {
	if !s.members[member] {
		s.members[member], s.order = true, nil
	}
}

func (s *sortedSet) remove(member string) {
	if s.members[member] {
		delete(s.members, member)
		s.order = nil
	}
}

// between returns the members from one text up to another, which is not included; an empty one stands for the end.
func (s *sortedSet) between(from, to string) []string {
	if s == nil {
		return nil
	}
	if s.order == nil {
		s.order = slices.Sorted(maps.Keys(s.members))
	}
	first, _ := slices.BinarySearch(s.order, from)
	last := len(s.order)
	if to != "" {
		last, _ = slices.BinarySearch(s.order, to)
	}
	return s.order[first:max(first, last)]
}

// above returns up to limit members above one, in order; above an empty one all.
func (s *sortedSet) above(after string, limit int) []string {
	from := ""
	if after != "" {
		from = after + "\x00" // the first text behind it
	}
	list := s.between(from, "")
	return list[:min(max(limit, 0), len(list))]
}
