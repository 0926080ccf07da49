package redisstore

import (
	"tidemark.dev/projections"
)

// score is that of every member of a sorted set: then Redis sorts them by their bytes.
const score = "0"

// indexName returns what stands behind a partition's index infix.
func indexName(def *projections.Definition, index int) string {
	switch index {
	case projections.ParkedIndex:
		return projections.ParkedIndexName
	case projections.ExpiryIndex:
		return projections.ExpiryIndexName
	}
	return def.Indexes[index].Name
}

// marksIndex stands for the recorded marks among the indexes: they are a sorted set that changes in the same way.
const marksIndex = projections.FirstIndex - 1

// indexKey returns the key of an index of a partition.
func (n *partitionNames) indexKey(def *projections.Definition, index int) string {
	if index == marksIndex {
		return n.marks
	}
	return n.index + indexName(def, index)
}

// touched are the indexes that a commit changes, in order.
type touched struct {
	list []touchedIndex
}

type touchedIndex struct {
	index      int
	gone, come int // entries
}

// touchedBy counts the entries of a commit. One without any costs a look at each document.
func touchedBy(c *projections.Commit) (t touched) {
	var counts [projections.MaxIndexes - projections.FirstIndex]touchedIndex
	for i := range c.Writes {
		w := &c.Writes[i]
		for _, e := range w.Unindex {
			counts[e.Index-projections.FirstIndex].gone++
		}
		for _, e := range w.Index {
			counts[e.Index-projections.FirstIndex].come++
		}
	}
	for i := range counts {
		if x := counts[i]; x.gone+x.come > 0 {
			x.index = i + projections.FirstIndex
			t.list = append(t.list, x)
		}
	}
	if len(c.Marks)+len(c.Unmark) > 0 {
		t.list = append(t.list, touchedIndex{index: marksIndex, gone: len(c.Unmark), come: len(c.Marks)})
	}
	return t
}

// eachEntry calls gone for the entries that go from an index and come for those that come, in the order of the documents; either may be nil.
func eachEntry(c *projections.Commit, index int, gone, come func(value, key string)) {
	each := func(list []projections.IndexEntry, key string, fn func(value, key string)) {
		for i := range list {
			if fn != nil && list[i].Index == index {
				fn(list[i].Value, key)
			}
		}
	}
	if index == marksIndex {
		eachMark(c.Unmark, gone)
		eachMark(c.Marks, come)
		return
	}
	for i := range c.Writes {
		w := &c.Writes[i]
		each(w.Unindex, w.Key, gone)
		each(w.Index, w.Key, come)
	}
}

func eachMark(marks []projections.PartitionMark, fn func(value, key string)) {
	for i := range marks {
		if fn != nil {
			fn(marks[i].String(), "")
		}
	}
}
