package natslog

import "sync"

// queue holds what is submitted and unfinished, and hands it out in an order that is safe to send:
// an entry is ready when no unfinished entry that touches one of its subjects was submitted before it.
//
// Each subject has a lane, in order of submission. An entry stands in the lane of every subject it touches, and is ready when it stands
// first in all of them. It leaves its lanes when its outcome is known, not when it is sent. So there is never more than one
// entry of a subject under way (or one group of them, in one atomic batch), a retry cannot be overtaken by a later entry of the same
// subject, and entries of different subjects do not wait for each other.
type queue struct {
	mu      sync.Mutex
	lanes   map[string]*lane
	spare   *lane // lanes to use again
	cold    list  // ready, and nothing that could share a batch stands behind
	hot     list  // ready, simple, and others stand behind
	held    int   // entries in lanes
	closed  bool
	waiting chan struct{} // has room for one: something became ready
	empty   chan struct{} // has room for one: nothing is held any more
}

// list is a chain of entries that are ready.
type list struct{ first, last *entry }

func (l *list) push(e *entry) {
	if l.last == nil {
		l.first = e
	} else {
		l.last.next = e
	}
	l.last = e
}

func (l *list) pop() *entry {
	e := l.first
	if e == nil {
		return nil
	}
	if l.first, e.next = e.next, nil; l.first == nil {
		l.last = nil
	}
	e.taken = true
	return e
}

// lane is the entries of one subject in order of submission.
type lane struct {
	head, tail *place
	length     int
	next       *lane // in the spare list
}

// place is an entry's place in one lane.
type place struct {
	entry *entry
	lane  *lane
	next  *place
}

func newQueue() *queue {
	return &queue{lanes: map[string]*lane{}, waiting: make(chan struct{}, 1), empty: make(chan struct{}, 1)}
}

// push adds an entry. It returns false when the queue is closed.
func (q *queue) push(e *entry) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.held++
	e.places = e.one[:0]
	if len(e.keys) > 1 {
		e.places = make([]place, 0, len(e.keys)) // never grown: lanes point into it
	}
	for _, key := range e.keys {
		l := q.lanes[key]
		if l == nil {
			l = q.newLane()
			q.lanes[key] = l
		}
		e.places = append(e.places, place{entry: e, lane: l})
		p := &e.places[len(e.places)-1]
		if l.length++; l.head == nil {
			l.head = p
		} else {
			l.tail.next = p
			e.blockers++
		}
		l.tail = p
	}
	if e.blockers == 0 {
		q.makeReady(e)
	}
	return true
}

func (q *queue) newLane() *lane {
	if l := q.spare; l != nil {
		q.spare = l.next
		*l = lane{}
		return l
	}
	return new(lane)
}

func (q *queue) makeReady(e *entry) {
	if e.simple() && e.places[0].lane.length > 1 {
		q.hot.push(e)
	} else {
		q.cold.push(e)
	}
	q.wake()
}

// wake lets the writer look again.
func (q *queue) wake() {
	select {
	case q.waiting <- struct{}{}:
	default:
	}
}

// takeCold returns the next entry that cannot share a batch, or nil.
func (q *queue) takeCold() *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cold.pop()
}

// takeHot returns what is ready in the busy lanes, as far as it fits into one batch, and what stands behind it. together says that
// it must be sent as one batch, because some of it stands in the same lane; otherwise it may be sent one by one.
func (q *queue) takeHot(limit bounds) (out []*entry, together bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.withFollowers(q.take(nil, &q.hot, &limit), limit)
}

// takeWave returns everything that is ready, as far as it fits into one batch, and what stands behind it. See takeHot.
func (q *queue) takeWave(limit bounds) (out []*entry, together bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.withFollowers(q.take(q.take(nil, &q.hot, &limit), &q.cold, &limit), limit)
}

func (q *queue) take(out []*entry, l *list, limit *bounds) []*entry {
	for l.first != nil && (len(out) == 0 || limit.fits(l.first)) {
		e := l.pop()
		limit.take(e)
		out = append(out, e)
	}
	return out
}

// withFollowers adds the simple entries that stand behind those in out, if that makes at least minShare of them.
func (q *queue) withFollowers(out []*entry, limit bounds) ([]*entry, bool) {
	ready := out
	for _, e := range ready {
		if !e.simple() {
			continue
		}
		for p := e.places[0].next; p != nil && p.entry.simple() && limit.fits(p.entry); p = p.next {
			limit.take(p.entry)
			out = append(out, p.entry)
		}
	}
	if len(out) < minShare {
		return ready, false
	}
	for _, e := range out[len(ready):] {
		e.taken = true
	}
	return out, true
}

// done takes an entry out of its lanes, which may make others ready.
func (q *queue) done(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range e.places {
		q.leave(&e.places[i], e.keys[i])
	}
	if q.held--; q.held == 0 {
		select {
		case q.empty <- struct{}{}:
		default:
		}
	}
}

func (q *queue) leave(p *place, key string) {
	l := p.lane
	l.length--
	if l.head != p { // only when the log is closed: those that were never sent leave first
		before := l.head
		for before.next != p {
			before = before.next
		}
		if before.next = p.next; l.tail == p {
			l.tail = before
		}
		return
	}
	if l.head = p.next; l.head == nil {
		delete(q.lanes, key)
		l.next, q.spare = q.spare, l
		return
	}
	n := l.head.entry
	if n.blockers--; n.blockers == 0 && !n.taken {
		q.makeReady(n)
	}
}

// close refuses further entries and returns those that were never sent. They are still held.
func (q *queue) close() []*entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	var unsent []*entry
	for _, l := range q.lanes {
		for p := l.head; p != nil; p = p.next {
			if !p.entry.taken {
				p.entry.taken = true
				unsent = append(unsent, p.entry)
			}
		}
	}
	q.cold, q.hot = list{}, list{}
	return unsent
}

// holds returns how many entries are unfinished.
func (q *queue) holds() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held
}

// bounds is what still fits into a batch.
type bounds struct{ records, bytes int }

func (b *bounds) fits(e *entry) bool {
	return len(e.messages) <= b.records && e.bytes <= b.bytes
}

func (b *bounds) take(e *entry) {
	b.records -= len(e.messages)
	b.bytes -= e.bytes
}
