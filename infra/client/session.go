package client

import (
	"cmp"
	"sync"

	"tidemark.dev/events"
)

// Session says what a client remembers of what it has seen, so that what it reads does not go back in time.
type Session int

const (
	// SessionRegions is the default: an answer of one region is never older than what this client has seen in the others. Inside of one region reads take what is there: the
	// partitions of a read model follow each other within milliseconds.
	SessionRegions Session = iota
	// SessionStrict has no answer that is older than anything this client has read, in whatever region and partition, or published. A read may have to wait for that, and asks
	// for it, so it costs more.
	SessionStrict
	// SessionNone takes what is there in every read.
	SessionNone
)

// session remembers the highest position that was seen in each region.
type session struct {
	kind Session

	mu   sync.Mutex
	seen map[string]events.Position
}

// published is where a session keeps what the client has published itself; no region has that name.
const published = ""

func newSession(kind Session) *session {
	return &session{kind: kind, seen: map[string]events.Position{}}
}

// note remembers that a region has shown a position.
func (s *session) note(region string, p events.Position) {
	if s.kind == SessionNone || region == published && s.kind != SessionStrict {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[region] = later(s.seen[region], p)
}

// floor returns the position from which on a region has to answer; zero: any.
func (s *session) floor(region string) (p events.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, at := range s.seen {
		if other != region || s.kind == SessionStrict {
			p = later(p, at)
		}
	}
	return p
}

// forget begins a new session.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.seen)
}

// later returns, for each origin, the later of two points. Of two that are of different histories it takes b's: that is what is there now.
func later(a, b events.Position) events.Position {
	for _, pt := range a.Points() {
		if other, there := b.Point(pt.Origin); !there || other.Lineage == pt.Lineage && cmp.Or(cmp.Compare(pt.Term, other.Term), cmp.Compare(pt.Sequence, other.Sequence)) > 0 {
			b = b.With(pt)
		}
	}
	return b
}

// reaches reports whether a position is at or after another one, as far as can be told without the log.
func reaches(p, other events.Position) bool { return later(other, p).Equal(p) }
