package memstore_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// buggyStore is a good store with one planted bug.
type buggyStore struct {
	*memstore.Store
	bug  string
	left [][]string // marks, by partition, that a drop left
}

type (
	generationOf = projections.Generation
	definitionOf = projections.Definition
)

func (b *buggyStore) stored(g generationOf, partition int) projections.Header {
	hs, err := b.Store.Headers(context.Background(), g)
	if err != nil {
		panic(err)
	}
	return hs[partition]
}

func (b *buggyStore) Headers(ctx context.Context, g generationOf) ([]projections.Header, error) {
	if b.bug == "an ended context is ignored" {
		ctx = context.WithoutCancel(ctx)
	}
	return b.Store.Headers(ctx, g)
}

func (b *buggyStore) Claim(ctx context.Context, g generationOf, owner uint64) ([]projections.Header, error) {
	hs, err := b.Store.Claim(ctx, g, owner)
	if !errors.Is(err, projections.ErrFenced) {
		return hs, err
	}
	own := func(partition int) {
		b.EditHeader(g, partition, func(h *projections.Header) { h.Owner = owner })
	}
	switch {
	case b.bug == "a claim goes on after a refusal":
		own(g.Partitions - 1)
	case b.bug == "owners are floats" && float64(b.stored(g, 0).Owner) == float64(owner):
		own(0)
		return b.Store.Headers(ctx, g)
	}
	return hs, err
}

func (b *buggyStore) Create(ctx context.Context, g generationOf, h projections.Header) error {
	if b.bug == "a header loses its nanoseconds" {
		h.Applied = h.Applied.Truncate(time.Second)
	}
	var left []memstore.ChangeEntry
	if b.bug == "left-over changes stay" {
		left = b.ChangeLog(g, h.Partition)
	}
	marks := b.MarkTexts(g, h.Partition)
	err := b.Store.Create(ctx, g, h)
	switch {
	case b.bug == "left-over marks stay" && err == nil:
		b.putMarks(g, h.Partition, marks)
	case b.bug == "a drop leaves marks" && err == nil && b.left != nil:
		b.putMarks(g, h.Partition, b.left[h.Partition])
	case b.bug == "left-over changes stay" && err == nil && len(left) > 0:
		b.EditChanges(g, h.Partition, func([]memstore.ChangeEntry) []memstore.ChangeEntry { return left })
	case b.bug == "left-over entries stay" && err == nil:
		b.PutEntry(g, h.Partition, "by_name", "left over\x00\x01a")
	case b.bug == "a create takes an existing partition" && errors.Is(err, projections.ErrFenced):
		b.EditHeader(g, h.Partition, func(old *projections.Header) { *old = h })
		return nil
	case b.bug == "left-over documents stay":
		b.PutDocument(g, projections.Ref{Partition: h.Partition, Key: "unlisted"}, map[string]string{"name": "x"})
	}
	return err
}

func (b *buggyStore) Load(ctx context.Context, g generationOf, def *definitionOf, refs []projections.Ref) ([]*projections.Document, error) {
	docs, err := b.Store.Load(ctx, g, def, refs)
	switch b.bug {
	case "missing documents are left out":
		docs = slices.DeleteFunc(docs, func(d *projections.Document) bool { return d == nil })
	case "missing fields are empty":
		for _, d := range docs {
			if d != nil && d.Values == nil {
				d.Values = make([]string, len(def.Fields))
			}
		}
	}
	return docs, err
}

func (b *buggyStore) Apply(ctx context.Context, g generationOf, def *definitionOf, commits []projections.Commit) []error {
	commits = slices.Clone(commits)
	was := make([]projections.Header, len(commits))
	for i := range commits {
		was[i] = b.stored(g, commits[i].Partition)
		b.bend(ctx, g, def, &commits[i])
		b.bendIndexes(&commits[i])
		b.bendMarks(ctx, g, def, &commits[i])
		b.bendStill(g, &commits[i])
	}
	if b.bug == "commits fail together" {
		if bad := b.preview(ctx, g, def, commits); bad != nil {
			return bad
		}
	}
	errs := b.Store.Apply(ctx, g, def, commits)
	for i, err := range errs {
		if err == nil && (len(commits) == 1 || i == 0) {
			b.bendLog(g, &commits[i], was[i])
			b.bendRepair(g, &commits[i], was[i])
		}
		switch {
		case b.bug == "a refused commit is logged" && err != nil && was[i].State == projections.Live:
			b.EditChanges(g, commits[i].Partition, func(list []memstore.ChangeEntry) []memstore.ChangeEntry { return append(list, entryOf(&commits[i])) })
		case b.bug == "a refusal says nothing" && err != nil:
			code, _ := events.CodeOf(err)
			errs[i] = code
		case b.bug == "a write leaves other fields" && err == nil:
			for _, w := range commits[i].Writes {
				if w.Key == "extra" && w.At != "us.7f3a@1:2" {
					b.EditDocument(g, projections.Ref{Partition: commits[i].Partition, Key: w.Key}, func(f map[string]string) { f["other"] = "x" })
				}
			}
		}
	}
	return errs
}

// bend changes a commit, or what is stored, so that the good store does what the bug would.
func (b *buggyStore) bend(ctx context.Context, g generationOf, def *definitionOf, c *projections.Commit) {
	was := b.stored(g, c.Partition)
	switch b.bug {
	case "the owner is not checked":
		c.Next.Owner = was.Owner
	case "the checkpoint is not checked":
		c.Expect = was.Checkpoint
	case "only sequences are compared":
		p, _ := c.Expect.Point("us")
		q, _ := was.Checkpoint.Point("us")
		if p.Sequence == q.Sequence {
			c.Expect = was.Checkpoint
		}
	case "a commit makes the partition it needs":
		if was.State == projections.Absent {
			h := c.Next
			h.Checkpoint = c.Expect
			if err := b.Store.Create(ctx, g, h); err != nil {
				panic(err)
			}
		}
	case "indexes are written before the check of types":
		for _, w := range c.Writes {
			for _, e := range w.Index {
				if e.Index >= 0 && e.Index < len(def.Indexes) {
					b.PutEntry(g, c.Partition, def.Indexes[e.Index].Name, e.Value+w.Key)
				}
			}
		}
	case "a change log that is ahead stops its partition":
		if log := b.ChangeLog(g, c.Partition); len(log) > 0 && log[len(log)-1].Sequence > projections.SequenceOf(c.Next.Checkpoint) {
			c.Expect = events.Position{}
		}
	case "writes come before the check of types":
		good := *c
		good.Next = was
		for _, w := range c.Writes {
			good.Writes = []projections.Write{w}
			b.Store.Apply(ctx, g, def, []projections.Commit{good})
		}
	case "a removed document stays listed":
		c.Writes = slices.DeleteFunc(slices.Clone(c.Writes), func(w projections.Write) bool {
			return w.Remove && b.EditDocument(g, projections.Ref{Partition: c.Partition, Key: w.Key}, func(f map[string]string) { clear(f) })
		})
	}
}

// preview returns the errors that the commits would have, all of them failed, or nil.
func (b *buggyStore) preview(ctx context.Context, g generationOf, def *definitionOf, commits []projections.Commit) []error {
	before := b.Snapshot()
	errs := b.Store.Apply(ctx, g, def, commits)
	b.Restore(before)
	bad := errors.Join(errs...)
	if bad == nil {
		return nil
	}
	for i := range errs {
		errs[i] = bad
	}
	return errs
}

func (b *buggyStore) SetState(ctx context.Context, g generationOf, owner uint64, s projections.PartitionState) error {
	var before []projections.Header
	logs := make([][]memstore.ChangeEntry, g.Partitions)
	for i := range g.Partitions {
		before = append(before, b.stored(g, i))
		logs[i] = b.ChangeLog(g, i)
	}
	err := b.Store.SetState(ctx, g, owner, s)
	if err == nil {
		b.bendState(g, before, logs)
	}
	if b.bug == "a state changes for everybody" {
		for i := range g.Partitions {
			b.EditHeader(g, i, func(h *projections.Header) { h.State = s })
		}
	}
	return err
}

func (b *buggyStore) Get(ctx context.Context, g generationOf, def *definitionOf, ref projections.Ref) (projections.Header, *projections.Document, error) {
	switch b.bug {
	case "get reads twice", "get ignores the header":
		h := b.stored(g, ref.Partition)
		if b.bug == "get reads twice" {
			b.moved(g, ref.Partition, h)
		}
		docs, err := b.Store.Load(ctx, g, def, []projections.Ref{ref})
		return h, docs[0], err
	}
	return b.Store.Get(ctx, g, def, ref)
}

func (b *buggyStore) Lookup(
	ctx context.Context, g generationOf, def *definitionOf, refs []projections.Ref,
) ([]projections.Header, []*projections.Document, error) {
	headers, documents, err := b.Store.Lookup(ctx, g, def, refs)
	switch b.bug {
	case "lookup answers for partitions that are absent":
		for i := range headers {
			if headers[i].State == projections.Absent {
				headers[i].State = projections.Live
			}
		}
	case "lookup sorts":
		slices.SortStableFunc(documents, func(x, y *projections.Document) int {
			if x == nil || y == nil {
				return 0
			}
			return strings.Compare(x.Key, y.Key)
		})
	case "lookup reads headers last":
		for range 1_000 { // until somebody has written, if anybody does
			letOthersRun()
			moved := false
			for i := range headers {
				now := b.stored(g, refs[i].Partition)
				moved = moved || !now.Checkpoint.Equal(headers[i].Checkpoint)
				headers[i] = now
			}
			if moved {
				break
			}
		}
	case "lookup leaves out what was removed by hand":
		for i, d := range documents {
			if d != nil && d.At == "" {
				documents[i] = nil
			}
		}
	}
	return headers, documents, err
}

func (b *buggyStore) Page(
	ctx context.Context, g generationOf, def *definitionOf, partition int, after string, limit int,
) (projections.Header, []projections.Document, error) {
	if b.bug == "a page begins with the last of before" {
		after = strings.TrimSuffix(after, "1")
	}
	h, docs, err := b.Store.Page(ctx, g, def, partition, after, limit)
	switch b.bug {
	case "pages are in another order":
		slices.SortStableFunc(docs, func(x, y projections.Document) int {
			return strings.Compare(strings.ToLower(x.Key), strings.ToLower(y.Key))
		})
	case "a page ends at what is no document":
		for i := range docs {
			if _, found, _ := b.Store.Inspect(ctx, g, def, partition, []projections.Inspected{{Key: docs[i].Key}}); len(found) == 1 && found[0].Foreign {
				return h, nil, events.Errorf(projections.ErrWrongType, "%q is no document", docs[i].Key)
			}
		}
	case "lost documents are left out of pages":
		docs = slices.DeleteFunc(docs, func(d projections.Document) bool { return d.Values == nil })
	}
	return h, docs, err
}

func (b *buggyStore) Drop(ctx context.Context, g generationOf) error {
	b.left = nil
	for i := range g.Partitions {
		if b.bug == "a drop leaves marks" {
			b.left = append(b.left, b.MarkTexts(g, i))
		}
	}
	err := b.Store.Drop(ctx, g)
	switch b.bug {
	case "a drop leaves what is not listed":
		b.PutDocument(g, projections.Ref{Partition: 1, Key: "unlisted"}, map[string]string{"name": "x"})
	case "a drop takes similar names along":
		g.Number = 11
		return errors.Join(err, b.Store.Drop(ctx, g))
	}
	return err
}
