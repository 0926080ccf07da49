// Package memlog is an events.Log in memory: the second adapter that keeps the port honest, and the log of every test that
// needs no server. Records are kept in their wire form and decoded on each read, as a broker's client would.
//
// It can fail the way real logs were seen to fail: see faults.go. It is not durable and not a product.
package memlog

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"

	"tidemark.dev/events"
)

// DefaultMaxPending is how many appends may be unfinished before Submit waits, unless told otherwise.
const DefaultMaxPending = 1_024

// Attempts is how often a Log sends an append whose reply was lost before it reports ErrUnknownOutcome.
const Attempts = 5

// Options of a Log. The zero Options work.
type Options struct {
	// Now is the broker's clock: it stamps records and bounds the duplicate window. nil means time.Now.
	Now func() time.Time
	// Clock is the writer's hybrid logical clock. nil means one that reads Now.
	Clock *events.Clock
	// DuplicateWindow is how long an event is recognised by its id alone. 0 means events.DefaultDuplicateWindow.
	DuplicateWindow time.Duration
	// MaxPending bounds unfinished appends. 0 means DefaultMaxPending.
	MaxPending int
	// Lineage is the first history's. Empty means a random one.
	Lineage events.Lineage
}

// Log is an origin's history in memory. It is safe for concurrent use.
type Log struct {
	origin  string
	options Options
	room    chan struct{} // holds one token for each unfinished append
	closed  chan struct{}
	workers sync.WaitGroup

	mu      sync.Mutex
	store   store
	queue   []job
	sending bool          // a goroutine is working the queue off
	changed chan struct{} // closed, and replaced, whenever what a reader sees changes
	faults  faults
}

var _ events.Log = (*Log)(nil)

// job is an append on its way.
type job struct {
	batch    events.Batch
	messages []events.Message
	finish   func(events.Receipt, error)
}

// New returns the log of an origin that holds nothing but its genesis. It panics when the origin's name, or a
// lineage given in the options, is not valid: a mistake of the program, not of its input.
func New(origin string, o Options) *Log {
	if err := events.ValidateOrigin(origin); err != nil {
		panic(err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Clock == nil {
		o.Clock = &events.Clock{Wall: o.Now}
	}
	if o.DuplicateWindow == 0 {
		o.DuplicateWindow = events.DefaultDuplicateWindow
	}
	if o.MaxPending == 0 {
		o.MaxPending = DefaultMaxPending
	}
	if o.Lineage == "" {
		o.Lineage = randomLineage()
	}
	if !o.Lineage.Valid() {
		panic("memlog: invalid lineage " + string(o.Lineage))
	}
	l := newLog(origin, o)
	l.store.begin(o.Lineage, o.Clock, o.Now())
	return l
}

func newLog(origin string, o Options) *Log {
	return &Log{
		origin: origin, options: o, store: newStore(origin), room: make(chan struct{}, o.MaxPending),
		closed: make(chan struct{}), changed: make(chan struct{}),
	}
}

func randomLineage() events.Lineage {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails; it ends the process instead
	return events.Lineage(hex.EncodeToString(b[:]))
}

// Close ends the log's use: the append being stored is finished, those still queued and all later calls fail with
// ErrClosed. It returns when no goroutine of the log runs any more. Closing twice does nothing.
func (l *Log) Close() {
	l.mu.Lock()
	if !l.isClosed() {
		close(l.closed)
	}
	l.mu.Unlock()
	l.workers.Wait()
}

func (l *Log) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// Append submits a batch and waits for its outcome.
func (l *Log) Append(ctx context.Context, b events.Batch) (events.Receipt, error) {
	p, err := l.Submit(ctx, b)
	if err != nil {
		return events.Receipt{}, err
	}
	return p.Wait(ctx)
}

// Submit queues a batch. All batches are stored in the order in which they were queued.
func (l *Log) Submit(ctx context.Context, b events.Batch) (*events.Pending, error) {
	if l.isClosed() {
		return nil, errClosed()
	}
	messages, err := l.prepare(&b)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case l.room <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-l.closed:
		return nil, errClosed()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed() {
		<-l.room
		return nil, errClosed()
	}
	p, finish := events.NewPending()
	l.queue = append(l.queue, job{batch: b, messages: messages, finish: finish})
	if !l.sending {
		l.sending = true
		l.workers.Go(l.send)
	}
	return p, nil
}

// prepare returns the messages of a valid batch.
func (l *Log) prepare(b *events.Batch) ([]events.Message, error) {
	if err := b.Validate(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	info := l.store.info()
	l.mu.Unlock()
	for i := range b.Events {
		if err := info.CheckObserved(b.Events[i].Observed); err != nil {
			return nil, err
		}
	}
	messages, err := b.Messages(l.origin, l.options.Clock, info.Position)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		messages[i].Data = bytes.Clone(messages[i].Data) // the caller's buffer is the caller's again
	}
	return messages, nil
}

// send works the queue off and ends when it is empty.
func (l *Log) send() {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 {
			l.sending = false
			l.mu.Unlock()
			return
		}
		j := l.queue[0]
		l.queue = l.queue[1:]
		held := l.faults.held
		l.mu.Unlock()
		if held != nil {
			select {
			case <-held:
			case <-l.closed:
			}
		}
		if l.isClosed() {
			j.finish(events.Receipt{}, errClosed())
		} else {
			j.finish(l.deliver(&j))
		}
		<-l.room
	}
}

// deliver sends an append until its outcome is known, or Attempts times.
func (l *Log) deliver(j *job) (events.Receipt, error) {
	unknown := false
	for range Attempts {
		reply, err := l.attempt(j, unknown)
		switch {
		case err == errLost: //nolint:errorlint // never wrapped
			unknown = true
		case err == errUnreachable && unknown: //nolint:errorlint // never wrapped
			// What became of the attempt before is still not known.
		case err == errUnreachable: //nolint:errorlint // never wrapped
			return events.Receipt{}, unreachable("nothing was written")
		default:
			return reply, err
		}
	}
	return events.Receipt{}, events.Errorf(events.ErrUnknownOutcome, "no reply to the append came back in %d attempts", Attempts).
		Hint("Append the same events (same ids, same expectation) again: that resolves it.")
}

// attempt sends an append once. again says that an earlier attempt of it may have been stored.
func (l *Log) attempt(j *job, again bool) (events.Receipt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.faults.lost == 0 && l.faults.takeUnreachable() {
		return events.Receipt{}, errUnreachable
	}
	receipt, err := l.store.append(j, again, l.options.Now(), l.options.DuplicateWindow)
	if err == nil && !receipt.Duplicate {
		l.wake()
	}
	if l.faults.lost > 0 {
		l.faults.lost--
		return events.Receipt{}, errLost
	}
	return receipt, err
}

// wake tells readers that follow to look again. The caller holds l.mu.
func (l *Log) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// How an attempt can fail without an answer. Never returned to a caller.
const (
	errLost        = events.Code("reply-lost")
	errUnreachable = events.Code("request-lost")
)

func errClosed() error {
	return events.Errorf(events.ErrClosed, "the log was closed; nothing was written")
}

func unreachable(what string) error {
	return events.Errorf(events.ErrUnreachable, "the log does not answer; %s", what).Hint("Try again.")
}
