package projector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// session is a document that expires.
type session struct {
	Seen    int64  `json:"seen"`
	Expires string `json:"expires"`
}

// visit keeps a session for some seconds more; 0 is for ever, a negative time is in the past already, and over a thousand cannot be applied.
type visit struct {
	Seconds int64  `json:"seconds"`
	At      string `json:"at"` // of the event, RFC 3339
	Page    string `json:"page"`
}

func visited(s session, e projections.Event[visit]) (session, error) {
	if e.Data.Seconds > 1_000 {
		return s, errNotEnough
	}
	s.Seen, s.Expires = s.Seen+1, ""
	if e.Data.Seconds != 0 {
		at, err := time.Parse(time.RFC3339Nano, e.Data.At)
		if err != nil {
			return s, err
		}
		s.Expires, _ = projections.FormatExpiry(at.Add(time.Duration(e.Data.Seconds) * time.Second))
	}
	return s, nil
}

// newSessions returns projections by kind, as newProjection does.
func newSessions(kind string, version int) (projections.Projection, error) {
	on := projections.On(accountType, "Visited", visited)
	if kind == "pages" {
		on = projections.OnKey("", "Visited", func(e projections.Event[visit]) string { return e.Data.Page }, visited)
	}
	p, err := projections.New(kind, version, on)
	if err != nil {
		return nil, err
	}
	return p.ExpiresBy("expires")
}

// plainSession is a document as it is folded plainly.
type plainSession struct {
	seen   int
	at     time.Time // zero: never
	parked uint64    // at which event; 0: it is not
}

// plainSessions returns documents as text, by key.
func plainSessions(t *testing.T, w *world) map[string]string {
	t.Helper()
	docs := foldSessions(t, w)
	out := make(map[string]string, len(docs))
	for key, d := range docs {
		at := ""
		if !d.at.IsZero() {
			at = d.at.UTC().Format("2006-01-02T15:04:05.000000000Z")
		}
		out[key] = fmt.Sprint(d.seen, " ", at, " ", d.parked != 0)
	}
	return out
}

// foldSessions folds a log, plainly, with the skips that it has.
func foldSessions(t *testing.T, w *world) map[string]*plainSession {
	t.Helper()
	docs, skips := map[string]*plainSession{}, w.oracle(w.version)
	for records, err := range w.log.Copy(1<<62).Read(context.Background(), events.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range records {
			r := &records[i]
			if r.Kind == events.KindControl && r.Control.Name == "mark" {
				var m struct{ Time time.Time }
				if json.Unmarshal(r.Control.Data, &m) != nil || m.Time.IsZero() {
					continue
				}
				at := m.Time
				if r.Time.Before(at) {
					at = r.Time
				}
				maps.DeleteFunc(docs, func(_ string, d *plainSession) bool { return d.parked == 0 && !d.at.IsZero() && !d.at.After(at) })
			}
			if r.Kind != events.KindEvent {
				continue
			}
			var v visit
			if err := json.Unmarshal(r.Event.Data, &v); err != nil {
				t.Fatal(err)
			}
			key := r.Event.Entity.ID
			if w.kind == "pages" {
				key = v.Page
			}
			d := docs[key]
			if d == nil {
				if d = (&plainSession{}); v.Seconds > 1_000 && skips.passes(key, r.Sequence) {
					continue
				}
				docs[key] = d
			}
			switch {
			case d.parked != 0, v.Seconds > 1_000 && skips.passes(key, r.Sequence):
			case v.Seconds > 1_000:
				d.parked = r.Sequence
			default:
				d.seen++
				d.at = time.Time{}
				if v.Seconds != 0 {
					at, err := time.Parse(time.RFC3339Nano, v.At)
					if err != nil {
						t.Fatal(err)
					}
					d.at = at.Add(time.Duration(v.Seconds) * time.Second)
				}
			}
		}
	}
	return docs
}

// storedSessions returns the documents of the live generation in the same form, and what the index of those that expire has.
func storedSessions(t *testing.T, w *world) (docs, due map[string]string) {
	t.Helper()
	copied, ctx := memstore.New(), context.Background()
	copied.Restore(w.store.Snapshot())
	proj, err := newSessions(w.kind, w.version)
	if err != nil {
		t.Fatal(err)
	}
	docs, due = map[string]string{}, map[string]string{}
	def, g := proj.Definition(), w.live()
	for i := range g.Partitions {
		_, list, err := copied.Page(ctx, g, def, i, "", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			if d.Values == nil {
				t.Fatalf("%s is damaged", d.Key)
			}
			docs[d.Key] = fmt.Sprint(d.Values[0], " ", d.Values[1], " ", d.Parked != "")
		}
		_, found, err := copied.Find(ctx, g, def, i, projections.IndexQuery{Index: projections.ExpiryIndexName, Limit: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			due[f.Key] = f.Value
		}
	}
	return docs, due
}

// levelSessions returns nil when the stored documents are those of the plain fold, and the index is theirs.
func levelSessions(t *testing.T, w *world) error {
	t.Helper()
	o := w.oracle(w.version)
	for _, h := range w.headers(w.live()) {
		if seq, ok := o.seqOf(h.Checkpoint); h.State != projections.Live || !ok || seq != o.head() {
			return fmt.Errorf("partition %d is %q at %s, expected live at %d", h.Partition, h.State, h.Checkpoint, o.head())
		}
	}
	want := plainSessions(t, w)
	got, due := storedSessions(t, w)
	if !maps.Equal(want, got) {
		return fmt.Errorf("there is %v, expected %v", got, want)
	}
	for key, text := range want {
		_, listed := due[key]
		if expires := strings.HasSuffix(text, "Z false"); expires != listed {
			return fmt.Errorf("%s is %q, and in the index: %v", key, text, listed)
		}
		delete(due, key)
	}
	if len(due) > 0 {
		return fmt.Errorf("the index has %v, which are not there", slices.Sorted(maps.Keys(due)))
	}
	return w.byTheLog()
}

// sessionsRun makes a log at random and disturbs whoever follows it.
type sessionsRun struct {
	w    *world
	rand *rand.Rand
}

// mark appends a mark, sometimes one that cannot be read, or that is of a clock that is ahead.
func (s *sessionsRun) mark(t *testing.T) {
	t.Helper()
	at := time.Now().UTC()
	switch s.rand.IntN(8) {
	case 0:
		at = at.Add(time.Hour)
	case 1:
		at = at.Add(-time.Minute)
	}
	s.w.marks++
	data, err := json.Marshal(events.Mark{Time: at, Number: s.w.marks})
	if err != nil {
		t.Fatal(err)
	}
	if s.rand.IntN(20) == 0 {
		data = []byte(`"junk"`)
	}
	c := events.Control{Name: events.ControlMark, Data: data}
	m := events.EncodeControl("us", c, events.Stamp{Time: events.TimestampAt(time.Now()), Hash: c.ContentHash()})
	s.w.log.StoreRaw(m.Subject, m.Header, m.Data)
}

func (s *sessionsRun) visits(n int) {
	for range n {
		var list []events.Event
		for range 1 + s.rand.IntN(3) {
			seconds := []int64{0, -3, 1, 5, 20, 60}[s.rand.IntN(6)]
			if s.rand.IntN(15) == 0 {
				seconds = 5_000
			}
			data := fmt.Sprintf(`{"seconds":%d,"at":%q,"page":"p%d"}`, seconds, time.Now().UTC().Format(time.RFC3339Nano), s.rand.IntN(12))
			list = append(list, s.w.event("Visited", fmt.Sprintf("%s/a%d", accountType, s.rand.IntN(12)), data))
		}
		s.w.append(list...)
		if s.rand.IntN(4) == 0 {
			pass(time.Duration(s.rand.IntN(5_000)) * time.Millisecond)
		}
	}
}

// skip skips the events that some documents are parked at.
func (s *sessionsRun) skip(t *testing.T) {
	t.Helper()
	docs := foldSessions(t, s.w)
	var list []skipped
	for _, key := range slices.Sorted(maps.Keys(docs)) {
		if at := docs[key].parked; at != 0 && s.rand.IntN(2) == 0 {
			list = append(list, skipped{Key: key, Sequence: at})
		}
	}
	if len(list) > 0 {
		s.w.skip(list...)
	}
}

// disturb does something to the store or the projector.
func (s *sessionsRun) disturb(past *memstore.Snapshot) {
	w := s.w
	switch g := w.live(); s.rand.IntN(7) {
	case 0:
		w.store.Flush()
	case 1:
		w.store.Restore(past)
	case 2, 3:
		if len(w.running) > 0 {
			w.kill(w.running[0])
		}
		w.start()
	case 4:
		if g.Partitions > 0 {
			key := fmt.Sprint("a", s.rand.IntN(12))
			w.store.EditDocument(g, projections.Ref{Partition: projections.PartitionOf(key, g.Partitions), Key: key},
				func(fields map[string]string) { fields["seen"] = "99" })
		}
	}
}

// disaster runs projectors through a log and faults of a seed, and returns what is not right in the end.
func (s *sessionsRun) disaster(t *testing.T) error {
	w := s.w
	w.newProjection = newSessions
	w.options.Batch, w.options.CacheDocuments = []int{1, 3, 50, 5_000}[s.rand.IntN(4)], 1+s.rand.IntN(20)
	if s.rand.IntN(2) == 0 {
		w.start()
	}
	past := w.store.Snapshot()
	for range 12 {
		s.visits(1 + s.rand.IntN(8))
		if s.rand.IntN(3) > 0 {
			s.mark(t)
		}
		if s.rand.IntN(2) == 0 {
			s.skip(t)
		}
		s.disturb(past)
		if s.rand.IntN(4) == 0 {
			past = w.store.Snapshot()
		}
	}
	for len(w.running) > 0 {
		w.kill(w.running[0])
	}
	w.start() // with an empty cache: what was edited by hand is noticed when it is loaded
	s.touchAll()
	return w.eventually(func() error { return levelSessions(t, w) })
}

func TestDocumentsExpireAtMarksWhateverHappens(t *testing.T) {
	for _, kind := range []string{"accounts", "pages"} {
		for seed := range uint64(60) {
			t.Run(fmt.Sprint(kind, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, kind)
					defer w.close()
					s := &sessionsRun{w: w, rand: rand.New(rand.NewPCG(seed, 7))}
					if err := s.disaster(t); err != nil {
						t.Fatalf("seed %d: not right within a minute: %v", seed, err)
					}
					w.rebuild()
					if r := w.replay(); !r.Compared || !r.Equal {
						t.Errorf("seed %d: the replay is %+v", seed, r)
					}
					if err := levelSessions(t, w); err != nil {
						t.Errorf("seed %d: after a replay: %v", seed, err)
					}
				})
			})
		}
	}
}

// forgetfulStore is a store whose index of those that expire is read wrong.
type forgetfulStore struct {
	projections.Store
	found func([]projections.Found) []projections.Found
}

func (f forgetfulStore) Find(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, q projections.IndexQuery,
) (projections.Header, []projections.Found, error) {
	h, list, err := f.Store.Find(ctx, g, def, partition, q)
	return h, f.found(list), err
}

// TestTheTestOfExpiryFindsPlantedBugs: each of these has to be seen by some seed.
func TestTheTestOfExpiryFindsPlantedBugs(t *testing.T) {
	without := func(list []projections.IndexEntry) []projections.IndexEntry {
		return slices.DeleteFunc(slices.Clone(list), func(e projections.IndexEntry) bool { return e.Index == projections.ExpiryIndex })
	}
	writes := func(change func(*projections.Write)) func(*world) {
		return func(w *world) {
			w.seenStore = &bentStore{Store: w.store, commits: func(_ projections.Generation, list []projections.Commit) {
				for i := range list {
					for j := range list[i].Writes {
						change(&list[i].Writes[j])
					}
				}
			}}
		}
	}
	for name, plant := range map[string]func(*world){
		"what is due is not seen": func(w *world) {
			w.seenStore = forgetfulStore{w.store, func([]projections.Found) []projections.Found { return nil }}
		},
		"the last of what is due is not seen": func(w *world) {
			w.seenStore = forgetfulStore{w.store, func(list []projections.Found) []projections.Found { return list[:max(0, len(list)-1)] }}
		},
		"documents are not listed":     writes(func(w *projections.Write) { w.Index = without(w.Index) }),
		"documents stay listed":        writes(func(w *projections.Write) { w.Unindex = without(w.Unindex) }),
		"a document expires by itself": func(w *world) { w.seenProj = bentExpiry(func(p string) string { return p[:len(p)-3] + "99Z" }) },
		"a document expires never":     func(w *world) { w.seenProj = bentExpiry(func(string) string { return "" }) },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(40) {
				found := false
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, "accounts")
					defer w.close()
					plant(w)
					s := &sessionsRun{w: w, rand: rand.New(rand.NewPCG(seed, 7))}
					found = s.disaster(t) != nil
				})
				if found {
					return
				}
			}
			t.Error("nobody noticed")
		})
	}
}

// bentExpiry changes when documents expire.
func bentExpiry(change func(string) string) func(projections.Projection) projections.Projection {
	return func(p projections.Projection) projections.Projection { return bentSessions{p, change} }
}

type bentSessions struct {
	projections.Projection
	change func(string) string
}

func (b bentSessions) Fold(s projections.State, r *events.Record, op *projections.Op) error {
	err := b.Projection.Fold(s, r, op)
	if values := s.AppendFields(nil); err == nil && values[1] != "" {
		values[1] = b.change(values[1])
		err = s.SetFields(values)
	}
	return err
}

// touchAll has an event on every document, so that one that was edited by hand is noticed.
func (s *sessionsRun) touchAll() {
	for i := range 12 {
		data := fmt.Sprintf(`{"seconds":%d,"at":%q,"page":"p%d"}`, 900*(i%2), time.Now().UTC().Format(time.RFC3339Nano), i)
		s.w.append(s.w.event("Visited", fmt.Sprintf("%s/a%d", accountType, i), data))
	}
}

// TestAMarkBeforeAnythingExpiresAsksTheStoreForNothing: a replay passes years of marks.
func TestAMarkBeforeAnythingExpiresAsksTheStoreForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "accounts")
		defer w.close()
		w.newProjection = newSessions
		at := time.Now().UTC().Format(time.RFC3339Nano)
		w.append(w.event("Visited", accountType+"/a1", fmt.Sprintf(`{"seconds":900,"at":%q}`, at)))
		finds := 0
		w.store.Observe(func(c memstore.Call) {
			if c.Op == memstore.OpFind {
				finds++
			}
		})
		w.options.Batch = 1
		w.start()
		plain := func() {
			data, _ := json.Marshal(events.Mark{Time: time.Now().UTC()})
			c := events.Control{Name: events.ControlMark, Data: data}
			m := events.EncodeControl("us", c, events.Stamp{Time: events.TimestampAt(time.Now()), Hash: c.ContentHash()})
			w.log.StoreRaw(m.Subject, m.Header, m.Data)
		}
		for range 80 {
			pass(10 * time.Second)
			plain()
		}
		if err := w.eventually(func() error { return levelSessions(t, w) }); err != nil {
			t.Fatal(err)
		}
		if finds > w.options.Partitions {
			t.Errorf("80 marks asked the store %d times", finds)
		}
		pass(2 * time.Minute)
		plain()
		if err := w.eventually(func() error { return levelSessions(t, w) }); err != nil {
			t.Fatal(err)
		}
		if docs, _ := storedSessions(t, w); len(docs) != 0 {
			t.Errorf("there is still %v", docs)
		}
	})
}

func TestAReleasedDocumentExpiresLikeOthers(t *testing.T) {
	for _, kind := range []string{"accounts", "pages"} {
		region(t, kind, func(w *world) {
			w.newProjection = newSessions
			visit := func(seconds int) uint64 {
				return w.one("Visited", accountType+"/p", fmt.Sprintf(`{"seconds":%d,"at":%q,"page":"p"}`, seconds, time.Now().UTC().Format(time.RFC3339Nano)))
			}
			level := func(what string, docs int) {
				t.Helper()
				if err := w.eventually(func() error { return levelSessions(t, w) }); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if got, _ := storedSessions(t, w); len(got) != docs {
					t.Errorf("%s: there is %v", what, got)
				}
			}
			mark := func() {
				w.log.StoreRaw("ctl.us.mark", nil, fmt.Appendf(nil, `{"time":%q}`, time.Now().UTC().Format(time.RFC3339Nano)))
			}
			w.start()
			visit(10)
			bad := visit(5_000)
			pass(time.Second)
			mark() // nothing expires that is not parked
			level("parked", 1)
			w.skip(skipped{Key: "p", Sequence: bad})
			level("released", 1)
			pass(20 * time.Second)
			mark()
			level("expired", 0)
			visit(10)
			bad = visit(5_000)
			pass(20 * time.Second)
			mark()
			level("parked again, beyond its time", 1)
			w.skip(skipped{Key: "p", Sequence: bad})
			level("released after its time", 0) // the mark was before the record, and removes it in the fold
			visit(10)
			level("new", 1)
		})
	}
}
