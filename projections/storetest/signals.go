package storetest

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// RunSignals checks that Signals arrive. open returns two ends of the same region's, which may be one and the same.
func RunSignals(t *testing.T, open func(t *testing.T) (a, b projections.Signals)) {
	t.Helper()
	for _, x := range []struct {
		name string
		run  func(t *testing.T, a, b projections.Signals)
	}{
		{"a demand arrives as it was sent", testDemand},
		{"a notice arrives as it was sent", testNotice},
		{"signals of other projections are not heard", testSignalsByName},
		{"everybody who listens hears", testSignalsToAll},
		{"whoever stopped hears nothing more", testSignalsStop},
		{"nobody who sends waits", testSignalsDoNotWait},
	} {
		t.Run(x.name, func(t *testing.T) {
			a, b := open(t)
			x.run(t, a, b)
		})
	}
}

// heard keeps what a listener was told.
type heard[T any] struct {
	mu   sync.Mutex
	list []T
}

func (h *heard[T]) hear(v T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, v)
}

func (h *heard[T]) all() []T {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]T(nil), h.list...)
}

// until sends again and again until ok: one signal may get lost.
func until(t *testing.T, what string, send func(), ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for send(); !ok(); {
		select {
		case <-tick.C:
			send()
		case <-deadline.C:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func somePartitions(numbers ...int) (s projections.PartitionSet) {
	for _, n := range numbers {
		s.Add(n)
	}
	return s
}

func testDemand(t *testing.T, a, b projections.Signals) {
	for i, want := range []projections.Demand{
		{Projection: "airports", Partitions: somePartitions(0), Position: position(7)},
		{Projection: "routes", Partitions: projections.AllPartitions(projections.MaxPartitions), Position: position(math.MaxUint64)},
		{Projection: "a-b-9", Partitions: somePartitions(63, 64, 255), Position: events.At(
			events.Point{Origin: "us", Lineage: "7f3a", Term: 2, Sequence: 9}, events.Point{Origin: "eu-west-1", Lineage: "09c1aabb", Term: 1, Sequence: 0})},
	} {
		var h heard[projections.Demand]
		stop := b.Demands(want.Projection, h.hear)
		until(t, fmt.Sprint("demand ", i, " is heard"), func() { a.Demand(want) }, func() bool { return len(h.all()) > 0 })
		stop()
		for _, got := range h.all() {
			if got.Projection != want.Projection || got.Partitions != want.Partitions || !got.Position.Equal(want.Position) {
				t.Errorf("demand %d is %+v, want %+v", i, got, want)
			}
		}
	}
}

func testNotice(t *testing.T, a, b projections.Signals) {
	for i, want := range []projections.Notice{
		{Projection: "airports", Generation: 1, Sequence: 1, Moved: somePartitions(3)},
		{
			Projection: "a-b-9", Generation: math.MaxUint32, Sequence: math.MaxUint64, Moved: projections.AllPartitions(projections.MaxPartitions),
			Written: somePartitions(1, 128),
		},
	} {
		var h heard[projections.Notice]
		stop := b.Notices(want.Projection, h.hear)
		until(t, fmt.Sprint("notice ", i, " is heard"), func() { a.Notify(want) }, func() bool { return len(h.all()) > 0 })
		stop()
		for _, got := range h.all() {
			if got != want {
				t.Errorf("notice %d is %+v, want %+v", i, got, want)
			}
		}
	}
}

func testSignalsByName(t *testing.T, a, b projections.Signals) {
	var demands heard[projections.Demand]
	var notices heard[projections.Notice]
	defer b.Demands("airports", demands.hear)()
	defer b.Notices("airports", notices.hear)()
	send := func(name string) {
		a.Demand(projections.Demand{Projection: name, Position: position(1)})
		a.Notify(projections.Notice{Projection: name, Generation: 1})
	}
	until(t, "both are heard", func() {
		for _, other := range []string{"airport", "airports-1", "routes", ""} {
			send(other)
		}
		send("airports")
	}, func() bool { return len(demands.all()) > 0 && len(notices.all()) > 0 })
	for _, d := range demands.all() {
		if d.Projection != "airports" {
			t.Errorf("heard %+v", d)
		}
	}
	for _, n := range notices.all() {
		if n.Projection != "airports" {
			t.Errorf("heard %+v", n)
		}
	}
}

func testSignalsToAll(t *testing.T, a, b projections.Signals) {
	var all [4]heard[projections.Notice]
	for i := range all {
		at := b
		if i%2 == 0 {
			at = a
		}
		defer at.Notices("airports", all[i].hear)()
	}
	until(t, "all four hear", func() { a.Notify(projections.Notice{Projection: "airports"}) }, func() bool {
		for i := range all {
			if len(all[i].all()) == 0 {
				return false
			}
		}
		return true
	})
}

func testSignalsStop(t *testing.T, a, b projections.Signals) {
	var gone, there heard[projections.Notice]
	stop := b.Notices("airports", gone.hear)
	defer b.Notices("airports", there.hear)()
	until(t, "both hear", func() { a.Notify(projections.Notice{Projection: "airports", Sequence: 1}) }, func() bool {
		return len(gone.all()) > 0 && len(there.all()) > 0
	})
	stop()
	stop() // once more changes nothing
	const more = 20
	after := func(h *heard[projections.Notice]) (count int) {
		for _, n := range h.all() {
			if n.Sequence == 2 {
				count++
			}
		}
		return count
	}
	until(t, "the other one goes on hearing", func() { a.Notify(projections.Notice{Projection: "airports", Sequence: 2}) }, func() bool {
		return after(&there) >= more
	})
	if late := after(&gone); late > 1 { // one may have been on its way
		t.Errorf("%d signals were heard after the end", late)
	}
}

// testSignalsDoNotWait: a listener that is stuck holds back nobody but, in the same process, whoever calls it; and where nobody listens, nobody waits.
func testSignalsDoNotWait(t *testing.T, a, _ projections.Signals) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 10_000 {
			a.Demand(projections.Demand{Projection: "nobody", Position: position(uint64(i))})                     //nolint:gosec // not negative
			a.Notify(projections.Notice{Projection: "nobody", Sequence: uint64(i), Moved: somePartitions(i % 7)}) //nolint:gosec // not negative
		}
	}()
	select {
	case <-done:
	case <-time.After(patience / 4):
		t.Fatal("sending waits")
	}
}
