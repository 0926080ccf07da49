package query_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

// region is a region in memory with the example's projections, in a synctest bubble.
type region struct {
	t      *testing.T
	log    *memlog.Log
	asked  *askedLog
	store  *memstore.Store
	kv     *memstore.KV
	leases *memstore.Leases
	reader *query.Reader
	ends   []func()
	stored int

	signals *memstore.Signals
	even    time.Duration // how long partitions stay behind that no event touches
}

// inRegion runs a test with the projector of airports running, unless it is ended. There are no signals: what is not told is found out.
func inRegion(t *testing.T, test func(r *region)) {
	t.Helper()
	inRegionThat(t, func(r *region) { r.even = time.Millisecond }, test)
}

// inQuietRegion is the same, with signals; and partitions follow by themselves after an hour only.
func inQuietRegion(t *testing.T, test func(r *region)) {
	t.Helper()
	inRegionThat(t, func(r *region) { r.even, r.signals = time.Hour, memstore.NewSignals() }, test)
}

func inRegionThat(t *testing.T, is, test func(r *region)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &region{
			t: t, log: memlog.New("us", memlog.Options{Lineage: "7f3a11d2"}), store: memstore.New(), kv: memstore.NewKV(), leases: memstore.NewLeases(),
		}
		is(r)
		r.asked = &askedLog{Reader: r.log}
		r.reader = query.New("us", r.store, r.kv, query.NewHeads(r.asked))
		if r.signals != nil {
			r.reader.Use(r.signals)
		}
		airports, err := flights.Airports()
		if err != nil {
			t.Fatal(err)
		}
		r.project(airports)
		defer func() {
			r.end()
			r.log.Close()
		}()
		test(r)
	})
}

// project runs a projector.
func (r *region) project(p projections.Projection) {
	r.t.Helper()
	o := projector.Options{Partitions: 4, EvenInterval: r.even, CheckInterval: 50 * time.Millisecond}
	if r.signals != nil {
		o.Signals = r.signals
	}
	worker, err := projector.New(p, r.log, r.store, r.kv, r.leases, o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := worker.Run(ctx); err != nil {
			r.t.Error(err)
		}
	}()
	r.ends = append(r.ends, func() {
		cancel()
		<-done
	})
}

// end ends the projectors.
func (r *region) end() {
	for _, end := range r.ends {
		end()
	}
	r.ends = nil
}

// depart appends the departure of a flight from an airport.
func (r *region) depart(airport string) events.Position {
	r.t.Helper()
	return r.append(flights.Departed, airport, `{"origin":"`+airport+`"}`)
}

// departures appends one departure from each of n airports A000, A001, … and waits until they are applied.
func (r *region) departures(n int) events.Position {
	r.t.Helper()
	var last events.Position
	for i := range n {
		last = r.depart(fmt.Sprintf("A%03d", i))
	}
	r.applied(last)
	return last
}

// applied waits until everything is applied up to a position.
func (r *region) applied(p events.Position) {
	r.t.Helper()
	r.until(func() bool {
		headers, err := r.store.Headers(context.Background(), r.live())
		if err != nil {
			return false
		}
		for i := range headers {
			if headers[i].State != projections.Live || !headers[i].Checkpoint.Equal(p) {
				return false
			}
		}
		return true
	})
}

func (r *region) until(ok func() bool) {
	r.t.Helper()
	for range 6_000 {
		if ok() {
			return
		}
		pass(10 * time.Millisecond)
	}
	r.t.Fatal("not within a minute")
}

func (r *region) live() projections.Generation {
	pointer, _, err := projections.ReadPointer(context.Background(), r.kv, "airports")
	if err != nil || pointer.Generation == 0 {
		return projections.Generation{Projection: "airports", Number: 1, Partitions: 4}
	}
	return pointer.Live("airports")
}

// setState changes the state of all partitions behind everybody's back.
func (r *region) setState(s projections.PartitionState) {
	gen := r.live()
	for i := range gen.Partitions {
		r.store.EditHeader(gen, i, func(h *projections.Header) { h.State = s })
	}
}

func (r *region) get(key string, o query.Options) (query.Answer, error) {
	return r.reader.Get(context.Background(), "airports", key, o)
}

// replay rebuilds airports and waits for the end.
func (r *region) replay() {
	r.t.Helper()
	asked, err := projections.RequestReplay(context.Background(), r.kv, "airports", "test", time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	r.until(func() bool {
		now, _, err := projections.ReadJSON[projections.Replay](context.Background(), r.kv, projections.ReplayKey("airports"))
		return err == nil && now.ID == asked.ID && now.State == projections.ReplayDone
	})
}

// wants fails unless the error has the code.
func wants(t *testing.T, err error, code events.Code) {
	t.Helper()
	if got, _ := events.CodeOf(err); got != code || !errors.Is(err, code) {
		t.Errorf("got %v, expected %s", err, code)
	}
}

// pass lets time go by. Only a bubble's clock makes that free.
func pass(d time.Duration) { <-time.After(d) }

// askedLog counts the questions about the log's head, and can leave them without an answer.
type askedLog struct {
	events.Reader
	questions atomic.Int64
	hangs     atomic.Bool
}

func (l *askedLog) Info(ctx context.Context) (events.Info, error) {
	l.questions.Add(1)
	if l.hangs.Load() {
		<-ctx.Done()
		return events.Info{}, context.Cause(ctx)
	}
	return l.Reader.Info(ctx)
}

// flightsIgnored is a type of event that no projection of the example uses.
const flightsIgnored = "FlightBoarded"

// append appends an event about an airport.
func (r *region) append(typ, airport, data string) events.Position {
	r.t.Helper()
	r.stored++
	receipt, err := r.log.Append(context.Background(), events.Batch{Events: []events.Event{{
		ID: fmt.Sprint(r.stored), Source: "urn:test", Type: typ, Entity: events.Entity{Type: flights.AirportType, ID: airport}, Data: []byte(data),
	}}})
	if err != nil {
		r.t.Fatal(err)
	}
	return receipt.Position
}
