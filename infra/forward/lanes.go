package forward

import (
	"sync"
	"time"

	"tidemark.dev/events"
)

// entry is an append on its way.
type entry struct {
	request  []byte
	keys     []string // the distinct entities and control records that it touches, which order it among other entries
	units    int
	guarded  bool // to send it again can never store it twice, however late
	nameless bool // it has control records only, so that nobody recognises it
	finish   func(events.Receipt, error)

	blockers int // under the lanes' lock

	// Owned by the goroutine that pursues it.
	offered time.Time // when it was ready to be sent
	sent    time.Time // when the first attempt that is in doubt left, or else the last attempt
	doubt   error     // why an attempt's outcome is not known; nil when no attempt is in doubt
}

func newEntry(b *events.Batch) *entry {
	e := &entry{request: encodeAppend(b), guarded: true, nameless: len(b.Events) == 0}
	seen := make(map[string]struct{}, len(b.Events)+len(b.Controls))
	touch := func(key string, exact bool) {
		if _, twice := seen[key]; !twice {
			seen[key] = struct{}{}
			e.keys = append(e.keys, key)
		}
		e.guarded = e.guarded && exact
	}
	for i := range b.Events {
		entity := b.Events[i].Entity
		_, exact := b.Expect[entity].Sequence()
		touch("e"+entity.String(), exact)
	}
	for i := range b.Controls {
		_, exact := b.Controls[i].Expect.Sequence()
		touch("c"+b.Controls[i].Name, exact || !e.nameless) // events beside it make it known
	}
	e.units = 1 + len(e.request)/unitBytes
	return e
}

// unitBytes is how many bytes of a request count as one pending append.
const unitBytes = 16 << 10

// lanes keep order: each entity has one, in order of submission. An entry stands in the lane of every entity it touches, is ready
// when it is first in all of them, and leaves when its outcome is known. So of one entity at most one append is under way.
type lanes struct {
	mu   sync.Mutex
	byID map[string][]*entry
}

// push adds an entry and reports whether it is ready at once.
func (l *lanes) push(e *entry) (ready bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range e.keys {
		lane := l.byID[key]
		if len(lane) > 0 {
			e.blockers++
		}
		l.byID[key] = append(lane, e)
	}
	return e.blockers == 0
}

// done takes an entry that was ready out of its lanes and returns those that are ready now.
func (l *lanes) done(e *entry) (ready []*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range e.keys {
		lane := l.byID[key]
		lane[0] = nil
		if lane = lane[1:]; len(lane) == 0 {
			delete(l.byID, key)
			continue
		}
		l.byID[key] = lane
		if lane[0].blockers--; lane[0].blockers == 0 {
			ready = append(ready, lane[0])
		}
	}
	return ready
}
