package natslog

import (
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
	"tidemark.dev/infra/internal/natsconn"
)

// maxPatience bounds how often the time for an answer is doubled: a server that is too slow does not become faster by being asked again.
const maxPatience = 3

// flight is one attempt to store one entry, or several in one atomic batch.
type flight struct {
	entries []*entry
	records int
	until   time.Time // when it is given up
	epoch   *natsapi.Epoch
	land    func(answer)

	// While its messages are being written it does not land: whoever takes it up next writes to the same messages.
	sending bool
	early   *answer
}

// flights sends and collects the answers. Every flight lands exactly once: with its answer, when the connection breaks, when a
// right is refused, or when its time is over.
type flights struct {
	link    *natsapi.Link
	acks    *acks
	timeout time.Duration
	inbox   string // answers arrive on inbox.<token>
	batchID string
	numbers [][]string // header values 1 … events.MaxBatch
	sub     *nats.Subscription

	mu    sync.Mutex
	token uint64
	air   map[uint64]*flight
}

func newFlights(l *natsapi.Link, a *acks, timeout time.Duration) (*flights, error) {
	f := &flights{link: l, acks: a, timeout: timeout, inbox: l.Conn().NewInbox(), air: map[uint64]*flight{}}
	f.batchID = f.inbox[len(f.inbox)-22:] // the random part: below the server's bound of 64 bytes with a number behind it
	values := make([]string, events.MaxBatch)
	for i := range values {
		values[i] = strconv.Itoa(i + 1)
		f.numbers = append(f.numbers, values[i:i+1:i+1])
	}
	var err error
	if f.sub, err = l.Conn().Subscribe(f.inbox+".*", f.receive); err != nil {
		return nil, events.Errorf(events.ErrUnreachable, "no inbox for the servers' answers: %w", err)
	}
	if err := f.sub.SetPendingLimits(-1, -1); err != nil { // bounded by what is in the air
		return nil, err
	}
	return f, nil
}

// launch sends entries; land is called once with the outcome, on any goroutine.
func (f *flights) launch(entries []*entry, land func(answer)) {
	now := time.Now()
	fl := &flight{entries: entries, until: now.Add(f.timeout << min(entries[0].attempts, maxPatience)), epoch: f.link.Present(), land: land, sending: true}
	for _, e := range entries {
		fl.records += len(e.messages)
		e.attempts++
		if e.begun.IsZero() {
			e.begun = now
		}
	}
	if fl.epoch.IsOver() {
		land(answer{verdict: unavailable, err: natsapi.ErrDisconnected})
		return
	}
	f.mu.Lock()
	f.token++
	token := f.token
	f.air[token] = fl
	f.mu.Unlock()
	a, failed := f.publish(fl, token)
	f.mu.Lock()
	fl.sending = false
	if fl.early != nil {
		a, failed = *fl.early, true
	}
	f.mu.Unlock()
	if failed {
		f.land(token, a)
	}
}

// publish puts the messages on the wire.
func (f *flights) publish(fl *flight, token uint64) (answer, bool) {
	number := strconv.FormatUint(token, 36)
	reply := f.inbox + "." + number
	if fl.records == 1 {
		m := &fl.entries[0].messages[0]
		m.Reply = reply
		delete(m.Header, headerBatchID) // left from an attempt in a group
		delete(m.Header, headerBatchSequence)
		delete(m.Header, headerBatchCommit)
		return sendError(f.link.Conn().PublishMsg(m), true)
	}
	id := []string{f.batchID + "-" + number}
	i := 0
	for _, e := range fl.entries {
		for j := range e.messages {
			m := &e.messages[j]
			m.Header[headerBatchID], m.Header[headerBatchSequence] = id, f.numbers[i]
			m.Reply = ""
			delete(m.Header, headerBatchCommit)
			if i++; i == fl.records {
				m.Reply = reply
				m.Header[headerBatchCommit] = f.numbers[0]
			}
			if a, failed := sendError(f.link.Conn().PublishMsg(m), i == fl.records); failed {
				return a, true
			}
		}
	}
	return answer{}, false
}

// sendError judges the error of a publish. Before the commit nothing can be stored whatever happened.
func sendError(err error, commits bool) (answer, bool) {
	switch {
	case err == nil:
		return answer{}, false
	case errors.Is(err, nats.ErrMaxPayload): // another server than the one that was asked up front
		return answer{verdict: refused, err: events.Errorf(events.ErrTooLarge, "the append is over the server's max_payload; nothing was written: %w", err)}, true
	case commits && !natsconn.NeverSent(err):
		return answer{verdict: doubtful, err: err}, true
	}
	return answer{verdict: unavailable, err: natsapi.ErrDisconnected}, true
}

// receive takes an answer off the wire.
func (f *flights) receive(m *nats.Msg) {
	token, err := strconv.ParseUint(m.Subject[len(f.inbox)+1:], 36, 64)
	if err != nil {
		return
	}
	f.mu.Lock()
	fl := f.air[token]
	f.mu.Unlock()
	if fl != nil {
		f.land(token, f.acks.read(m, fl.records))
	}
}

// land ends a flight, unless it has ended or is still being sent; then it ends when it is sent.
func (f *flights) land(token uint64, a answer) {
	f.mu.Lock()
	fl := f.air[token]
	if fl != nil && fl.sending {
		if fl.early == nil {
			fl.early = &a
		}
		fl = nil
	} else {
		delete(f.air, token)
	}
	f.mu.Unlock()
	if fl != nil {
		fl.land(a)
	}
}

// landAll ends the flights for which over returns an answer.
func (f *flights) landAll(over func(*flight) (answer, bool)) {
	answers := map[uint64]answer{}
	f.mu.Lock()
	for token, fl := range f.air {
		if a, is := over(fl); is {
			answers[token] = a
		}
	}
	f.mu.Unlock()
	for token, a := range answers {
		f.land(token, a)
	}
}

// sweep lands what waited too long, or was under way on a connection that broke.
func (f *flights) sweep(now time.Time) {
	f.landAll(func(fl *flight) (answer, bool) {
		if fl.epoch.IsOver() {
			return answer{verdict: doubtful, err: natsapi.ErrDisconnected}, true
		}
		return answer{verdict: doubtful, err: natsapi.ErrNoAnswer}, now.After(fl.until)
	})
}

// forbid lands what was published to a subject that the servers refused.
func (f *flights) forbid(subject string) {
	a := answer{verdict: refused, err: natsconn.Refused("the servers", "Publish", subject)}
	f.landAll(func(fl *flight) (answer, bool) { return a, fl.touches(subject) })
}

func (fl *flight) touches(subject string) bool {
	for _, e := range fl.entries {
		for i := range e.messages {
			if e.messages[i].Subject == subject {
				return true
			}
		}
	}
	return false
}

// abandon lands everything in the air without an answer.
func (f *flights) abandon() {
	f.landAll(func(*flight) (answer, bool) { return answer{verdict: doubtful, err: events.ErrClosed}, true })
}

// close ends the inbox.
func (f *flights) close() {
	_ = f.sub.Unsubscribe() // fails only when the connection is closed
}
