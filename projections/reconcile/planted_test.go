package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/reconcile"
)

// nth reports true at its nth call, unless the bug was fixed before.
type nth struct {
	p     *place
	at    int64
	calls atomic.Int64
}

func (n *nth) now() bool { return n.calls.Add(1) == n.at && !n.p.fixed.Load() }

// buggy is a projection that does something wrong once.
type buggy struct {
	projections.Projection
	route func(r *events.Record, ops *projections.Ops, from int)
	fold  func(p projections.Projection, s projections.State, r *events.Record, op *projections.Op) error
}

func (b *buggy) Route(r *events.Record, at int, ops *projections.Ops) {
	from := len(ops.List())
	b.Projection.Route(r, at, ops)
	if b.route != nil && len(ops.List()) > from {
		b.route(r, ops, from)
	}
}

func (b *buggy) Fold(s projections.State, r *events.Record, op *projections.Op) error {
	if b.fold == nil {
		return b.Projection.Fold(s, r, op)
	}
	return b.fold(b.Projection, s, r, op)
}

// badStore is a store that does something wrong once: with a commit, or with what it loads.
type badStore struct {
	projections.Store
	commits func(commits []projections.Commit)
	load    func(docs []*projections.Document)
}

func (s *badStore) Apply(ctx context.Context, g projections.Generation, def *projections.Definition, commits []projections.Commit) []error {
	if s.commits != nil {
		s.commits(commits)
	}
	return s.Store.Apply(ctx, g, def, commits)
}

func (s *badStore) Load(ctx context.Context, g projections.Generation, def *projections.Definition, refs []projections.Ref) ([]*projections.Document, error) {
	docs, err := s.Store.Load(ctx, g, def, refs)
	if err == nil && s.load != nil {
		s.load(docs)
	}
	return docs, err
}

// folding plants a bug into the fold: at its nth event it does this instead.
func folding(do func(p projections.Projection, s projections.State, r *events.Record, op *projections.Op) error) func(*place, int64) {
	return func(p *place, at int64) {
		n := nth{p: p, at: at}
		p.seenProj = &buggy{Projection: p.proj, fold: func(proj projections.Projection, s projections.State, r *events.Record, op *projections.Op) error {
			if n.now() {
				return do(proj, s, r, op)
			}
			return proj.Fold(s, r, op)
		}}
	}
}

// edited folds, and then changes the fields of the state.
func edited(change func(values []string)) func(*place, int64) {
	return folding(func(p projections.Projection, s projections.State, r *events.Record, op *projections.Op) error {
		if err := p.Fold(s, r, op); err != nil {
			return err
		}
		values := s.AppendFields(nil)
		change(values)
		return s.SetFields(values)
	})
}

// writing plants a bug into commits: at the nth write that fits, its commit is changed.
func writing(fits func(w *projections.Write) bool, change func(commits []projections.Commit, c, w int)) func(*place, int64) {
	return func(p *place, at int64) {
		n := nth{p: p, at: at}
		p.seenStore = &badStore{Store: p.store, commits: func(commits []projections.Commit) {
			for i := range commits {
				for j := range commits[i].Writes {
					if fits(&commits[i].Writes[j]) && n.now() {
						change(commits, i, j)
						return
					}
				}
			}
		}}
	}
}

func isWritten(w *projections.Write) bool { return !w.Remove }

// plants are the bugs.
func plants() map[string]func(p *place, at int64) {
	drop := func(commits []projections.Commit, c, w int) {
		commits[c].Writes = slices.Delete(slices.Clone(commits[c].Writes), w, w+1)
	}
	document := func(change func(d *projections.Document)) func([]projections.Commit, int, int) {
		return func(commits []projections.Commit, c, w int) {
			d := &commits[c].Writes[w].Document
			d.Values = slices.Clone(d.Values)
			change(d)
		}
	}
	return map[string]func(p *place, at int64){
		"an event is skipped": folding(func(projections.Projection, projections.State, *events.Record, *projections.Op) error { return nil }),
		"an event is applied twice": folding(func(p projections.Projection, s projections.State, r *events.Record, op *projections.Op) error {
			return errors.Join(p.Fold(s, r, op), p.Fold(s, r, op))
		}),
		"two events are swapped": func(p *place, at int64) {
			n := nth{p: p, at: at}
			var held *events.Record
			p.seenProj = &buggy{Projection: p.proj, fold: func(proj projections.Projection, s projections.State, r *events.Record, op *projections.Op) error {
				if n.now() {
					copied := *r
					held = &copied
					return nil
				}
				err := proj.Fold(s, r, op)
				if held != nil && err == nil && !p.fixed.Load() {
					var ops projections.Ops
					proj.Route(held, 0, &ops)
					if list := ops.List(); len(list) > 0 && list[0].Key == op.Key {
						held, err = nil, proj.Fold(s, held, &list[0])
					}
				}
				return err
			}}
		},
		"a field gets another's value": edited(func(v []string) { v[0], v[1] = v[1], v[0] }),
		"a sum is one too large":       edited(func(v []string) { v[0] += "1" }),
		"a text is lost":               edited(func(v []string) { v[2] = "" }),
		"an event is folded into an empty document": folding(func(p projections.Projection, s projections.State, r *events.Record, op *projections.Op) error {
			empty := p.NewState()
			err := p.Fold(empty, r, op)
			return errors.Join(err, s.SetFields(empty.AppendFields(nil)))
		}),
		"an event deletes": folding(func(projections.Projection, projections.State, *events.Record, *projections.Op) error {
			return projections.Delete
		}),
		"an event parks": folding(func(projections.Projection, projections.State, *events.Record, *projections.Op) error {
			return errors.New("no")
		}),
		"what cannot be applied is passed over": func(p *place, at int64) {
			n := nth{p: p, at: max(1, at/40)}
			p.seenProj = &buggy{Projection: p.proj, fold: func(proj projections.Projection, s projections.State, r *events.Record, op *projections.Op) error {
				err := proj.Fold(s, r, op)
				if err != nil && !errors.Is(err, projections.Delete) && n.now() {
					return nil
				}
				return err
			}}
		},
		"a deletion is passed over": func(p *place, _ int64) {
			n := nth{p: p, at: 3}
			p.seenProj = &buggy{Projection: p.proj, fold: func(proj projections.Projection, s projections.State, r *events.Record, op *projections.Op) error {
				err := proj.Fold(s, r, op)
				if errors.Is(err, projections.Delete) && n.now() {
					return nil
				}
				return err
			}}
		},
		"an event goes to another document": func(p *place, at int64) {
			n := nth{p: p, at: at}
			p.seenProj = &buggy{Projection: p.proj, route: func(_ *events.Record, ops *projections.Ops, from int) {
				if n.now() {
					ops.List()[from].Key = "a7"
				}
			}}
		},
		"an event goes to a document of its own": func(p *place, at int64) {
			n := nth{p: p, at: at}
			p.seenProj = &buggy{Projection: p.proj, route: func(_ *events.Record, ops *projections.Ops, from int) {
				if n.now() {
					ops.List()[from].Key += "x"
				}
			}}
		},
		"a write is lost":               drop2(isWritten, drop),
		"a removal is lost":             drop2(func(w *projections.Write) bool { return w.Remove }, drop),
		"a write has the values before": writing(isWritten, document(func(d *projections.Document) { d.Values[0] = "0" })),
		"a write has no digest":         writing(isWritten, document(func(d *projections.Document) { d.Digest = projections.Digest{} })),
		"a write has another position":  writing(isWritten, document(func(d *projections.Document) { d.At = "us.7f3a11d2@1:1" })),
		"a write goes to another partition": func(p *place, at int64) {
			n := nth{p: p, at: at}
			var moved *projections.Write // on its way to the next commit of another partition
			from := 0
			p.seenStore = &badStore{Store: p.store, commits: func(commits []projections.Commit) {
				for i := range commits {
					c := &commits[i]
					if moved != nil && c.Partition != from {
						c.Writes, moved = append(slices.Clone(c.Writes), *moved), nil
					}
					for j := 0; j < len(c.Writes) && moved == nil; j++ {
						if isWritten(&c.Writes[j]) && n.now() {
							w := c.Writes[j]
							w.Create = true
							moved, from = &w, c.Partition
							c.Writes = slices.Delete(slices.Clone(c.Writes), j, j+1)
						}
					}
				}
			}}
		},
		"an entry of an index is lost": writing(func(w *projections.Write) bool { return len(w.Index) > 0 }, func(commits []projections.Commit, c, w int) {
			commits[c].Writes[w].Index = commits[c].Writes[w].Index[1:]
		}),
		"an entry of an index stays": writing(func(w *projections.Write) bool { return len(w.Unindex) > 0 }, func(commits []projections.Commit, c, w int) {
			commits[c].Writes[w].Unindex = commits[c].Writes[w].Unindex[1:]
		}),
		"a write is not parked": func(p *place, at int64) {
			writing(func(w *projections.Write) bool { return w.Parked != "" }, document(func(d *projections.Document) { d.Parked = "" }))(p, 1+at/50)
		},
		"a digest counts a document twice": func(p *place, at int64) {
			n := nth{p: p, at: at}
			var more [4]projections.Digest
			p.seenStore = &badStore{Store: p.store, commits: func(commits []projections.Commit) {
				for i := range commits {
					c := &commits[i]
					for j := range c.Writes {
						if n.now() {
							more[c.Partition] = c.Writes[j].Digest
						}
					}
					if !p.fixed.Load() {
						c.Next.Digest = c.Next.Digest.Add(more[c.Partition])
					}
				}
			}}
		},
		"a document is loaded as it was before": func(p *place, at int64) {
			n := nth{p: p, at: at / 4}
			p.cache = 5
			last := map[string]*projections.Document{}
			p.seenStore = &badStore{Store: p.store, load: func(docs []*projections.Document) {
				for i, d := range docs {
					if d == nil {
						continue
					}
					if old := last[d.Key]; old != nil && old.At != d.At && n.now() {
						docs[i] = old
					}
					last[d.Key] = d
				}
			}}
		},
		"a document is not found": func(p *place, at int64) {
			n := nth{p: p, at: at / 4}
			p.cache = 5
			p.seenStore = &badStore{Store: p.store, load: func(docs []*projections.Document) {
				for i, d := range docs {
					if d != nil && n.now() {
						docs[i] = nil
					}
				}
			}}
		},
	}
}

func drop2(fits func(w *projections.Write) bool, drop func([]projections.Commit, int, int)) func(*place, int64) {
	return func(p *place, at int64) {
		if !fits(&projections.Write{}) {
			at = 2 // there are few removals
		}
		writing(fits, drop)(p, at)
	}
}

// badMark reports whether some partition recorded something at a mark that it was not, which another region would have recorded rightly.
func (p *place) badMark() bool {
	p.t.Helper()
	headers, marks, err := p.store.Marks(context.Background(), p.gen())
	if err != nil {
		p.t.Fatal(err)
	}
	surveys := make([]*projector.Survey, len(headers))
	for i := range surveys {
		surveys[i] = &projector.Survey{Partition: i, Upto: projections.SequenceOf(headers[i].Checkpoint), Marks: marks[i]}
	}
	if err := projector.FoldPartitions(context.Background(), projector.Version{Projection: p.proj, Log: p.log}, len(headers), surveys); err != nil {
		p.t.Fatal(err)
	}
	return slices.ContainsFunc(surveys, func(s *projector.Survey) bool { return s.Bad != 0 })
}

// TestPlantedBugsAreFound: whatever a projector or a store does wrong once is found, at a mark or by an examination, and repaired.
func TestPlantedBugsAreFound(t *testing.T) {
	for name, plant := range plants() {
		for _, kind := range kinds() {
			if kind == "tags" && (strings.Contains(name, "deletion") || strings.Contains(name, "removal")) {
				continue // its documents are never removed
			}
			t.Run(fmt.Sprint(name, " of ", kind), func(t *testing.T) {
				found := 0
				for seed := range uint64(4) {
					inPlace(t, kind, seed+1, func(p *place) { plant(p, int64(20+25*seed)) }, func(p *place) { //nolint:gosec // small
						var r *reconcile.Report
						for range 30 {
							p.add(5)
							p.mark()
							p.settle()
							if r = p.examine(reconcile.Options{Deep: true}); len(r.Findings) > 0 || p.badMark() {
								break
							}
						}
						if len(r.Findings) > 0 || p.badMark() {
							found++
						}
						if len(r.Findings) == 0 {
							return
						}
						p.fixed.Store(true)
						p.repair(r)
						if again := p.examine(reconcile.Options{Deep: true}); len(again.Findings) > 0 {
							t.Errorf("seed %d: after the repair there is %+v", seed, again.Findings)
						}
					})
				}
				if found == 0 {
					t.Error("it was not found")
				}
				t.Logf("found in %d of 4 runs", found)
			})
		}
	}
}
