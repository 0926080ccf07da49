package projector_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/declared"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

// theirs is a stream that is not ours, in memory.
type theirs struct {
	mu       sync.Mutex
	lineage  events.Lineage
	messages []events.Record // by sequence; Kind 0: deleted
	first    uint64          // the first that is retained
	changed  chan struct{}
	plant    func([]events.Record) []events.Record // what a reader gets instead
	dense    bool                                  // it says that nothing can be missing
}

func newTheirs() *theirs {
	return &theirs{lineage: "0a0b0c0d", first: 1, changed: make(chan struct{})}
}

func (s *theirs) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// publish stores a message that adds n to a counter.
func (s *theirs) publish(counter string, n int) {
	s.store("count."+counter, fmt.Sprintf(`{"n":%d}`, n))
}

func (s *theirs) store(subject, data string) {
	s.change(func() {
		seq := uint64(len(s.messages)) + 1
		s.messages = append(s.messages, events.Record{
			Sequence: seq, Time: time.Unix(int64(1_000+seq), 0).UTC(), Kind: events.KindMessage, Subject: subject, Event: events.Event{Data: []byte(data)}, //nolint:gosec // small
		})
	})
}

func (s *theirs) remove(seqs ...uint64) {
	s.change(func() {
		for _, seq := range seqs {
			s.messages[seq-1].Kind = 0
		}
	})
}

func (s *theirs) evict(before uint64) { s.change(func() { s.first = before }) }

// again makes another stream of the same name.
func (s *theirs) again() {
	s.change(func() { s.lineage, s.messages, s.first = "1a1b1c1d", nil, 1 })
}

func (s *theirs) Origin() string { return "counts" }

func (s *theirs) Info(context.Context) (events.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return events.Info{Origin: "counts", Terms: events.NewTerms(s.lineage), First: s.first, Last: uint64(len(s.messages)), Sparse: !s.dense}, nil
}

func (s *theirs) Controls(context.Context, string, uint64) iter.Seq2[events.Record, error] {
	return func(func(events.Record, error) bool) {}
}

func (s *theirs) Record(_ context.Context, seq uint64) (events.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq < s.first || seq > uint64(len(s.messages)) || s.messages[seq-1].Kind == 0 {
		return events.Record{}, events.Errorf(events.ErrNotFound, "no message at %d", seq)
	}
	return s.messages[seq-1], nil
}

// step returns the next records, and whether there are any.
func (s *theirs) step(next, to uint64) (out []events.Record) {
	to = min(to, uint64(len(s.messages)))
	for seq := next; seq <= to && len(out) < 3; seq++ {
		r := events.Record{Kind: events.KindDeleted, First: seq}
		switch {
		case seq < s.first:
			r.Kind, seq = events.KindEvicted, min(to, s.first-1)
		case s.messages[seq-1].Kind == 0:
			for seq < to && s.messages[seq].Kind == 0 {
				seq++
			}
		default:
			r = s.messages[seq-1]
		}
		r.Sequence = seq
		out = append(out, r)
	}
	return out
}

func (s *theirs) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		s.mu.Lock()
		next, to, lineage := max(r.From, 1), r.To, s.lineage
		if head := uint64(len(s.messages)); !r.Follow && (to == 0 || to > head) {
			to = head
		} else if to == 0 {
			to = math.MaxUint64
		}
		s.mu.Unlock()
		for next <= to {
			s.mu.Lock()
			out, changed, same := s.step(next, to), s.changed, s.lineage == lineage && next <= uint64(len(s.messages))+1
			plant := s.plant
			s.mu.Unlock()
			if !same {
				yield(nil, events.Errorf(events.ErrForeignHistory, "another stream"))
				return
			}
			if len(out) > 0 {
				next = out[len(out)-1].Sequence + 1
				if plant != nil {
					out = plant(out)
				}
				if !yield(out, nil) {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(nil, context.Cause(ctx))
				return
			}
		}
	}
}

func (s *theirs) History(context.Context, events.Entity, uint64) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		yield(events.Record{}, events.Errorf(events.ErrInvalidEntity, "no entities"))
	}
}

func (s *theirs) LastControl(context.Context, string) (events.Record, error) {
	return events.Record{}, events.Errorf(events.ErrNotFound, "no records of ours")
}

const countsFile = `projection: counts
version: 1
stream: {name: COUNTS, type: {text: counted}, entity: {type: {text: counter}, id: "subject[1]"}}
fields: {n: int, times: int}
on: [{event: counted, do: [{add: {n: data.n}, count: times}]}]
`

// attached is a region in memory whose projection follows a stream that is not ours, in a synctest bubble.
type attached struct {
	t       *testing.T
	stream  *theirs
	ours    *memlog.Log
	proj    projections.Projection
	store   *memstore.Store
	kv      *memstore.KV
	leases  *memstore.Leases
	reader  *query.Reader
	logs    *logbook
	endings []func()
}

func inAttached(t *testing.T, test func(w *attached)) {
	t.Helper()
	proj, _, err := declared.Parse("counts.yaml", []byte(countsFile))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ours := memlog.New("us", memlog.Options{Lineage: "7f3a11d2"})
		defer ours.Close()
		w := &attached{t: t, stream: newTheirs(), ours: ours, proj: proj, store: memstore.New(), kv: memstore.NewKV(), leases: memstore.NewLeases(), logs: &logbook{}}
		w.reader = query.New("us", w.store, w.kv, query.NewHeads(ours)).Attach(func(source *projections.Source) (events.Reader, error) {
			if *source != (projections.Source{Stream: "COUNTS", Origin: "counts"}) {
				t.Errorf("asked for %+v", *source)
			}
			return w.stream, nil
		})
		defer w.stop()
		test(w)
	})
}

func (w *attached) start() { w.follow(projector.Version{Projection: w.proj, Log: w.stream}) }

// follow starts a projector of a version, with those before it at hand.
func (w *attached) follow(v projector.Version, earlier ...projector.Version) {
	w.t.Helper()
	p, err := projector.New(v.Projection, v.Log, w.store, w.kv, w.leases, projector.Options{Partitions: 3, RetireDelay: time.Second, Logger: slog.New(w.logs), Earlier: earlier})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.Run(ctx); err != nil {
			w.t.Errorf("Run returned %v", err)
		}
	}()
	w.endings = append(w.endings, func() {
		cancel()
		<-done
	})
}

func (w *attached) stop() {
	for _, end := range w.endings {
		end()
	}
	w.endings = nil
}

func (w *attached) until(what string, ok func() bool) {
	w.t.Helper()
	for range 1_200 {
		if ok() {
			return
		}
		pass(50 * time.Millisecond)
	}
	w.logs.dump(w.t)
	w.t.Fatalf("not within a minute: %s", what)
}

func (w *attached) status() projections.Status {
	w.t.Helper()
	s, _, err := projections.ReadStatus(context.Background(), w.kv, "counts")
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// refuses waits until the projector refuses with a code.
func (w *attached) refuses(code events.Code) {
	w.t.Helper()
	w.until("it refuses with "+string(code), func() bool {
		s := w.status()
		return s.State == projections.ProjectorRefused && s.Code == string(code)
	})
}

// reaches waits until every partition is live at a sequence, and returns the documents.
func (w *attached) reaches(seq uint64) string {
	w.t.Helper()
	var o query.Overview
	w.until(fmt.Sprintf("it is live at %d", seq), func() bool {
		var err error
		if o, err = w.reader.Overview(context.Background()); err != nil || len(o.Projections) != 1 {
			return false
		}
		m := &o.Projections[0]
		point, _ := m.Position.Point("counts")
		return m.State == "live" && m.Digest != "" && point.Sequence == seq
	})
	return w.documents()
}

func (w *attached) documents() string {
	w.t.Helper()
	page, err := w.reader.List(context.Background(), "counts", query.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	var all []string
	for _, item := range page.Items {
		n, _ := item.Document.Field("n")
		times, _ := item.Document.Field("times")
		text := item.Key + "=" + n + "/" + times
		if item.Parked != "" {
			text += "!"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func (w *attached) want(got, want string) {
	w.t.Helper()
	if got != want {
		w.logs.dump(w.t)
		w.t.Fatalf("got %q, want %q", got, want)
	}
}

// rebuild replays from the start and returns the job when it has ended.
func (w *attached) rebuild() projections.Replay {
	w.t.Helper()
	asked, err := projections.RequestReplay(context.Background(), w.kv, "counts", "test", time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	var now projections.Replay
	w.until("the replay ends", func() bool {
		now, _, err = projections.ReadJSON[projections.Replay](context.Background(), w.kv, projections.ReplayKey("counts"))
		return err == nil && now.ID == asked.ID && !now.Running()
	})
	return now
}

func TestAStreamThatIsNotOursIsFollowed(t *testing.T) {
	inAttached(t, func(w *attached) {
		for i := range 10 {
			w.stream.publish(string(rune('a'+i%3)), i)
		}
		w.stream.remove(4, 5) // n: 3, 4
		w.start()
		w.want(w.reaches(10), "a=15/3 b=8/2 c=15/3")
		w.stream.publish("a", 100)
		w.stream.publish("d", 1)
		w.want(w.reaches(12), "a=115/4 b=8/2 c=15/3 d=1/1")
		a, err := w.reader.Get(context.Background(), "counts", "a", query.Options{AtLeast: events.At(events.Point{Origin: "counts", Lineage: "0a0b0c0d", Term: 1, Sequence: 12})})
		if err != nil || a.Position.String() != "counts.0a0b0c0d@1:12" || a.Changed != "counts.0a0b0c0d@1:11" || a.Lag == nil || a.Lag.Events != 0 {
			t.Errorf("%+v, %v", a, err)
		}
		if job := w.rebuild(); job.State != projections.ReplayDone || !job.Compared || !job.Equal {
			t.Errorf("the replay is %+v", job)
		}
		w.want(w.reaches(12), "a=115/4 b=8/2 c=15/3 d=1/1")
	})
}

func TestAReadModelBeginsWhereTheStreamDoes(t *testing.T) {
	inAttached(t, func(w *attached) {
		for i := range 10 {
			w.stream.publish("a", i)
		}
		w.stream.evict(7)
		w.stream.remove(9)
		w.start()
		w.want(w.reaches(10), "a=22/3") // 6, 7, 9
	})
}

// TestAnEmptyStreamHasALiveReadModel: complete at a position before everything, and it can be replayed.
func TestAnEmptyStreamHasALiveReadModel(t *testing.T) {
	inAttached(t, func(w *attached) {
		w.start()
		w.want(w.reaches(0), "")
		_, err := w.reader.Get(context.Background(), "counts", "a", query.Options{})
		if !errors.Is(err, projections.ErrNoDocument) {
			t.Errorf("got %v", err)
		}
		if job := w.rebuild(); job.State != projections.ReplayDone {
			t.Errorf("the replay is %+v", job)
		}
		w.stream.publish("a", 1)
		w.want(w.reaches(1), "a=1/1")
	})
}

func TestWhatIsDeletedAtTheEndIsPassedOver(t *testing.T) {
	inAttached(t, func(w *attached) {
		for range 5 {
			w.stream.publish("a", 1)
		}
		w.stream.remove(4, 5)
		w.start()
		w.want(w.reaches(5), "a=3/3")
		w.stop() // and its checkpoint, which no record stands at, is gone on from
		w.stream.publish("a", 10)
		w.start()
		w.want(w.reaches(6), "a=13/4")
	})
}

// TestWhatIsEvictedBeforeItWasReadIsRefused: going on would leave a hole that nobody sees. A person decides, by a replay.
func TestWhatIsEvictedBeforeItWasReadIsRefused(t *testing.T) {
	inAttached(t, func(w *attached) {
		for range 5 {
			w.stream.publish("a", 1)
		}
		w.start()
		w.want(w.reaches(5), "a=5/5")
		w.stop()
		for range 5 {
			w.stream.publish("b", 1)
		}
		w.stream.evict(8)
		w.start()
		w.refuses(events.ErrEvicted)
		if s := w.status(); !strings.Contains(s.Message, "retains nothing before 8, and counts had been folded up to 5 only") || !strings.Contains(s.Message, "tidemark replay counts --from-start") {
			t.Errorf("it says %s", s.Message)
		}
		w.want(w.documents(), "a=5/5") // which is true at the position that it stands at
		pass(time.Minute)
		w.refuses(events.ErrEvicted)
		if job := w.rebuild(); job.State != projections.ReplayDone || job.Compared {
			t.Errorf("the replay is %+v", job)
		}
		w.want(w.reaches(10), "b=3/3")
	})
}

// TestALiveReadModelOfAnEmptyStreamHasBegun: what comes and is evicted while it stands at 0 is lost, too.
func TestALiveReadModelOfAnEmptyStreamHasBegun(t *testing.T) {
	inAttached(t, func(w *attached) {
		w.start()
		w.reaches(0)
		w.stop()
		for range 5 {
			w.stream.publish("a", 1)
		}
		w.stream.evict(3)
		w.start()
		w.refuses(events.ErrEvicted)
	})
}

func TestWhatWasReadMayBeEvicted(t *testing.T) {
	inAttached(t, func(w *attached) {
		for range 5 {
			w.stream.publish("a", 1)
		}
		w.start()
		w.want(w.reaches(5), "a=5/5")
		w.stop()
		w.stream.publish("a", 1)
		w.stream.evict(6) // the record at the checkpoint is gone
		w.start()
		w.want(w.reaches(6), "a=6/6")
		w.stream.evict(7)
		pass(time.Minute)
		w.stream.publish("a", 1)
		w.want(w.reaches(7), "a=7/7")
	})
}

func TestAnotherStreamOfTheSameNameIsRefusedUntilAReplay(t *testing.T) {
	for name, n := range map[string]int{"empty": 0, "shorter": 2, "as long": 5, "longer": 9} {
		for _, running := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", while running: ", running), func(t *testing.T) {
				inAttached(t, func(w *attached) {
					for range 5 {
						w.stream.publish("a", 1)
					}
					w.start()
					w.want(w.reaches(5), "a=5/5")
					if !running {
						w.stop()
					}
					w.stream.again()
					for range n {
						w.stream.publish("b", 1)
					}
					if !running {
						w.start()
					}
					w.refuses(events.ErrForeignHistory)
					pass(time.Second) // as long as queries may know an older head
					_, err := w.reader.Get(context.Background(), "counts", "a", query.Options{})
					if !errors.Is(err, events.ErrForeignHistory) {
						t.Errorf("a query answers with %v", err)
					}
					if job := w.rebuild(); job.State != projections.ReplayDone {
						t.Errorf("the replay is %+v", job)
					}
					want := ""
					if n > 0 {
						want = fmt.Sprintf("b=%d/%d", n, n)
					}
					w.want(w.reaches(uint64(n)), want) //nolint:gosec // small
				})
			})
		}
	}
}

// TestAStreamThatWasPutBackIsRefused: it has the same identity and another message at the checkpoint.
func TestAStreamThatWasPutBackIsRefused(t *testing.T) {
	inAttached(t, func(w *attached) {
		for range 5 {
			w.stream.publish("a", 1)
		}
		w.start()
		w.want(w.reaches(5), "a=5/5")
		w.stop()
		w.stream.change(func() { w.stream.messages = w.stream.messages[:4] })
		w.stream.publish("b", 1)
		w.stream.publish("b", 1)
		w.start()
		w.refuses(events.ErrForeignHistory)
	})
}

// TestAMessageThatCannotBeMappedStopsNobody: it is counted, and all others are applied.
func TestAMessageThatCannotBeMappedStopsNobody(t *testing.T) {
	inAttached(t, func(w *attached) {
		w.stream.publish("a", 1)
		for _, data := range []string{"", "\x00", "{", `{"n":1,"n":2}`, `{"n":1e400}`, strings.Repeat("[", 1_000)} {
			w.stream.store("count.a", data)
		}
		w.stream.store("count", `{"n":1}`)
		w.stream.publish("b", 1)
		w.start()
		w.want(w.reaches(9), "a=1/1! b=1/1") // nothing is no payload but an object without members: a has no data.n
		o, err := w.reader.Overview(context.Background())
		if err != nil || o.Projections[0].Unrouted != 6 || o.Projections[0].Parked != 1 {
			t.Errorf("%+v, %v", o.Projections, err)
		}
		if job := w.rebuild(); !job.Equal {
			t.Errorf("the replay is %+v", job)
		}
	})
}

// plants are readers that break their promise.
func TestAReaderThatLeavesSomethingOutWithoutAWordIsNotBelieved(t *testing.T) {
	for name, plant := range map[string]func(s *theirs, list []events.Record) []events.Record{
		"a message": func(_ *theirs, list []events.Record) []events.Record {
			return slices.DeleteFunc(list, func(r events.Record) bool { return r.Sequence == 5 })
		},
		"a stretch that is gone": func(_ *theirs, list []events.Record) []events.Record {
			return slices.DeleteFunc(list, func(r events.Record) bool { return r.Kind.Gone() })
		},
		"the beginning of a stretch": func(_ *theirs, list []events.Record) []events.Record {
			for i := range list {
				if list[i].Kind.Gone() {
					list[i].First++
				}
			}
			return list
		},
		"a stretch that ends before it begins": func(_ *theirs, list []events.Record) []events.Record {
			for i := range list {
				if list[i].Kind.Gone() {
					list[i].Sequence = list[i].First - 1
				}
			}
			return list
		},
		"nothing, but it had said that nothing can be missing": func(s *theirs, list []events.Record) []events.Record {
			return list
		},
	} {
		t.Run(name, func(t *testing.T) {
			inAttached(t, func(w *attached) {
				for range 9 {
					w.stream.publish("a", 1)
				}
				w.stream.remove(2, 3)
				w.stream.plant = func(list []events.Record) []events.Record { return plant(w.stream, slices.Clone(list)) }
				w.stream.dense = strings.HasPrefix(name, "nothing")
				w.start()
				w.refuses(events.ErrHole)
			})
		})
	}
}

// TestAnEditedDocumentIsFoldedAgainFromAStreamThatHoldsEverything, and refused where the stream has forgotten what it was made of.
func TestAnEditedDocumentIsFoldedAgainOnlyFromAWholeStream(t *testing.T) {
	for _, forget := range []func(s *theirs){func(*theirs) {}, func(s *theirs) { s.evict(2) }, func(s *theirs) { s.remove(3) }} {
		inAttached(t, func(w *attached) {
			for range 5 {
				w.stream.publish("a", 1)
			}
			w.start()
			w.want(w.reaches(5), "a=5/5")
			w.stop()
			gen := projections.Generation{Projection: "counts", Number: 1, Partitions: 3}
			if !w.store.EditDocument(gen, projections.Ref{Partition: projections.PartitionOf("a", 3), Key: "a"}, func(fields map[string]string) { fields["n"] = "999" }) {
				t.Fatal("there is no document")
			}
			forget(w.stream)
			w.stream.publish("a", 1)
			w.start()
			whole := w.stream.first == 1 && w.stream.messages[2].Kind != 0
			if whole {
				w.want(w.reaches(6), "a=6/6")
				return
			}
			w.refuses(projections.ErrDocumentDamaged)
			if s := w.status(); !strings.Contains(s.Message, "does not hold") || !strings.Contains(s.Message, "tidemark replay counts --from-start") {
				t.Errorf("it says %s", s.Message)
			}
			if job := w.rebuild(); job.State != projections.ReplayDone {
				t.Errorf("the replay is %+v", job)
			}
			w.reaches(6)
		})
	}
}

func TestAProjectionIsFoldedFromWhatItSaysOnly(t *testing.T) {
	log := memlog.New("us", memlog.Options{})
	defer log.Close()
	proj, _, err := declared.Parse("counts.yaml", []byte(countsFile))
	if err != nil {
		t.Fatal(err)
	}
	_, err = projector.New(proj, log, memstore.New(), memstore.NewKV(), memstore.NewLeases(), projector.Options{})
	if !errors.Is(err, projections.ErrInvalidProjection) || !strings.Contains(err.Error(), "the stream COUNTS") {
		t.Errorf("a log for a stream: %v", err)
	}
	ours, _, err := declared.Parse("p.yaml", []byte("projection: counts\nversion: 1\nfields: {n: int}\non: [{event: E, do: [{count: n}]}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	inAttached(t, func(w *attached) {
		w.proj = ours
		w.stream.publish("a", 1)
		w.start()
		w.refuses(events.ErrUnsafeLog)
	})
}
