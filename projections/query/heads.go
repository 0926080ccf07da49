package query

import (
	"context"
	"sync"
	"time"

	"tidemark.dev/events"
)

const (
	// headAge is how long a known head is used without asking the log again.
	headAge = 250 * time.Millisecond
	// failedAge is how long a log that did not answer is not asked again for what a query can do without.
	failedAge = time.Second
	// askPatience bounds a question to the log: a query does not hang on a log that hangs.
	askPatience = time.Second
	// leaderPatience bounds a question to the leader, which may be across the world.
	leaderPatience = 3 * time.Second
)

// Heads knows how far the region's log has come. It asks a few times a second, however many queries there are, and one question at a time.
type Heads struct {
	log interface {
		Info(context.Context) (events.Info, error)
	}
	records  events.Reader // of the log; nil when it cannot be opened
	mirrored events.Copy   // nil: the log is the leader's own
	leader   *shared[events.Position]

	mu     sync.Mutex
	asked  uint64        // questions so far: clocks are too coarse to tell what was asked before what
	asking chan struct{} // closed when the question under way is answered; nil: there is none
	last   answer
	until  time.Time // how long last is used

	// beyond is the highest checkpoint that was seen when the known head was older than it; short says that the log, asked
	// afterwards, did not reach it.
	beyond events.Point
	short  bool
}

// answer is what the log said to one question.
type answer struct {
	number uint64 // of the question, from 1
	at     time.Time
	info   events.Info
	err    error
}

// NewHeads returns a Heads of a log that accepts writes itself.
func NewHeads(log events.Reader) *Heads { return &Heads{log: log, records: log} }

// NewCopyHeads returns a Heads of a region's copy of a log. What is behind is then behind the leader's head, not the copy's: while it is not known how
// the copy stands to the leader's, no lag is known. leader is asked for strong reads; nil: the log is the leader's own.
func NewCopyHeads(log events.Reader, c events.Copy, leader events.Leader) *Heads {
	h := &Heads{log: log, records: log, mirrored: c}
	if leader != nil {
		h.leader = &shared[events.Position]{ask: leader.Head}
	}
	return h
}

// Leader asks the leader for its head after the call began, and returns it. All who need that at the same time share a question. It waits for at most d, and never longer
// than leaderPatience; 0 is as long as that. Errors: events.ErrUnreachable, what the leader says, or the context's cause.
func (h *Heads) Leader(ctx context.Context, d time.Duration) (events.Position, error) {
	if d <= 0 || d > leaderPatience {
		d = leaderPatience
	}
	bounded, cancel := context.WithTimeoutCause(ctx, d, events.Errorf(events.ErrUnreachable, "the leader did not say within %s how far its log is; nothing was read", d).
		Hint("Ask again, wait longer, or read without asking the leader."))
	defer cancel()
	if h.leader != nil {
		return h.leader.fresh(bounded)
	}
	if r, mirrors := h.Replication(); mirrors && r.State != events.CopyLeads {
		return events.Position{}, events.Errorf(events.ErrUnreachable, "there is no way from here to ask region %s, which leads the log, how far it is; nothing was read", r.Leader).
			Hint("Ask in region %s, or read without asking the leader.", r.Leader)
	}
	_, head, err := h.Fresh(bounded)
	return head, err
}

// Replication returns how the copy stands to the leader's log, or false for a log that is the leader's own.
func (h *Heads) Replication() (events.Replication, bool) {
	if h.mirrored == nil {
		return events.Replication{}, false
	}
	return h.mirrored.Replication(), true
}

// Info returns the log's identity and head, at most headAge old.
func (h *Heads) Info(ctx context.Context) (events.Info, error) {
	a, err := h.recent(ctx)
	if err != nil {
		return events.Info{}, err
	}
	return a.info, a.err
}

// Fresh returns the log's history and head as they are now.
func (h *Heads) Fresh(ctx context.Context) (events.Histories, events.Position, error) {
	a, err := h.since(ctx, h.count(), false)
	if err == nil {
		err = a.err
	}
	if err != nil {
		return nil, events.Position{}, err
	}
	return events.Histories{a.info.Origin: a.info.Terms}, a.info.Head(), nil
}

func (h *Heads) count() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked
}

func (h *Heads) recent(ctx context.Context) (answer, error) { return h.since(ctx, h.count(), true) }

// since returns the answer to a question after the given one or, if an older one will do, one that is still used. It fails only when
// ctx ends.
func (h *Heads) since(ctx context.Context, number uint64, older bool) (answer, error) {
	for {
		h.mu.Lock()
		if h.last.number > number || older && time.Now().Before(h.until) {
			defer h.mu.Unlock()
			return h.last, nil
		}
		other := h.asking
		if other == nil {
			h.asking = make(chan struct{})
			h.asked++
			number, expect := h.asked, h.beyond
			h.mu.Unlock()
			return h.ask(ctx, number, expect)
		}
		h.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return answer{}, context.Cause(ctx)
		}
	}
}

// ask asks the log and tells everybody who waits. expect is the checkpoint that the log should reach.
func (h *Heads) ask(ctx context.Context, number uint64, expect events.Point) (answer, error) {
	bounded, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	begun := time.Now()
	a := answer{number: number, at: begun}
	a.info, a.err = h.log.Info(bounded)
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.asking)
	h.asking = nil
	if ctx.Err() != nil {
		return answer{}, context.Cause(ctx) // says nothing about the log: whoever waits asks again
	}
	if a.err != nil {
		if bounded.Err() != nil {
			a.err = events.Errorf(events.ErrUnreachable, "the log did not answer within %s", askPatience)
		}
		h.last, h.until = a, time.Now().Add(failedAge)
		return a, nil
	}
	h.last, h.until = a, begun.Add(headAge)
	h.short = expect.Lineage == a.info.Terms.Lineage && a.info.Last < expect.Sequence
	if !h.short && h.beyond == expect {
		h.beyond = events.Point{}
	}
	return a, nil
}

// doubt takes note of a checkpoint beyond the known head, and reports whether the log is known not to reach it. Otherwise the head may
// just be a moment old.
func (h *Heads) doubt(checkpoint events.Point) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if checkpoint.Lineage != h.beyond.Lineage || checkpoint.Sequence > h.beyond.Sequence {
		h.beyond, h.short = checkpoint, false
	}
	return h.short
}

// refute takes note that the log, asked after a checkpoint was seen, does not reach it.
func (h *Heads) refute(checkpoint events.Point) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.short = true; checkpoint.Lineage != h.beyond.Lineage || checkpoint.Sequence > h.beyond.Sequence {
		h.beyond = checkpoint
	}
}

// Lag says how far an answer is behind the log.
type Lag struct {
	Events uint64 `json:"events"`
	// At is when it was looked how far the log is: the lag is as of then.
	At time.Time `json:"at"`
}

// Lag returns how far a checkpoint is behind the head, or nil when the log does not say.
func (h *Heads) Lag(ctx context.Context, checkpoint events.Position) *Lag {
	a, err := h.recent(ctx)
	if err != nil || a.err != nil {
		return nil
	}
	info := &a.info
	point, ok := checkpoint.Point(info.Origin)
	if !ok || point.Lineage != info.Terms.Lineage {
		return nil
	}
	head, at := info.Last, a.at
	if r, mirrors := h.Replication(); mirrors && r.State != events.CopyLeads {
		leader, ok := r.LeaderHead.Point(info.Origin)
		if r.State != events.CopyFollows || !ok || leader.Lineage != info.Terms.Lineage {
			return nil
		}
		head = max(head, leader.Sequence)
		if !r.Looked.IsZero() && r.Looked.Before(at) {
			at = r.Looked
		}
	}
	return &Lag{Events: max(head, point.Sequence) - point.Sequence, At: at.UTC().Truncate(time.Millisecond)}
}

// Contains returns ErrForeignHistory when the checkpoint of a read model is not on the log's history. When the log does not answer
// it returns nil, nil: an old answer with its position is still a true one.
//
// A read model moves on within milliseconds, so its checkpoint is often beyond the head that is known. It is then believed, and checked
// when the log is asked the next time.
func (h *Heads) Contains(ctx context.Context, checkpoint events.Position) (events.Histories, error) {
	seen := h.count()
	a, err := h.recent(ctx)
	for {
		if err != nil || a.err != nil {
			return nil, nil //nolint:nilerr,nilnil // unknown is not foreign
		}
		histories := events.Histories{a.info.Origin: a.info.Terms}
		covers := histories.Covers(a.info.Head(), checkpoint)
		point, _ := checkpoint.Point(a.info.Origin)
		asked := a.number > seen // after the checkpoint was seen
		switch {
		case covers == events.Yes:
			return histories, nil
		case covers == events.No && !asked && !h.doubt(point):
			return histories, nil
		case covers == events.Lost && !asked:
			a, err = h.since(ctx, seen, false) // it may be of a history that has begun since
			continue
		case covers == events.No && asked:
			h.refute(point)
		}
		return nil, events.Errorf(events.ErrForeignHistory, "the read model is at %s, which is not on the log's history: that is at %s", checkpoint, a.info.Head()).
			Hint("The log was recreated or truncated. tidemark status says what the projector found.")
	}
}
