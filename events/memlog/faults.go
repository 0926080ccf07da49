package memlog

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"

	"tidemark.dev/events"
)

// faults is what is wrong with a log at the moment.
type faults struct {
	lost        int
	unreachable int // negative: until it is set to another value
	held        chan struct{}
	skipped     map[uint64]bool // replaced, never changed
	disorder    uint64
}

func (f *faults) takeUnreachable() bool {
	if f.unreachable > 0 {
		f.unreachable--
		return true
	}
	return f.unreachable < 0
}

// LoseReplies makes the next n attempts of appends take effect, if they would, but lose their replies. The log sends an append
// again, up to Attempts times, so fewer are resolved and its writer sees only success; with Attempts or more it sees
// ErrUnknownOutcome although the events are stored.
//
// Imitates: a connection or a leader that is lost between commit and acknowledgement; a full disk, which the publisher sees as a time-out.
func (l *Log) LoseReplies(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults.lost = n
}

// Unreachable makes the next n calls, attempts of appends and steps of readings fail without effect: ErrUnreachable. A negative n lasts
// until Unreachable(0). Replies that LoseReplies still has to lose come first, so the two together are a leader lost between commit
// and reply.
//
// Imitates: a server that is down, a region that is cut off.
func (l *Log) Unreachable(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults.unreachable = n
}

// Hold lets appends wait in the queue until release is called or the log is closed. release may be called twice.
//
// Imitates: a paused server process, whose clients fill their buffers and then wait for room.
func (l *Log) Hold() (release func()) {
	held := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults.held = held
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.faults.held == held {
			l.faults.held = nil
			close(held)
		}
	}
}

// ForgetDuplicates makes the log recognise nothing that it holds now by its id alone.
//
// Imitates: a mirror's server that restarts: its duplicate window falls back to zero, and ids from before stay unknown after promotion.
func (l *Log) ForgetDuplicates() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store.forgotten = l.store.last()
}

// Delete removes the log: every call fails with ErrNoLog until Recreate.
//
// Imitates: a deleted stream.
func (l *Log) Delete() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store = newStore(l.origin)
	l.store.deleted = true
	l.wake()
}

// Recreate replaces the log by a new one of the same name: another lineage, sequences from 1.
//
// Imitates: an origin's stream deleted and made again; a mirror would keep the old records and take the new ones from its own
// last sequence on, without an error.
func (l *Log) Recreate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store = newStore(l.origin)
	l.store.begin(randomLineage(), l.options.Clock, l.options.Now())
	l.wake()
}

// Truncate drops every record after seq, acknowledged or not, so that the head may stand behind checkpoints. 0 drops the genesis too.
//
// Imitates: a server that loses its page cache under the default sync interval, or restarts with a damaged block: half of a
// stream was gone and sequences were given out again.
func (l *Log) Truncate(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut(seq)
	l.wake()
}

// cut drops every record after seq. The caller holds l.mu.
func (l *Log) cut(seq uint64) {
	if seq < l.store.last() {
		l.store.replace(l.store.entries[:seq])
	}
}

// Copy returns an independent log that holds the first n records of this one, or all of them when it has fewer, without faults.
//
// Imitates: a mirror cut off at n, which may then be promoted; and a copy of the store directory, for Restore.
func (l *Log) Copy(n uint64) *Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := newLog(l.origin, l.options)
	c.store.replace(l.store.entries[:min(n, l.store.last())])
	return c
}

// Restore makes the log hold what another one holds now. After an older Copy of its own it goes on with other events at the same
// sequences, under the same lineage and term: only content tells.
//
// Imitates: an older copy of the store directory put back; acknowledged writes lost by lazy syncing, their sequences acknowledged twice.
func (l *Log) Restore(older *Log) {
	older.mu.Lock()
	entries := older.store.entries
	older.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store.deleted = false
	l.store.replace(entries)
	l.wake()
}

// FlipBit flips one bit of a stored payload, chosen by the sequence. It reports false when there is no such record, or its payload is empty.
//
// Imitates: a flipped bit on disk or in memory that the broker's own checksum did not catch. Reading the record is ErrDamaged.
func (l *Log) FlipBit(seq uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq == 0 || seq > l.store.last() || len(l.store.entries[seq-1].message.Data) == 0 {
		return false
	}
	l.store.entries = slices.Clone(l.store.entries)
	m := &l.store.entries[seq-1].message
	m.Data = bytes.Clone(m.Data)
	random := rand.New(rand.NewPCG(seq, seq)) //nolint:gosec // a test's faults must be repeatable
	m.Data[random.IntN(len(m.Data))] ^= 1 << random.IntN(8)
	l.wake()
	return true
}

// Skip makes the log leave a record out of everything it delivers, while its head still says that the record is there. Reading across it
// is ErrHole, Record is ErrNotFound; an entity's History cannot know.
//
// Imitates: a flipped bit in a block file: consumers skip one message while the stream's info counts none as deleted.
func (l *Log) Skip(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	skipped := maps.Clone(l.faults.skipped)
	if skipped == nil {
		skipped = map[uint64]bool{}
	}
	skipped[seq] = true
	l.faults.skipped = skipped
	l.wake()
}

// Heal ends Skip: another copy of the log brought the records back.
func (l *Log) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults.skipped = nil
	l.wake()
}

// Disorder makes the feed beneath Read deliver a fifth of the records twice and a fifth early or late, chosen by the seed; 0
// ends it. What Read yields does not change.
//
// Imitates: redelivery, reconnects, and consumers that skipped 15 to 19 % when they fell behind.
func (l *Log) Disorder(seed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults.disorder = seed
}

// StoreRaw stores a message as it is and returns its sequence. Like the broker it looks at nothing but Nats-Msg-Id: within the
// duplicate window it returns the sequence of the message that has the id already, whatever its content.
//
// Imitates: any NATS client with the right to publish.
func (l *Log) StoreRaw(subject string, header map[string][]string, data []byte) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.options.Now()
	if id := header[events.HeaderMessageID]; len(id) > 0 {
		seq := l.store.ids[id[0]]
		if seq > l.store.forgotten && now.Sub(l.store.entries[seq-1].time) < l.options.DuplicateWindow {
			return seq
		}
	}
	h := make(events.Header, len(header))
	for k, v := range header {
		h[k] = slices.Clone(v)
	}
	seq := l.store.put(events.Message{Subject: subject, Header: h, Data: bytes.Clone(data)}, now)
	l.wake()
	return seq
}

// Promote begins a new term and returns it.
//
// Imitates: a mirror that is promoted in place. For an unplanned failover, promote a Copy; what the old log holds beyond it is the lost tail.
func (l *Log) Promote() events.Term {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.promote()
}

func (l *Log) promote() events.Term {
	term := events.Term{Term: l.store.terms.Current() + 1, Lineage: l.store.terms.Lineage}
	l.store.control(events.ControlTerm, term, l.options.Clock, l.options.Now())
	l.wake()
	return term
}

// Tear cuts the log inside its newest transaction, so that keep of its records are left, and begins a new term there. It reports
// false when no transaction has more than keep records.
//
// Imitates: promotion of a mirror that was cut off inside an atomic batch: 105 of 1,000 messages were left.
func (l *Log) Tear(keep int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for seq := l.store.last(); seq > 0; seq-- {
		r, err := l.store.record(seq)
		tx := r.Stamp.Tx
		if err != nil || tx.Alone() || tx.Index != tx.Count || int(tx.Count) <= keep {
			continue
		}
		l.cut(seq - uint64(tx.Count) + uint64(keep)) //nolint:gosec // keep is a small count
		l.promote()
		return true
	}
	return false
}
