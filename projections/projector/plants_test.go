package projector_test

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// What stands between a projector and the world, so that a test can put a mistake there. A hook that is nil changes nothing.

// bentStore is a Store with mistakes.
type bentStore struct {
	projections.Store
	commits func(g projections.Generation, list []projections.Commit) // before they are executed; the writes may be changed too
	done    func(g projections.Generation, c *projections.Commit)     // after it took effect
	changes func(after uint64, list []projections.Change, floor uint64) ([]projections.Change, uint64)
	loaded  func(g projections.Generation, refs []projections.Ref, documents []*projections.Document)
	created func(g projections.Generation, h projections.Header)
	got     func(h *projections.Header, d **projections.Document)
	paged   func(list []projections.Document) []projections.Document
}

func (b *bentStore) Apply(ctx context.Context, g projections.Generation, def *projections.Definition, commits []projections.Commit) []error {
	if b.commits != nil {
		commits = slices.Clone(commits)
		for i := range commits {
			commits[i].Writes = slices.Clone(commits[i].Writes)
		}
		b.commits(g, commits)
	}
	errs := b.Store.Apply(ctx, g, def, commits)
	for i, err := range errs {
		if err == nil && b.done != nil {
			b.done(g, &commits[i])
		}
	}
	return errs
}

func (b *bentStore) Changes(
	ctx context.Context, g projections.Generation, partition int, after uint64, limit int,
) (projections.Header, []projections.Change, uint64, error) {
	h, list, floor, err := b.Store.Changes(ctx, g, partition, after, limit)
	if err == nil && b.changes != nil {
		list, floor = b.changes(after, list, floor)
	}
	return h, list, floor, err
}

func (b *bentStore) Load(ctx context.Context, g projections.Generation, def *projections.Definition, refs []projections.Ref) ([]*projections.Document, error) {
	documents, err := b.Store.Load(ctx, g, def, refs)
	if err == nil && b.loaded != nil {
		b.loaded(g, refs, documents)
	}
	return documents, err
}

func (b *bentStore) Create(ctx context.Context, g projections.Generation, h projections.Header) error {
	err := b.Store.Create(ctx, g, h)
	if err == nil && b.created != nil {
		b.created(g, h)
	}
	return err
}

func (b *bentStore) Get(ctx context.Context, g projections.Generation, def *projections.Definition, ref projections.Ref) (projections.Header, *projections.Document, error) {
	h, d, err := b.Store.Get(ctx, g, def, ref)
	if err == nil && b.got != nil {
		b.got(&h, &d)
	}
	return h, d, err
}

func (b *bentStore) Page(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, after string, limit int,
) (projections.Header, []projections.Document, error) {
	h, list, err := b.Store.Page(ctx, g, def, partition, after, limit)
	if err == nil && b.paged != nil {
		list = b.paged(list)
	}
	return h, list, err
}

// bentLog is a Reader with mistakes.
type bentLog struct {
	events.Reader
	batch    func([]events.Record) []events.Record // a copy of what Read yields
	ranged   func(events.Range, []events.Record) []events.Record
	info     func(*events.Info)
	record   func(*events.Record)
	history  func(from uint64, r *events.Record) bool // false: it is left out
	controls func(r *events.Record) bool

	reading func() // at each call of Read
}

func (b *bentLog) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	if b.reading != nil {
		b.reading()
	}
	return func(yield func([]events.Record, error) bool) {
		for list, err := range b.Reader.Read(ctx, r) {
			if err == nil && b.batch != nil {
				list = b.batch(slices.Clone(list))
			}
			if err == nil && b.ranged != nil {
				list = b.ranged(r, slices.Clone(list))
			}
			if !yield(list, err) {
				return
			}
		}
	}
}

func (b *bentLog) Record(ctx context.Context, seq uint64) (events.Record, error) {
	r, err := b.Reader.Record(ctx, seq)
	if err == nil && b.record != nil {
		b.record(&r)
	}
	return r, err
}

func (b *bentLog) History(ctx context.Context, e events.Entity, from uint64) iter.Seq2[events.Record, error] {
	return filtered(b.Reader.History(ctx, e, from), func(r *events.Record) bool { return b.history == nil || b.history(from, r) })
}

func (b *bentLog) Controls(ctx context.Context, name string, from uint64) iter.Seq2[events.Record, error] {
	return filtered(b.Reader.Controls(ctx, name, from), func(r *events.Record) bool { return b.controls == nil || b.controls(r) })
}

func filtered(list iter.Seq2[events.Record, error], keep func(*events.Record) bool) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		for r, err := range list {
			if (err != nil || keep(&r)) && !yield(r, err) {
				return
			}
		}
	}
}

func (b *bentLog) Info(ctx context.Context) (events.Info, error) {
	info, err := b.Reader.Info(ctx)
	if err == nil && b.info != nil {
		b.info(&info)
	}
	return info, err
}

// bentProjection is a Projection with mistakes.
type bentProjection struct {
	projections.Projection
	routed func(r *events.Record, ops []projections.Op)
	fold   func(fold func() error, r *events.Record) error
	folded func(fold func() error, r *events.Record, key string) error
}

func (b *bentProjection) Route(r *events.Record, at int, ops *projections.Ops) {
	before := len(ops.List())
	b.Projection.Route(r, at, ops)
	if b.routed != nil {
		b.routed(r, ops.List()[before:])
	}
}

func (b *bentProjection) Fold(s projections.State, r *events.Record, op *projections.Op) error {
	fold := func() error { return b.Projection.Fold(s, r, op) }
	if b.folded != nil {
		return b.folded(fold, r, op.Key)
	}
	if b.fold != nil {
		return b.fold(fold, r)
	}
	return fold()
}

// nth returns a function that answers true at the nth call only.
func nth(n int) func() bool {
	var mu sync.Mutex
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		n--
		return n == 0
	}
}

// inStore, inLog and inProjection return plants.
func inStore(bend func(w *world, b *bentStore)) func(*world) {
	return func(w *world) {
		b := &bentStore{Store: w.seenStore}
		bend(w, b)
		w.seenStore = b
	}
}

func inLog(bend func(b *bentLog)) func(*world) {
	return func(w *world) {
		b := &bentLog{Reader: w.seenLog}
		bend(b)
		w.seenLog = b
	}
}

func inProjection(bend func(b *bentProjection)) func(*world) {
	return func(w *world) {
		w.seenProj = func(p projections.Projection) projections.Projection {
			b := &bentProjection{Projection: p}
			bend(b)
			return b
		}
	}
}

// planted are the bugs that the simulation must find.
func planted() map[string]func(*world) {
	all := storePlants()
	for _, more := range []map[string]func(*world){readPlants(), foldPlants(), indexPlants(), changePlants()} {
		maps.Copy(all, more)
	}
	for name, plant := range skipPlants() {
		all[name] = plant
	}
	return all
}

func storePlants() map[string]func(*world) {
	once := func(n int, change func(c *projections.Commit)) func(*world) {
		return inStore(func(_ *world, b *bentStore) {
			now := nth(n)
			b.commits = func(_ projections.Generation, list []projections.Commit) {
				for i := range list {
					if len(list[i].Writes) > 0 && now() {
						change(&list[i])
					}
				}
			}
		})
	}
	return map[string]func(*world){
		"a write is lost": once(4, func(c *projections.Commit) { c.Writes = c.Writes[1:] }),
		"removals are lost": inStore(func(_ *world, b *bentStore) {
			b.commits = func(_ projections.Generation, list []projections.Commit) {
				for i := range list {
					list[i].Writes = slices.DeleteFunc(list[i].Writes, func(w projections.Write) bool { return w.Remove })
				}
			}
		}),
		"the checkpoint is ahead of the data": once(4, func(c *projections.Commit) {
			p := c.Next.Checkpoint.Points()[0]
			p.Sequence++
			c.Next.Checkpoint = events.At(p)
		}),
		"the checkpoint moves and nothing is written": once(3, func(c *projections.Commit) { c.Writes = nil }),
		"a document goes into another partition": inStore(func(_ *world, b *bentStore) {
			b.commits = func(_ projections.Generation, list []projections.Commit) {
				if len(list) > 1 && len(list[0].Writes) > 0 {
					list[1].Writes = append(list[1].Writes, list[0].Writes[0])
					list[0].Writes = list[0].Writes[1:]
				}
			}
		}),
		"the digest is not updated": once(3, func(c *projections.Commit) { c.Next.Digest = projections.Digest{} }),
		"documents are miscounted":  once(3, func(c *projections.Commit) { c.Next.Documents++ }),
		"a write carries an older position": once(5, func(c *projections.Commit) {
			c.Writes[0].At = "us.7f3a11d2@1:1"
		}),
		"the expected owner and checkpoint are not compared": inStore(func(w *world, b *bentStore) {
			b.commits = func(g projections.Generation, list []projections.Commit) {
				stored := w.headers(g)
				for i := range list {
					list[i].Expect, list[i].Next.Owner = stored[list[i].Partition].Checkpoint, stored[list[i].Partition].Owner
				}
			}
		}),
		"a commit is executed in halves": inStore(func(w *world, b *bentStore) {
			now := nth(6)
			b.commits = func(g projections.Generation, list []projections.Commit) {
				if now() {
					for i := range list {
						list[i].Next = w.headers(g)[list[i].Partition]
					}
				}
			}
		}),
		"documents are loaded as they were at first": inStore(func(_ *world, b *bentStore) {
			var mu sync.Mutex
			first := map[edit]*projections.Document{}
			b.loaded = func(g projections.Generation, refs []projections.Ref, documents []*projections.Document) {
				mu.Lock()
				defer mu.Unlock()
				for i := range refs {
					at := edit{g.Number, refs[i].Key}
					if old := first[at]; old != nil && documents[i] != nil {
						documents[i] = old
					} else if documents[i] != nil {
						first[at] = documents[i]
					}
				}
			}
		}),
		"some documents are not loaded": inStore(func(_ *world, b *bentStore) {
			b.loaded = func(_ projections.Generation, refs []projections.Ref, documents []*projections.Document) {
				if len(refs) > 1 {
					documents[0] = nil
				}
			}
		}),
		"left-over documents stay when a partition is made": inStore(func(w *world, b *bentStore) {
			b.created = func(g projections.Generation, h projections.Header) {
				for _, key := range []string{"a0", "a1", "a2", "a3", "red", "green"} {
					if projections.PartitionOf(key, g.Partitions) == h.Partition {
						w.store.PutDocument(g, projections.Ref{Partition: h.Partition, Key: key}, map[string]string{"left": "over"})
					}
				}
			}
		}),
		"a snapshot counts a record too many": inStore(func(_ *world, b *bentStore) {
			b.commits = func(_ projections.Generation, list []projections.Commit) {
				for i := range list {
					if c := &list[i]; c.Next.State == projections.Building && len(c.Writes) == 0 && len(c.Marks) == 1 && c.Expect.Points()[0].Sequence == 0 {
						p := c.Next.Checkpoint.Points()[0]
						p.Sequence++
						c.Next.Checkpoint = events.At(p)
					}
				}
			}
		}),
		"a document of a snapshot is not loaded": inStore(func(_ *world, b *bentStore) {
			b.commits = func(_ projections.Generation, list []projections.Commit) {
				for i := range list {
					if c := &list[i]; c.Next.State == projections.Loading && len(c.Writes) > 0 && c.Writes[0].Create {
						c.Writes = c.Writes[1:]
					}
				}
			}
		}),
		"what is kept misses a document": inStore(func(_ *world, b *bentStore) {
			b.commits = func(_ projections.Generation, list []projections.Commit) {
				for i := range list {
					if c := &list[i]; c.Next.State == projections.Retired && len(c.Writes) > 0 {
						c.Writes = c.Writes[1:]
					}
				}
			}
		}),
		"an answer names a position after its own": inStore(func(_ *world, b *bentStore) {
			b.got = func(h *projections.Header, _ **projections.Document) {
				if points := h.Checkpoint.Points(); len(points) > 0 {
					p := points[0]
					p.Sequence++
					h.Checkpoint = events.At(p)
				}
			}
		}),
		"an answer says not found of what is there": inStore(func(_ *world, b *bentStore) {
			now := nth(3)
			b.got = func(_ *projections.Header, d **projections.Document) {
				if *d != nil && now() {
					*d = nil
				}
			}
		}),
		"a page leaves a key out": inStore(func(_ *world, b *bentStore) {
			b.paged = func(list []projections.Document) []projections.Document {
				if len(list) > 1 {
					return slices.Delete(list, 0, 1)
				}
				return list
			}
		}),
	}
}

func readPlants() map[string]func(*world) {
	// once changes the nth event of a batch of at least two.
	once := func(n int, change func(list []events.Record, i int)) func(*world) {
		return inLog(func(b *bentLog) {
			now := nth(n)
			b.batch = func(list []events.Record) []events.Record {
				for i := 1; i < len(list); i++ {
					if list[i].Kind == events.KindEvent && list[i].Event.Type == added && now() {
						change(list, i)
					}
				}
				return list
			}
		})
	}
	return map[string]func(*world){
		"an event is skipped":       once(5, func(list []events.Record, i int) { list[i].Event.Type = ignored }),
		"an event is applied twice": once(5, func(list []events.Record, i int) { list[i].Event = list[i-1].Event }),
		"two events change places": once(5, func(list []events.Record, i int) {
			list[i].Event, list[i-1].Event = list[i-1].Event, list[i].Event
		}),
		"a payload is changed": once(5, func(list []events.Record, i int) { list[i].Event.Data = []byte(`{"n":77,"tag":"red"}`) }),
		"a record is missing": inLog(func(b *bentLog) {
			b.batch = func(list []events.Record) []events.Record {
				return slices.DeleteFunc(list, func(r events.Record) bool { return r.Sequence == 7 })
			}
		}),
		"a record is delivered again": inLog(func(b *bentLog) {
			b.batch = func(list []events.Record) []events.Record {
				if i := slices.IndexFunc(list, func(r events.Record) bool { return r.Sequence == 9 }); i >= 0 {
					list = slices.Insert(list, i, list[i])
				}
				return list
			}
		}),
		"fragments are taken for whole": inLog(func(b *bentLog) {
			b.batch = func(list []events.Record) []events.Record {
				for i := range list {
					list[i].Stamp.Tx = events.Tx{}
				}
				return list
			}
		}),
		"later terms are not known": inLog(func(b *bentLog) {
			b.info = func(i *events.Info) { i.Terms.Starts = i.Terms.Starts[:1] }
			b.batch = func(list []events.Record) []events.Record {
				for i := range list {
					if list[i].Control.Name == events.ControlTerm {
						list[i].Control.Name = "mark"
					}
				}
				return list
			}
		}),
	}
}

func foldPlants() map[string]func(*world) {
	return map[string]func(*world){
		"a fold counts an event twice": inProjection(func(b *bentProjection) {
			b.fold = func(fold func() error, r *events.Record) error {
				if r.Sequence%11 == 0 {
					_ = fold()
				}
				return fold()
			}
		}),
		"a fold is not the same after a restart": inProjection(func(b *bentProjection) {
			folded := 0
			b.fold = func(fold func() error, _ *events.Record) error {
				if folded++; folded == 5 {
					return nil
				}
				return fold()
			}
		}),
		"an event goes to another document": inProjection(func(b *bentProjection) {
			b.routed = func(r *events.Record, ops []projections.Op) {
				if len(ops) > 0 && ops[0].Key != "" && r.Sequence%7 == 0 {
					ops[0].Key = "a2"
				}
			}
		}),
		"documents are not parked": inProjection(func(b *bentProjection) {
			b.routed = func(_ *events.Record, ops []projections.Op) {
				for i := range ops {
					if ops[i].Key != "" {
						ops[i].Err = nil
					}
				}
			}
			b.fold = func(fold func() error, _ *events.Record) error {
				if err := fold(); errors.Is(err, projections.Delete) {
					return err
				}
				return nil
			}
		}),
		"documents are not removed": inProjection(func(b *bentProjection) {
			b.fold = func(fold func() error, _ *events.Record) error {
				if err := fold(); !errors.Is(err, projections.Delete) {
					return err
				}
				return nil
			}
		}),
	}
}
