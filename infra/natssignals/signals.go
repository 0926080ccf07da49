// Package natssignals carries the signals between the readers and the projectors of a region over core NATS: who waits for what, and what has moved.
//
// Nothing of it is stored, and nothing but speed depends on it. So nobody waits for it either: what the connection does not take at once is lost.
package natssignals

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/infra/internal/natsconn"
	"tidemark.dev/projections"
)

const (
	// room is how many signals may wait to be written.
	room = 256
	// flushTimeout is how long a write may take to get out of this process.
	flushTimeout = 5 * time.Second
	// backlog and backlogBytes are how much may arrive before it is looked at.
	backlog      = 1_024
	backlogBytes = 1 << 20

	ours = "this region's servers"
)

// DemandSubject returns the subject on which readers of a region ask for a projection to move: tm.demand.<region>.<projection>.
func DemandSubject(region, projection string) string { return "tm.demand." + region + "." + projection }

// NoticeSubject returns the subject on which a projector tells what it has moved: tm.notice.<region>.<projection>.
func NoticeSubject(region, projection string) string { return "tm.notice." + region + "." + projection }

// Options adjusts Signals. The zero value works.
type Options struct {
	// Logger gets one line when the servers refuse the right to signal. nil means none.
	Logger *slog.Logger
}

// Signals carries signals inside of one region. It is safe for concurrent use.
type Signals struct {
	region string
	nc     *nats.Conn
	logger *slog.Logger
	out    chan message
	done   chan struct{}
	ended  sync.WaitGroup

	mu     sync.Mutex
	denied map[string]bool // operations that were refused, said once
}

var _ projections.Signals = (*Signals)(nil)

type message struct {
	subject string
	data    []byte
}

// Open opens the signals of a region. It takes from nc only the options. Errors: events.ErrUnreachable, events.ErrUnauthorized.
func Open(nc *nats.Conn, region string, o Options) (*Signals, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Signals{
		region: region, logger: o.Logger.With("region", region), out: make(chan message, room), done: make(chan struct{}), denied: make(map[string]bool),
	}
	c := natsconn.Options(nc, "signals of "+region, flushTimeout)
	c.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) { s.asyncError(err) }
	var err error
	if s.nc, err = natsconn.Establish(c.Connect); err != nil {
		return nil, natsconn.DialError(ours, err)
	}
	s.ended.Go(s.write)
	return s, nil
}

// Close ends its use, and every listening.
func (s *Signals) Close() {
	close(s.done)
	s.ended.Wait()
	s.nc.Close()
}

// asyncError says once that a right is missing: reads that wait take longer then, and nothing else is different.
func (s *Signals) asyncError(err error) {
	operation, subject, ok := natsconn.Violation(err)
	if !ok {
		s.logger.Debug("asynchronous error of the connection", "error", err)
		return
	}
	kind := operation + " " + strings.Join(strings.SplitN(subject, ".", 3)[:min(2, strings.Count(subject, ".")+1)], ".")
	s.mu.Lock()
	said := s.denied[kind]
	s.denied[kind] = true
	s.mu.Unlock()
	if !said {
		s.logger.Warn("signals are not possible; reads that wait take longer", "reason", natsconn.Refused(ours, operation, subject).Error())
	}
}

// write sends what waits, until the end.
func (s *Signals) write() {
	for {
		select {
		case m := <-s.out:
			_ = s.nc.Publish(m.subject, m.data) // one that is lost is one that is lost
		case <-s.done:
			return
		}
	}
}

func (s *Signals) send(subject string, data []byte) {
	select {
	case s.out <- message{subject, data}:
	default:
	}
}

// Demand tells the projector of a projection that a reader waits.
func (s *Signals) Demand(d projections.Demand) {
	if projections.ValidName(d.Projection) {
		s.send(DemandSubject(s.region, d.Projection), encodeDemand(&d))
	}
}

// Demands listens for demands.
func (s *Signals) Demands(projection string, f func(projections.Demand)) (stop func()) {
	return s.listen(projection, DemandSubject(s.region, projection), func(data []byte) {
		if d, ok := decodeDemand(data); ok {
			d.Projection = projection
			f(d)
		}
	})
}

// Notify tells the readers of a projection what moved.
func (s *Signals) Notify(n projections.Notice) {
	if projections.ValidName(n.Projection) {
		s.send(NoticeSubject(s.region, n.Projection), encodeNotice(&n))
	}
}

// Notices listens for notices.
func (s *Signals) Notices(projection string, f func(projections.Notice)) (stop func()) {
	return s.listen(projection, NoticeSubject(s.region, projection), func(data []byte) {
		if n, ok := decodeNotice(data); ok {
			n.Projection = projection
			f(n)
		}
	})
}

// listen hands what comes on a subject to f.
func (s *Signals) listen(projection, subject string, f func(data []byte)) (stop func()) {
	if !projections.ValidName(projection) {
		return func() {}
	}
	sub, err := s.nc.Subscribe(subject, func(m *nats.Msg) { f(m.Data) })
	if err == nil {
		err = sub.SetPendingLimits(backlog, backlogBytes)
	}
	if err != nil { // the connection is closed
		s.logger.Debug("signals are not heard", "subject", subject, "reason", err.Error())
		return func() {}
	}
	return func() { _ = sub.Unsubscribe() } // it is gone, or the connection is
}
