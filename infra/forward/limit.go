package forward

import "sync"

// limit bounds what is at work at once. Nobody waits for room.
type limit struct {
	requests, bytes int

	mu        sync.Mutex
	now, held int
	full      bool
}

// take counts a request in, if there is room. One alone always has room.
func (l *limit) take(bytes int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now > 0 && (l.now >= l.requests || l.held+bytes > l.bytes) {
		return false
	}
	l.now++
	l.held += bytes
	return true
}

func (l *limit) leave(bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now--
	l.held -= bytes
}

// shows reports a change between full and not, each once. It is no longer full when half of it is free.
func (l *limit) shows(full bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full == full || !full && (l.now > l.requests/2 || l.held > l.bytes/2) {
		return false
	}
	l.full = full
	return true
}
