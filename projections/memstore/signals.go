package memstore

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"tidemark.dev/projections"
)

// Signals carries signals within the process, in the goroutine of whoever sends them. It is safe for concurrent use.
type Signals struct {
	demands   listeners[projections.Demand]
	notices   listeners[projections.Notice]
	lost      atomic.Bool
	demanded  atomic.Int64
	published atomic.Int64
}

var _ projections.Signals = (*Signals)(nil)

// NewSignals returns Signals that nobody listens to.
func NewSignals() *Signals { return &Signals{} }

// Lose lets every signal get lost, or none any more.
func (s *Signals) Lose(lost bool) { s.lost.Store(lost) }

// Sent returns how many demands and notices were sent, lost ones too.
func (s *Signals) Sent() (demands, notices int64) { return s.demanded.Load(), s.published.Load() }

// Demand tells whoever listens for demands on the projection.
func (s *Signals) Demand(d projections.Demand) {
	s.demanded.Add(1)
	if !s.lost.Load() {
		s.demands.tell(d.Projection, d)
	}
}

// Demands listens for demands.
func (s *Signals) Demands(projection string, f func(projections.Demand)) (stop func()) {
	return s.demands.add(projection, f)
}

// Notify tells whoever listens for notices about the projection.
func (s *Signals) Notify(n projections.Notice) {
	s.published.Add(1)
	if !s.lost.Load() {
		s.notices.tell(n.Projection, n)
	}
}

// Notices listens for notices.
func (s *Signals) Notices(projection string, f func(projections.Notice)) (stop func()) {
	return s.notices.add(projection, f)
}

// listeners are called by name.
type listeners[T any] struct {
	mu   sync.Mutex
	next int
	all  map[string]map[int]func(T)
}

func (l *listeners[T]) add(name string, f func(T)) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[string]map[int]func(T))
	}
	if l.all[name] == nil {
		l.all[name] = make(map[int]func(T))
	}
	l.next++
	id := l.next
	l.all[name][id] = f
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.all[name], id)
	}
}

// tell calls the listeners outside of the lock: one may stop, or send a signal of its own.
func (l *listeners[T]) tell(name string, v T) {
	l.mu.Lock()
	list := l.all[name]
	calls := make([]func(T), 0, len(list))
	for _, id := range slices.Sorted(maps.Keys(list)) {
		calls = append(calls, list[id])
	}
	l.mu.Unlock()
	for _, f := range calls {
		f(v)
	}
}
