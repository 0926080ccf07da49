package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/reconcile"
)

// damage changes what is stored behind the projector's back, and says what has to be found: the kind, for each key that was damaged.
type damage struct {
	name string
	do   func(p *place, old map[string]map[string]string) map[string]reconcile.Kind
}

// fieldsOf returns what is stored of a document.
func (p *place) fieldsOf(ref projections.Ref) (copied map[string]string) {
	p.store.EditDocument(p.gen(), ref, func(fields map[string]string) { copied = maps.Clone(fields) })
	return copied
}

// stored returns what is stored of all documents, by their keys.
func (p *place) stored() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, ref := range p.refs() {
		all[ref.Key] = p.fieldsOf(ref)
	}
	return all
}

// genuine gives the fields of a document the digest of its content.
func (p *place) genuine(key string, fields map[string]string) {
	def := p.proj.Definition()
	values := make([]string, len(def.Fields))
	for i, f := range def.Fields {
		values[i] = fields[f.Name]
	}
	fields["_digest"] = projections.NewHasher(def).Document(key, fields["_at"], fields["_parked"], values).String()
}

// pick returns some documents that are stored, the same ones for the same seed.
func (p *place) pick(n int) []projections.Ref {
	refs := p.refs()
	p.rand.Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
	return refs[:n]
}

// each damages some documents, one by one.
func each(kind reconcile.Kind, do func(p *place, ref projections.Ref)) func(*place, map[string]map[string]string) map[string]reconcile.Kind {
	return func(p *place, _ map[string]map[string]string) map[string]reconcile.Kind {
		want := map[string]reconcile.Kind{}
		for _, ref := range p.pick(3) {
			do(p, ref)
			want[ref.Key] = kind
		}
		return want
	}
}

func (p *place) edit(ref projections.Ref, change func(fields map[string]string)) {
	p.store.EditDocument(p.gen(), ref, change)
}

// flip changes one bit of a digest.
func flip(digest string) string {
	d, _ := projections.ParseDigest(digest)
	one, _ := projections.ParseDigest("00000000000000000000000000000001")
	return d.Add(one).String()
}

// vanish makes a document vanish with everything that names it.
func (p *place) vanish(ref projections.Ref) {
	gen, def := p.gen(), p.proj.Definition()
	fields := p.fieldsOf(ref)
	for _, name := range def.IndexNames() {
		for _, entry := range p.store.Entries(gen, ref.Partition, name) {
			if len(entry) >= len(ref.Key) && entry[len(entry)-len(ref.Key):] == ref.Key {
				p.store.DropEntry(gen, ref.Partition, name, entry)
			}
		}
	}
	p.store.Unlist(gen, ref)
	if len(fields) > 0 {
		p.edit(ref, func(fields map[string]string) { clear(fields) })
	}
}

// damages are the ways of damaging documents and indexes.
func damages() []damage {
	return []damage{
		{"a field is edited", each(reconcile.KindAltered, func(p *place, ref projections.Ref) { p.edit(ref, func(f map[string]string) { f["sum"] += "1" }) })},
		{"a field is edited, and the digest with it", each(reconcile.KindAltered, func(p *place, ref projections.Ref) {
			p.edit(ref, func(f map[string]string) { f["chain"] += "1"; p.genuine(ref.Key, f) })
		})},
		{"a bit of a digest is flipped", each(reconcile.KindAltered, func(p *place, ref projections.Ref) {
			p.edit(ref, func(f map[string]string) { f["_digest"] = flip(f["_digest"]) })
		})},
		{"a field is removed", each(reconcile.KindAltered, func(p *place, ref projections.Ref) { p.edit(ref, func(f map[string]string) { delete(f, "note") }) })},
		{"a field is added", each(reconcile.KindAltered, func(p *place, ref projections.Ref) { p.edit(ref, func(f map[string]string) { f["more"] = "1" }) })},
		{"a document is deleted", each(reconcile.KindMissing, func(p *place, ref projections.Ref) { p.edit(ref, func(f map[string]string) { clear(f) }) })},
		{"a document is deleted with all that names it", each(reconcile.KindMissing, func(p *place, ref projections.Ref) { p.vanish(ref) })},
		{"a document is not listed", each(reconcile.KindIndex, func(p *place, ref projections.Ref) { p.store.Unlist(p.gen(), ref) })},
		{"a phantom is added", func(p *place, _ map[string]map[string]string) map[string]reconcile.Kind {
			gen := p.gen()
			fields := p.fieldsOf(p.pick(1)[0])
			p.genuine("phantom", fields)
			p.store.PutDocument(gen, projections.Ref{Partition: projections.PartitionOf("phantom", gen.Partitions), Key: "phantom"}, fields)
			return map[string]reconcile.Kind{"phantom": reconcile.KindExtra}
		}},
		{"a document is in another partition", func(p *place, _ map[string]map[string]string) map[string]reconcile.Kind {
			ref := p.pick(1)[0]
			p.store.PutDocument(p.gen(), projections.Ref{Partition: (ref.Partition + 1) % p.gen().Partitions, Key: ref.Key}, p.fieldsOf(ref))
			return map[string]reconcile.Kind{ref.Key: reconcile.KindExtra}
		}},
		{"an old version is put back", func(p *place, old map[string]map[string]string) map[string]reconcile.Kind {
			want := map[string]reconcile.Kind{}
			for _, ref := range p.refs() {
				before, now := old[ref.Key], p.fieldsOf(ref)
				if before == nil || before["_at"] == now["_at"] || before["_parked"] != "" || now["_parked"] != "" || len(want) == 3 {
					continue
				}
				p.edit(ref, func(f map[string]string) { clear(f); maps.Copy(f, before) })
				want[ref.Key] = reconcile.KindStale
			}
			return want
		}},
		{"an entry of an index is removed", each(reconcile.KindIndex, func(p *place, ref projections.Ref) {
			for _, entry := range p.store.Entries(p.gen(), ref.Partition, "by_sum") {
				if entry[len(entry)-len(ref.Key):] == ref.Key && entry[len(entry)-len(ref.Key)-1] >= '0' && entry[len(entry)-len(ref.Key)-1] <= '9' {
					p.store.DropEntry(p.gen(), ref.Partition, "by_sum", entry)
				}
			}
		})},
		{"an entry of an index is added", each(reconcile.KindIndex, func(p *place, ref projections.Ref) {
			value, err := projections.EncodeIndex([]projections.Kind{projections.KindInt}, "123456789")
			if err != nil {
				p.t.Fatal(err)
			}
			p.store.PutEntry(p.gen(), ref.Partition, "by_sum", value+ref.Key)
		})},
		{"an entry of an index names nobody", func(p *place, _ map[string]map[string]string) map[string]reconcile.Kind {
			value, err := projections.EncodeIndex([]projections.Kind{projections.KindInt}, "5")
			if err != nil {
				p.t.Fatal(err)
			}
			p.store.PutEntry(p.gen(), projections.PartitionOf("nobody", p.gen().Partitions), "by_sum", value+"nobody")
			return map[string]reconcile.Kind{"nobody": reconcile.KindIndex}
		}},
		{"sums of a partition are edited", func(p *place, _ map[string]map[string]string) map[string]reconcile.Kind {
			p.stop() // it would write what it remembers with its next commit
			p.store.EditHeader(p.gen(), 2, func(h *projections.Header) { h.Digest = h.Digest.Add(h.Digest) })
			p.start()
			return map[string]reconcile.Kind{"": reconcile.KindPartition}
		}},
	}
}

// late is what is not found before everything was walked through: it is in no list, or nothing but folding tells.
var late = map[string]bool{
	"a field is edited, and the digest with it": true, "a phantom is added": true, "a document is in another partition": true, "sums of a partition are edited": true,
}

// TestEveryDamageIsFoundJudgedAndRepaired: what was damaged is found, all of it and nothing else, under the right kind, and after a repair there is nothing left to find; a second one writes nothing.
func TestEveryDamageIsFoundJudgedAndRepaired(t *testing.T) {
	for _, kind := range kinds() {
		for _, d := range damages() {
			t.Run(kind+": "+d.name, func(t *testing.T) {
				inPlace(t, kind, 7, nil, func(p *place) {
					p.add(120)
					p.mark()
					p.settle()
					kept := p.snapshot()
					p.settle()
					old := p.stored()
					p.add(60)
					p.mark()
					p.add(3)
					p.settle()
					if r := p.examine(reconcile.Options{Deep: true}); len(r.Findings) > 0 || r.Compared != r.Partitions {
						t.Fatalf("of a healthy read model it says %+v", r)
					}
					want := d.do(p, old)
					if len(want) == 0 {
						t.Fatal("nothing was damaged")
					}
					r := p.examine(reconcile.Options{})
					got := map[string]reconcile.Kind{}
					for i := range r.Findings {
						f := &r.Findings[i]
						got[f.Key] = f.Kind
						if f.Region != "us" || f.Projection != kind || f.Position == "" || !f.Outside && f.Key != "" {
							t.Errorf("the finding is %+v", f)
						}
						if f.Kind == reconcile.KindStale && (f.FirstBad == 0 || f.Expected == nil || len(f.Fields) == 0) {
							t.Errorf("since when is %+v", f)
						}
					}
					if !maps.Equal(got, want) {
						t.Fatalf("found %v, want %v", got, want)
					}
					for _, from := range []*memstore.Snapshots{p.kept, p.without(kept, want)} { // the same is found with a snapshot, also with one that has it wrong
						if with := p.examine(reconcile.Options{Snapshots: from}); !reflect.DeepEqual(kindsOf(with), kindsOf(r)) || !slices.Equal(with.Recount, r.Recount) {
							t.Errorf("with a snapshot it finds %v, %v, without one %v, %v", kindsOf(with), with.Recount, kindsOf(r), r.Recount)
						}
					}
					var early []string
					if with := p.examine(reconcile.Options{Hurry: 0.5, Found: func(_ context.Context, some *reconcile.Report) error {
						early = append(early, kindsOf(some)...)
						return nil
					}}); !reflect.DeepEqual(kindsOf(with), kindsOf(r)) || !slices.Equal(with.Recount, r.Recount) {
						t.Errorf("telling early it finds %v, %v, otherwise %v, %v", kindsOf(with), with.Recount, kindsOf(r), r.Recount)
					}
					slices.Sort(early)
					switch { // what no list of keys and no sum tells is found at the end
					case kind == "accounts" && !slices.Equal(early, kindsOf(r)) && !late[d.name], kind != "accounts" && len(early) > 0:
						t.Errorf("told early was %v of %v", early, kindsOf(r))
					}
					out := p.repair(r)
					if keys := len(slices.Collect(maps.Keys(want))); out.Repaired != keys && out.Recounted == 0 {
						t.Errorf("the repair came to %+v, for %d", out, keys)
					}
					if r := p.examine(reconcile.Options{Deep: true}); len(r.Findings) > 0 {
						t.Fatalf("after the repair there is %+v", r.Findings)
					}
					if again := p.repair(r); again.Repaired+again.Recounted != 0 {
						t.Errorf("a second repair came to %+v", again)
					}
					p.add(10)
					p.mark()
					p.settle()
					if r := p.examine(reconcile.Options{Deep: true}); len(r.Findings) > 0 {
						t.Fatalf("later there is %+v", r.Findings)
					}
				})
			})
		}
	}
}

// What was repaired while the rest was examined is found all the same, and the end has nothing more to do about it.
func TestWhatIsToldEarlyCanBeRepairedEarly(t *testing.T) {
	for _, d := range damages() {
		t.Run(d.name, func(t *testing.T) {
			inPlace(t, "accounts", 7, nil, func(p *place) {
				p.add(120)
				p.settle()
				old := p.stored()
				p.add(60)
				p.mark()
				p.settle()
				want := d.do(p, old)
				repaired := 0
				r := p.examine(reconcile.Options{Found: func(_ context.Context, some *reconcile.Report) error {
					repaired += p.repair(some).Repaired
					p.add(5) // and it goes on
					p.settle()
					return nil
				}})
				got := map[string]reconcile.Kind{}
				for i := range r.Findings {
					got[r.Findings[i].Key] = r.Findings[i].Kind
				}
				if !maps.Equal(got, want) {
					t.Errorf("found %v, want %v", got, want)
				}
				switch out := p.repair(r); {
				case late[d.name] && repaired > 0, !late[d.name] && (repaired != len(want) || out.Repaired+out.Recounted > 0):
					t.Errorf("of %d %d were repaired early, and then %+v", len(want), repaired, out)
				}
				if r := p.examine(reconcile.Options{Deep: true}); len(r.Findings) > 0 {
					t.Errorf("left is %+v", r.Findings)
				}
			})
		})
	}
}

// An examination ends with the error of whoever is told.
func TestWhoeverIsToldEarlyMayEndIt(t *testing.T) {
	inPlace(t, "accounts", 7, nil, func(p *place) {
		p.add(100)
		p.settle()
		p.edit(p.pick(1)[0], func(f map[string]string) { f["sum"] += "1" })
		enough := errors.New("enough")
		_, err := reconcile.Examine(context.Background(), "us", projector.Version{Projection: p.proj, Log: p.log}, p.store, p.kv, reconcile.Options{
			Found: func(context.Context, *reconcile.Report) error { return enough },
		})
		if !errors.Is(err, enough) {
			t.Errorf("it ended with %v", err)
		}
	})
}

func kindsOf(r *reconcile.Report) []string {
	list := []string{}
	for i := range r.Findings {
		list = append(list, fmt.Sprint(r.Findings[i].Key, " ", r.Findings[i].Kind))
	}
	slices.Sort(list)
	return list
}

// TestNothingIsFoundThatIsRight: while events are applied, everything is examined again and again, and nothing is reported.
func TestNothingIsFoundThatIsRight(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			inPlace(t, kind, 11, nil, func(p *place) {
				p.add(200)
				p.settle()
				done := make(chan struct{})
				go func() {
					defer close(done)
					for i := range 300 {
						p.add(1)
						if i%20 == 0 {
							p.mark()
						}
						pass(3_000_000)
					}
				}()
				documents, compared, deep := uint64(0), 0, false
				for running := true; running; {
					select {
					case <-done:
						running = false
					default:
					}
					deep = !deep
					r := p.examine(reconcile.Options{Deep: deep})
					if len(r.Findings)+len(r.Recount) > 0 {
						t.Fatalf("found %+v", r)
					}
					documents, compared = documents+r.Documents, compared+r.Compared
					pass(1_000_000)
				}
				if compared == 0 {
					t.Error("no sums were compared")
				}
				t.Logf("%d documents and the sums of %d partitions compared", documents, compared)
			})
		})
	}
}

// TestWhatCanBeNoDocumentIsFound: an entry that somebody wrote into an index by hand does not keep the rest from being examined; a person has to remove it.
func TestWhatCanBeNoDocumentIsFound(t *testing.T) {
	inPlace(t, "accounts", 13, nil, func(p *place) {
		p.add(60)
		p.mark()
		p.settle()
		p.store.PutEntry(p.gen(), 1, "by_sum", "by hand")
		ref := p.pick(1)[0]
		p.edit(ref, func(f map[string]string) { f["sum"] += "1" })
		r := p.examine(reconcile.Options{})
		if len(r.Findings) != 2 || !slices.ContainsFunc(r.Findings, func(f reconcile.Finding) bool {
			return f.Kind == reconcile.KindIndex && f.Partition == 1 && f.Index == "by_sum" && f.Entry == reconcile.EntryExtra && f.Member == "by hand" && f.Key == ""
		}) {
			t.Fatalf("found %+v", r.Findings)
		}
		if plan := r.Plan(0); plan.Documents != 1 || len(plan.Blocked) != 1 {
			t.Errorf("the plan is %+v", plan)
		}
		p.repair(r)
		p.store.DropEntry(p.gen(), 1, "by_sum", "by hand")
		if r := p.examine(reconcile.Options{Deep: true}); len(r.Findings) > 0 {
			t.Errorf("afterwards there is %+v", r.Findings)
		}
	})
}
