package query_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
)

func TestADocumentComesWithItsPositionAndLag(t *testing.T) {
	inRegion(t, func(r *region) {
		at := r.departures(3)
		a, err := r.get("A001", query.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := a.Document.Field("departures"); !ok || v != "1" {
			t.Errorf("departures: %q", v)
		}
		if !a.Position.Equal(at) || a.Lag == nil || a.Lag.Events != 0 || a.Region != "us" || a.Generation != 1 || a.Changed != "us.7f3a11d2@1:3" {
			t.Errorf("the answer is %+v", a)
		}
		r.end()
		r.depart("A001")
		r.depart("A001")
		pass(time.Second)
		if a, err = r.get("A001", query.Options{}); err != nil || a.Lag == nil || a.Lag.Events != 2 || !a.Position.Equal(at) {
			t.Errorf("the answer is %+v, %v", a, err)
		}
	})
}

func TestAnAbsentDocumentComesWithThePositionWhereThatIsTrue(t *testing.T) {
	inRegion(t, func(r *region) {
		at := r.departures(3)
		a, err := r.get("ORD", query.Options{})
		wants(t, err, projections.ErrNoDocument)
		var absence *query.Absence
		if !errors.As(err, &absence) || !absence.Answer.Position.Equal(at) || !a.Position.Equal(at) || absence.Answer.Lag == nil {
			t.Errorf("got %+v, %v", a, err)
		}
	})
}

func TestAQueryThatCannotBeAskedIsRefused(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		ctx := context.Background()
		for _, name := range []string{"nothing", "", "Airports", "air.ports", strings.Repeat("x", 500)} {
			_, err := r.reader.Get(ctx, name, "ORD", query.Options{})
			wants(t, err, projections.ErrUnknownProjection)
			_, err = r.reader.List(ctx, name, query.ListOptions{})
			wants(t, err, projections.ErrUnknownProjection)
		}
		for _, key := range []string{"", strings.Repeat("x", projections.MaxKeyBytes+1), "\xff"} {
			_, err := r.get(key, query.Options{})
			wants(t, err, projections.ErrInvalidKey)
		}
		_, err := r.get("ORD", query.Options{Wait: query.MaxWait + 1})
		wants(t, err, projections.ErrInvalidQuery)
		for _, limit := range []int{-1, query.MaxLimit + 1, 1 << 40} {
			_, err := r.reader.List(ctx, "airports", query.ListOptions{Limit: limit})
			wants(t, err, projections.ErrInvalidQuery)
		}
		for _, limit := range []int{0, 1, query.MaxLimit} {
			if _, err := r.reader.List(ctx, "airports", query.ListOptions{Limit: limit}); err != nil {
				t.Errorf("a limit of %d: %v", limit, err)
			}
		}
	})
}

// bothWays asks for a document that is there, one that is not, and a page.
func (r *region) bothWays(o query.Options) []error {
	_, there := r.get("A001", o)
	_, absent := r.get("ORD", o)
	_, page := r.reader.List(context.Background(), "airports", query.ListOptions{Options: o})
	return []error{there, absent, page}
}

func TestAReadModelThatIsNotLiveSaysSoAndNeverNotFound(t *testing.T) {
	for name, change := range map[string]func(r *region){
		"emptied":        func(r *region) { r.store.Flush() },
		"being built":    func(r *region) { r.setState(projections.Building) },
		"retired":        func(r *region) { r.setState(projections.Retired) },
		"without header": func(r *region) { r.lose() },
	} {
		t.Run(name, func(t *testing.T) {
			inRegion(t, func(r *region) {
				r.departures(5)
				if _, err := r.get("A001", query.Options{}); err != nil {
					t.Fatal(err)
				}
				r.end()
				change(r)
				for _, err := range r.bothWays(query.Options{}) {
					wants(t, err, projections.ErrUnavailable)
				}
			})
		})
	}
}

func (r *region) lose() {
	gen := r.live()
	for i := range gen.Partitions {
		r.store.LoseHeader(gen, i)
	}
}

func TestOnePartitionThatCannotAnswerMakesAPageUnavailableAndItsDocumentsAlone(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(20)
		r.end()
		lost := projections.PartitionOf("A001", 4)
		r.store.LoseHeader(r.live(), lost)
		for i := range 20 {
			key := fmt.Sprintf("A%03d", i)
			_, err := r.get(key, query.Options{})
			if projections.PartitionOf(key, 4) == lost {
				wants(t, err, projections.ErrUnavailable)
			} else if err != nil {
				t.Error(err)
			}
		}
		_, err := r.reader.List(context.Background(), "airports", query.ListOptions{})
		wants(t, err, projections.ErrUnavailable)
	})
}

func TestAReadModelBeforeItsFirstProjectorIsUnknown(t *testing.T) {
	begin := make(chan struct{})
	inRegionThat(t, func(r *region) {
		r.store.Observe(func(c memstore.Call) {
			if c.Op == memstore.OpCreate {
				<-begin // the projector has not made anything yet
			}
		})
	}, func(r *region) {
		defer close(begin)
		for _, err := range r.bothWays(query.Options{}) {
			if !errors.Is(err, projections.ErrUnknownProjection) && !errors.Is(err, projections.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestAReadWithAPositionWaitsForIt(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		hold := make(chan struct{})
		r.store.Observe(func(c memstore.Call) {
			if c.Op == memstore.OpCommit {
				<-hold
			}
		})
		at := r.depart("ORD")
		time.AfterFunc(700*time.Millisecond, func() { close(hold) })
		began := time.Now()
		a, err := r.get("ORD", query.Options{AtLeast: at, Wait: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < 700*time.Millisecond || waited > time.Second {
			t.Errorf("it waited %s", waited)
		}
		if !a.Position.Equal(at) {
			t.Errorf("the answer is of %s", a.Position)
		}
		// Another partition, which no event touched, gets there too.
		if _, err = r.get("A001", query.Options{AtLeast: at}); err != nil {
			t.Error(err)
		}
	})
}

func TestAReadWithAPositionWaitsWhileTheReadModelIsBuilt(t *testing.T) {
	inRegion(t, func(r *region) {
		at := r.departures(5)
		r.store.Flush()
		if _, err := r.get("A001", query.Options{AtLeast: at}); err != nil {
			t.Error(err)
		}
	})
}

func TestAPositionThatIsNotReachedInTimeSaysWhatIs(t *testing.T) {
	inRegion(t, func(r *region) {
		at := r.departures(3)
		r.end()
		wanted := r.depart("ORD")
		for wait, least := range map[time.Duration]time.Duration{-1: 0, time.Second: time.Second, 0: query.DefaultWait} {
			began := time.Now()
			a, err := r.get("A001", query.Options{AtLeast: wanted, Wait: wait})
			wants(t, err, projections.ErrNotReached)
			if waited := time.Since(began); waited < least || waited > least+30*time.Millisecond {
				t.Errorf("with a wait of %s it waited %s", wait, waited)
			}
			if !a.Position.Equal(at) || a.Document.Values != nil || !strings.Contains(err.Error(), at.String()) {
				t.Errorf("the answer is %+v with %v", a, err)
			}
		}
		page, err := r.reader.List(context.Background(), "airports", query.ListOptions{Options: query.Options{AtLeast: wanted, Wait: -1}})
		wants(t, err, projections.ErrNotReached)
		if len(page.Items) != 0 || !page.Position.Equal(at) {
			t.Errorf("the page is %+v", page)
		}
	})
}

func TestAPositionThatNoReadModelHereCanReachIsRefusedAtOnce(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(5)
		point := func(origin string, lineage events.Lineage, term uint32, seq uint64) events.Position {
			return events.At(events.Point{Origin: origin, Lineage: lineage, Term: term, Sequence: seq})
		}
		for name, p := range map[string]events.Position{
			"another lineage":    point("us", "09c1", 1, 3),
			"another origin":     point("eu", "7f3a11d2", 1, 3),
			"two origins":        point("us", "7f3a11d2", 1, 3).With(events.Point{Origin: "eu", Lineage: "09c1", Term: 1, Sequence: 1}),
			"no term":            point("us", "7f3a11d2", 0, 3),
			"nothing filled in":  events.At(events.Point{}),
			"before a term's":    point("us", "7f3a11d2", 2, 3),
			"beyond a term's":    point("us", "7f3a11d2", 1, 9),
			"an empty lineage's": point("us", "", 1, 3),
		} {
			if strings.HasSuffix(name, "a term's") {
				r.promote()
			}
			began := time.Now()
			_, err := r.get("A001", query.Options{AtLeast: p})
			wants(t, err, events.ErrLostPosition)
			if waited := time.Since(began); waited > 0 {
				t.Errorf("%s: it waited %s", name, waited)
			}
		}
	})
}

// promote makes sequence 7 the beginning of term 2, once.
func (r *region) promote() {
	if info, _ := r.log.Info(context.Background()); info.Terms.Current() == 1 {
		r.log.Promote()
		pass(time.Second)
	}
}

func TestAFuturePositionIsWaitedFor(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(5)
		beyond := events.At(events.Point{Origin: "us", Lineage: "7f3a11d2", Term: 1, Sequence: 1_000_000})
		toCome := events.At(events.Point{Origin: "us", Lineage: "7f3a11d2", Term: 2, Sequence: 7})
		for _, p := range []events.Position{beyond, toCome} {
			_, err := r.get("A001", query.Options{AtLeast: p, Wait: time.Second})
			wants(t, err, projections.ErrNotReached)
		}
		time.AfterFunc(time.Second, func() { r.log.Promote() })
		if _, err := r.get("A001", query.Options{AtLeast: toCome}); err != nil {
			t.Error(err)
		}
	})
}

func TestAPositionThatIsLostWhileItIsWaitedForIsRefused(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(5)
		wanted := events.At(events.Point{Origin: "us", Lineage: "7f3a11d2", Term: 1, Sequence: 9})
		time.AfterFunc(time.Second, func() { r.log.Promote() }) // at 7: nothing of term 1 comes after it
		began := time.Now()
		_, err := r.get("A001", query.Options{AtLeast: wanted, Wait: time.Minute})
		wants(t, err, events.ErrLostPosition)
		if waited := time.Since(began); waited > 2*time.Second {
			t.Errorf("it waited %s", waited)
		}
	})
}

func TestAStoreThatDoesNotAnswerIsNotMistakenForAnEmptyOne(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(5)
		r.store.Fail(memstore.Fault{Op: memstore.OpGet})
		r.store.Fail(memstore.Fault{Op: memstore.OpPage})
		for _, err := range r.bothWays(query.Options{}) {
			wants(t, err, projections.ErrStoreUnreachable)
		}
	})
}

func TestAKeyValueStoreThatDoesNotAnswerIsSaidSo(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(5)
		r.kv.Fail(memstore.Fault{Op: memstore.OpKVGet})
		for _, err := range r.bothWays(query.Options{}) {
			wants(t, err, events.ErrUnreachable)
		}
	})
}

func TestAQueryEndsWithItsContext(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(5)
		r.end()
		gone := errors.New("the caller went away")
		ctx, cancel := context.WithCancelCause(context.Background())
		time.AfterFunc(time.Second, func() { cancel(gone) })
		_, err := r.reader.Get(ctx, "airports", "A001", query.Options{AtLeast: r.depart("A001"), Wait: time.Minute})
		if !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
		if _, err = r.reader.Get(ctx, "airports", "A001", query.Options{}); !errors.Is(err, gone) {
			t.Errorf("got %v", err)
		}
	})
}

func TestADocumentThatWasChangedOutsideTheLogIsSaidToBeDamaged(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(5)
		r.store.EditDocument(r.live(), projections.Ref{Partition: projections.PartitionOf("A001", 4), Key: "A001"}, func(f map[string]string) { delete(f, "on_time") })
		_, err := r.get("A001", query.Options{})
		wants(t, err, projections.ErrDocumentDamaged)
		page, err := r.reader.List(context.Background(), "airports", query.ListOptions{})
		wants(t, err, projections.ErrDocumentDamaged)
		if len(page.Items) > 0 || page.Next != "" {
			t.Errorf("the page is %+v", page)
		}
	})
}

func TestASwitchOfGenerationsIsFollowedWithoutAskingForThePointerEachTime(t *testing.T) {
	inRegion(t, func(r *region) {
		at := r.departures(5)
		if _, err := r.get("A001", query.Options{}); err != nil {
			t.Fatal(err)
		}
		before := r.kv.Calls(memstore.OpKVGet)
		for range 1_000 {
			if _, err := r.get("A001", query.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := r.kv.Calls(memstore.OpKVGet) - before; n > 2 {
			t.Errorf("a thousand queries asked for the pointer %d times", n)
		}
		for generation := uint32(2); generation < 5; generation++ {
			r.replay()
			a, err := r.get("A001", query.Options{AtLeast: at})
			if err != nil || a.Generation != generation {
				t.Errorf("generation %d answers with %v, expected %d", a.Generation, err, generation)
			}
		}
	})
}

// A look at the pointer that was slow must not bring back the generation that it saw.
func TestASlowLookAtThePointerDoesNotTakeBackANewerOne(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(5)
		slow := &slowKV{KV: r.kv, gate: make(chan struct{})}
		reader := query.New("us", r.store, slow, query.NewHeads(r.log))
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = reader.Get(context.Background(), "airports", "A001", query.Options{})
		}()
		pass(time.Millisecond) // it has seen generation 1 and has no answer yet
		r.replay()
		a, err := reader.Get(context.Background(), "airports", "A001", query.Options{})
		if err != nil || a.Generation != 2 {
			t.Fatalf("generation %d answers with %v", a.Generation, err)
		}
		for i := range 4 { // as if nobody had been told
			r.store.EditHeader(projections.Generation{Projection: "airports", Number: 1}, i, func(h *projections.Header) { h.State = projections.Live })
		}
		close(slow.gate)
		<-done
		if a, err = reader.Get(context.Background(), "airports", "A001", query.Options{}); err != nil || a.Generation != 2 {
			t.Errorf("generation %d answers with %v", a.Generation, err)
		}
	})
}

// slowKV gives the first answer only when its gate is open.
type slowKV struct {
	projections.KV
	gate chan struct{}
	used atomic.Bool
}

func (k *slowKV) Get(ctx context.Context, key string) (projections.Entry, error) {
	e, err := k.KV.Get(ctx, key)
	if !k.used.Swap(true) {
		<-k.gate
	}
	return e, err
}

// TestQueriesGoOnWhileTheRegionsKVDoesNotAnswer: a cluster that elects a leader is no reason to stop reading.
func TestQueriesGoOnWhileTheRegionsKVDoesNotAnswer(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		if _, err := r.get("A001", query.Options{}); err != nil {
			t.Fatal(err)
		}
		r.kv.Fail(memstore.Fault{Op: memstore.OpKVGet})
		for range 5 {
			pass(2 * time.Second)
			if _, err := r.get("A001", query.Options{}); err != nil {
				t.Fatalf("without the KV: %v", err)
			}
		}
		fresh := query.New("us", r.store, r.kv, query.NewHeads(r.log))
		_, err := fresh.Get(context.Background(), "airports", "A001", query.Options{})
		wants(t, err, events.ErrUnreachable) // what was never known cannot be kept
		r.kv.Disarm()
		if _, err := fresh.Get(context.Background(), "airports", "A001", query.Options{}); err != nil {
			t.Error(err)
		}
	})
}

// TestTheOverviewSaysWhyAStoreSaysNothing: wrong credentials are not a server that is down.
func TestTheOverviewSaysWhyAStoreSaysNothing(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		r.end()
		r.store.Fail(memstore.Fault{Op: memstore.OpHeaders, Err: events.Errorf(events.ErrUnauthorized, "Redis refused the credentials")})
		o, err := r.reader.Overview(context.Background())
		if err != nil || len(o.Projections) == 0 {
			t.Fatalf("%+v, %v", o, err)
		}
		if m := o.Projections[0]; m.State != "unknown" || m.Code != string(events.ErrUnauthorized) || !strings.Contains(m.Message, "refused") {
			t.Errorf("%+v", m)
		}
	})
}
