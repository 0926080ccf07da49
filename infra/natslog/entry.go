package natslog

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
)

// Headers of the broker's protocol.
const (
	headerExpect        = "Nats-Expected-Last-Subject-Sequence"
	headerExpectLast    = "Nats-Expected-Last-Sequence"
	headerExpectStream  = "Nats-Expected-Stream"
	headerExpectLastID  = "Nats-Expected-Last-Msg-Id"
	headerRollup        = "Nats-Rollup"
	headerBatchID       = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence"
	headerBatchCommit   = "Nats-Batch-Commit"
)

const (
	// maxHeaderBytes is the server's bound of a message's headers.
	maxHeaderBytes = 64 << 10
	// batchHeaderBytes is room for the headers that a batch adds to a message.
	batchHeaderBytes = 160
	// unitBytes is how many bytes of an append count as one pending append.
	unitBytes = 16 << 10
)

// entry is an append on its way: its messages, what it expects, and where it stands.
type entry struct {
	batch    events.Batch
	messages []nats.Msg
	expects  []expectation
	keys     []string // the distinct subjects, which order it among other entries
	bytes    int
	units    int
	events   int // the first so many messages are events, the rest control records
	finish   func(events.Receipt, error)

	// Owned by the queue, under its lock.
	places   []place
	one      [1]place // most entries touch one subject
	blockers int
	taken    bool
	next     *entry // in the list of those that are ready

	// Owned by whoever is sending it: one goroutine at a time.
	begun    time.Time // when it was first sent
	attempts int       // how often
	doubtful bool      // an attempt got no answer: it may be stored
	cause    error     // why, the last time
}

// expectation is what the entry expects of one subject.
type expectation struct {
	subject  string
	sequence uint64
	entity   events.Entity
	control  string
	count    int // messages of this subject in the entry
}

// index numbers distinct texts in the order in which they come. A few are compared one by one, many are hashed.
type index struct {
	texts []string
	many  map[string]int
	value []int // for the caller: one per text
}

const few = 8

func newIndex(most int) *index {
	x := &index{}
	if most > few {
		x.many = make(map[string]int, most)
	}
	return x
}

// add returns the number of a text, and whether it is new.
func (x *index) add(text string) (number int, isNew bool) {
	if x.many != nil {
		n, known := x.many[text]
		if !known {
			n = len(x.many)
			x.many[text] = n
		}
		return n, !known
	}
	for i, t := range x.texts {
		if t == text {
			return i, false
		}
	}
	x.texts = append(x.texts, text)
	return len(x.texts) - 1, true
}

// guarded reports whether sending the entry again can never store it twice, however late: once it is stored, an expected
// sequence has moved for good.
func (e *entry) guarded() bool { return len(e.expects) > 0 }

// simple reports whether nothing is expected and only one subject is touched: entries of that subject may share a batch,
// since no refusal of one can come from another's expectation.
func (e *entry) simple() bool { return len(e.expects) == 0 && len(e.keys) == 1 }

// newEntry turns a batch into messages. The batch must be valid. Errors: ErrClockAhead, ErrTooLarge.
func newEntry(origin string, b events.Batch, clock *events.Clock, observed func(uint64) events.Position, maxPayload int) (*entry, error) {
	encoded, err := b.Messages(origin, clock, observed)
	if err != nil {
		return nil, err
	}
	e := &entry{batch: b, messages: make([]nats.Msg, len(encoded)), events: len(b.Events)}
	subjects := newIndex(len(encoded))
	for i := range encoded {
		m := &e.messages[i]
		m.Subject, m.Header, m.Data = encoded[i].Subject, nats.Header(encoded[i].Header), encoded[i].Data
		if i >= e.events {
			// A control record has no id of its own. This one serves our own retries; it differs in every append.
			m.Header[events.HeaderMessageID] = []string{controlID(m)}
		}
		e.expect(i, m, subjects)
		size := messageSize(m)
		if size+batchHeaderBytes > maxPayload {
			return nil, events.Errorf(events.ErrTooLarge, "a record of the append has %d bytes with its headers, over the servers' bound of %d; nothing was written",
				size, maxPayload).Hint("Store the payload elsewhere and publish a reference, or raise max_payload on every server.")
		}
		e.bytes += size
	}
	e.units = 1 + e.bytes/unitBytes
	return e, nil
}

// expect notes the message's subject and, on the first message of it, what is expected of it: a server refuses the header on a
// later one, since the batch itself has moved the subject by then.
func (e *entry) expect(i int, m *nats.Msg, subjects *index) {
	x, exact := e.expectationOf(i)
	key, first := subjects.add(m.Subject)
	switch {
	case !first && exact:
		e.expects[subjects.value[key]].count++
	case first:
		e.keys = append(e.keys, m.Subject)
		subjects.value = append(subjects.value, len(e.expects))
		if exact {
			m.Header[headerExpect] = []string{strconv.FormatUint(x.sequence, 10)}
			x.subject, x.count = m.Subject, 1
			e.expects = append(e.expects, x)
		}
	}
}

func (e *entry) expectationOf(i int) (expectation, bool) {
	if i < e.events {
		entity := e.batch.Events[i].Entity
		seq, exact := e.batch.Expect[entity].Sequence()
		return expectation{entity: entity, sequence: seq}, exact
	}
	c := &e.batch.Controls[i-e.events]
	seq, exact := c.Expect.Sequence()
	return expectation{control: c.Name, sequence: seq}, exact
}

func controlID(m *nats.Msg) string {
	return "ctl " + strings.Join(m.Header[events.HeaderStamp], "")
}

func messageID(m *nats.Msg) string { return headerOf(m.Header, events.HeaderMessageID) }

func headerOf(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// messageSize is what counts against the server's max_payload.
func messageSize(m *nats.Msg) int {
	n := len("NATS/1.0\r\n\r\n") + len(m.Data)
	for k, vs := range m.Header {
		for _, v := range vs {
			n += len(k) + len(v) + len(": \r\n")
		}
	}
	return n
}
