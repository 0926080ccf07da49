package memstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// The bugs of buggyStore that have to do with marks, and with what is put right.

func (b *buggyStore) putMarks(g generationOf, partition int, texts []string) {
	for _, text := range texts {
		b.PutMark(g, partition, text)
	}
}

// bendMarks changes the marks of a commit, or does something with them on its own.
func (b *buggyStore) bendMarks(ctx context.Context, g generationOf, def *definitionOf, c *projections.Commit) {
	if len(c.Marks)+len(c.Unmark) == 0 {
		_, _, err := b.Store.Marks(ctx, g)
		if b.bug == "marks are looked at by every commit" && errors.Is(err, projections.ErrWrongType) {
			c.Expect = events.Position{}
		}
		return
	}
	c.Marks = slices.Clone(c.Marks)
	switch b.bug {
	case "a mark is not recorded":
		c.Marks = nil
	case "a mark stays that is to be forgotten":
		c.Unmark = nil
	case "a mark loses its number":
		for i := range c.Marks {
			c.Marks[i].Number = 0
		}
	case "a mark is forgotten by its sequence":
		for _, text := range b.MarkTexts(g, c.Partition) {
			same := func(m projections.PartitionMark) bool {
				return strings.HasPrefix(text, fmt.Sprintf("%020d ", m.Sequence))
			}
			if slices.ContainsFunc(c.Unmark, same) {
				b.DropMark(g, c.Partition, text)
			}
		}
	case "marks come before those that go":
		c.Marks = slices.DeleteFunc(c.Marks, func(m projections.PartitionMark) bool { return slices.Contains(c.Unmark, m) })
	case "what is not live records no marks":
		if c.Next.State != projections.Live {
			c.Marks = nil
		}
	case "a refused commit records its marks":
		for _, m := range c.Marks {
			b.PutMark(g, c.Partition, m.String())
		}
	case "a refused commit forgets marks":
		for _, m := range c.Unmark {
			b.DropMark(g, c.Partition, m.String())
		}
	case "one mark of a commit is lost":
		if len(c.Marks) > 16 {
			c.Marks = c.Marks[1:]
		}
	case "documents are written before the type of the marks":
		first := *c
		first.Next, first.Marks, first.Unmark = b.stored(g, c.Partition), nil, nil
		b.Store.Apply(ctx, g, def, []projections.Commit{first})
	}
}

func (b *buggyStore) Marks(ctx context.Context, g generationOf) ([]projections.Header, [][]projections.PartitionMark, error) {
	headers, marks, err := b.Store.Marks(ctx, g)
	if err != nil {
		if b.bug == "marks of another type are none" && errors.Is(err, projections.ErrWrongType) {
			headers, err = b.Store.Headers(ctx, g)
			return headers, make([][]projections.PartitionMark, g.Partitions), err
		}
		return headers, marks, err
	}
	switch b.bug {
	case "marks take the header afterwards":
		b.moved(g, 0, headers[0])
		headers, err = b.Store.Headers(ctx, g)
		return headers, marks, err
	case "marks are sorted as words":
		for i := range marks {
			slices.SortFunc(marks[i], func(x, y projections.PartitionMark) int {
				return strings.Compare(fmt.Sprint(x.Sequence), fmt.Sprint(y.Sequence))
			})
		}
	}
	for i := range marks {
		var all []projections.PartitionMark
		whole := true
		for _, text := range b.MarkTexts(g, i) {
			m, ok := projections.ParseMark(text)
			if !ok && b.bug == "a mark that cannot be read is an error" {
				return headers, nil, events.Errorf(projections.ErrDocumentDamaged, "the mark %q cannot be read", text)
			}
			if whole = whole && ok; whole {
				all = append(all, m)
			}
		}
		if b.bug == "an absent partition has marks" || b.bug == "a mark that cannot be read ends them" {
			marks[i] = all
		}
	}
	return headers, marks, nil
}

// still reports whether a commit does not move the checkpoint, and writes.
func still(c *projections.Commit) bool {
	return len(c.Writes) > 0 && c.Expect.Equal(c.Next.Checkpoint)
}

// bendStill changes a commit that does not move.
func (b *buggyStore) bendStill(g generationOf, c *projections.Commit) {
	if !still(c) {
		return
	}
	switch b.bug {
	case "a commit has to move the checkpoint":
		c.Expect = events.Position{}
	case "what does not move is not checked":
		was := b.stored(g, c.Partition)
		c.Expect, c.Next.Owner = was.Checkpoint, was.Owner
	}
}

// bendRepair changes a change log after a commit succeeded that does not move.
func (b *buggyStore) bendRepair(g generationOf, c *projections.Commit, was projections.Header) {
	if !still(c) {
		return
	}
	live := was.State == projections.Live && c.Next.State == projections.Live
	b.EditChanges(g, c.Partition, func(list []memstore.ChangeEntry) []memstore.ChangeEntry {
		last := len(list) - 1
		switch {
		case b.bug == "what is put right is logged while nothing else is" && !live:
			e := entryOf(c)
			e.Sequence++
			return append(list, e)
		case !live:
		case b.bug == "what is put right is not logged":
			return list[:last]
		case b.bug == "what is put right is logged at the checkpoint":
			list[last].Sequence--
		case b.bug == "what is put right makes the change log begin anew":
			return list[last:]
		}
		return list
	})
}

// bendChanges changes what Changes returns of commits that did not move.
func (b *buggyStore) bendChanges(g generationOf, partition int, h *projections.Header, after uint64, limit int, list []projections.Change, floor uint64) ([]projections.Change, uint64) {
	switch b.bug {
	case "what is put right is told before its time":
		for _, e := range b.ChangeLog(g, partition) {
			if e.Sequence > after && e.Sequence > projections.SequenceOf(h.Checkpoint) && len(list) < limit {
				for _, key := range e.Keys {
					list = append(list, projections.Change{Sequence: e.Sequence, Key: key})
				}
			}
		}
	case "what is put right comes one entry at a time":
		if limit <= projections.ChangeKeys {
			list = list[:min(len(list), projections.ChangeKeys)]
		}
	case "what is put right is all that is known to have changed":
		floor = 1
	}
	return list, floor
}
