package forward

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsconn"
)

// Bounds of a server.
const (
	// roomPatience is how long an append waits for room in the log.
	roomPatience = 2 * time.Second
	// answerWithin is how long the log may take for one append before the answer is that its outcome is not known. A log needs half of its
	// duplicate window at most.
	answerWithin = 2 * time.Minute
	// questionWithin bounds how long a question about the log may take.
	questionWithin = 5 * time.Second
	// maxQuestions bounds how many are answered at once.
	maxQuestions = 32
	// smallRequest is above the size of what is no append.
	smallRequest = 1 << 10
	// backlog and backlogBytes are how much may arrive before it is looked at, beyond what may be at work: mostly to be refused. What
	// exceeds that is dropped, and whoever asked will ask again.
	backlog      = 16_384
	backlogBytes = 32 << 20
)

// Server lets other regions write to an origin that this region leads. Several may run, in one process or in many: they share the requests.
type Server struct {
	cfg     Config
	model   *nats.Conn
	log     events.Appender
	floors  events.Floors
	options ServerOptions
	link    *natsconn.Link
	appends *limit
	asked   *limit
	now     func() time.Time
	work    sync.WaitGroup
}

// NewServer returns a Server that stores what other regions send with log, and tells them floors, which may be nil. It takes from nc only the options;
// Run makes a connection of its own. When cfg.Region is not cfg.Leader it refuses every append with ErrNotLeader and the leader's name.
//
// Errors: ErrInvalidEvent for a malformed origin or a missing name.
func NewServer(nc *nats.Conn, cfg Config, log events.Appender, floors events.Floors, o ServerOptions) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	o.Logger = o.Logger.With("region", cfg.Region, "origin", cfg.Origin)
	s := &Server{cfg: cfg, model: nc, log: log, floors: floors, options: o, now: time.Now}
	s.appends = &limit{requests: o.MaxRequests, bytes: o.MaxRequestBytes}
	s.asked = &limit{requests: maxQuestions, bytes: maxQuestions * smallRequest}
	return s, nil
}

// Run serves until ctx ends, and returns nil then; or ErrUnauthorized when the servers refuse the credentials or the right to hear requests.
// Servers that cannot be reached are waited for. It can be called once.
//
// The order of the end: no new requests come; those that came are answered, for at most the options' grace; then the connection is closed.
func (s *Server) Run(ctx context.Context) error {
	if err := s.connect(ctx); err != nil || s.link == nil {
		return err
	}
	defer s.link.Close()
	denied := make(chan error, 1)
	for _, subject := range [...]string{AppendSubject(s.cfg.Origin), FloorsSubject(s.cfg.Origin)} {
		s.link.OnDenied(subject, func(err error) {
			select {
			case denied <- err:
			default:
			}
		})
	}
	working, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	appends, err := s.listen(AppendSubject(s.cfg.Origin), func(m *nats.Msg) { s.hear(working, m) })
	if err != nil {
		return err
	}
	floors, err := s.listen(FloorsSubject(s.cfg.Origin), func(m *nats.Msg) { s.hearQuestion(working, m) })
	if err != nil {
		return err
	}
	s.options.Logger.Info("appends of other regions are served")
	select {
	case <-ctx.Done():
		err = nil
	case err = <-denied:
	}
	s.stop(giveUp, appends, floors)
	s.options.Logger.Info("appends of other regions are no longer served", "error", err)
	return err
}

// connect makes the link, or leaves it nil when ctx ends first.
func (s *Server) connect(ctx context.Context) error {
	for tries := 0; ; tries++ {
		l, err := natsconn.Connect(s.model, "writer of "+s.cfg.Origin, ours, s.options.Logger)
		if err == nil {
			s.link = l
			return nil
		}
		if !errors.Is(err, events.ErrUnreachable) {
			return err
		}
		if tries == 0 {
			s.options.Logger.Warn("waiting for this region's servers, to serve appends of other regions", "error", err)
		}
		t := time.NewTimer(natsconn.Backoff(tries))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
	}
}

// stop drains and waits.
func (s *Server) stop(giveUp func(), subs ...*listener) {
	grace := time.NewTimer(s.options.Grace)
	defer grace.Stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, l := range subs {
			if l.sub.Drain() == nil {
				<-l.drained
			}
		}
		s.work.Wait()
	}()
	select {
	case <-done:
	case <-grace.C:
		giveUp()
		s.link.Close() // ends draining, too
		<-done
	}
	_ = s.link.Conn().FlushTimeout(s.options.Grace) // the last answers
}

// listener is a subscription whose end can be waited for.
type listener struct {
	sub     *nats.Subscription
	drained chan struct{}
}

// listen subscribes.
func (s *Server) listen(subject string, handle func(*nats.Msg)) (*listener, error) {
	l := &listener{drained: make(chan struct{})}
	var err error
	if l.sub, err = s.link.Conn().QueueSubscribe(subject, queueGroup, handle); err != nil {
		return nil, events.Errorf(events.ErrUnreachable, "the requests on %s cannot be heard: %w", subject, err)
	}
	l.sub.SetClosedHandler(func(string) { close(l.drained) })
	if err := l.sub.SetPendingLimits(backlog, backlogBytes); err != nil {
		return nil, events.Errorf(events.ErrUnreachable, "the requests on %s cannot be heard: %w", subject, err)
	}
	return l, nil
}

// hear takes a request on the append subject.
func (s *Server) hear(ctx context.Context, m *nats.Msg) {
	kind, err := kindOf(m.Data)
	switch {
	case err != nil:
		s.answer(m, failed(err))
	case s.cfg.Region != s.cfg.Leader:
		s.answer(m, failed(events.Errorf(ErrNotLeader, "region %s does not lead origin %s, region %s does; nothing was written",
			s.cfg.Region, s.cfg.Origin, s.cfg.Leader).Hint("Publish in region %s.", s.cfg.Leader)))
	case kind == kindHello && len(m.Data) == headBytes:
		s.answer(m, answer{what: answerHello, leader: s.cfg.Region, maxPayload: s.link.Conn().MaxPayload()})
	case !s.appends.take(len(m.Data)):
		if s.appends.shows(true) {
			s.options.Logger.Warn("appends of other regions are refused: too many at once")
		}
		s.answer(m, failed(events.Errorf(events.ErrOverloaded, "the writer in region %s has no room for the append; nothing was written", s.cfg.Region).
			Hint("Try again, more slowly.")))
	default:
		s.work.Go(func() {
			a := s.store(ctx, m.Data)
			s.appends.leave(len(m.Data))
			if s.appends.shows(false) {
				s.options.Logger.Info("appends of other regions are taken again")
			}
			s.answer(m, a)
		})
	}
}

// store appends what a request holds.
func (s *Server) store(ctx context.Context, request []byte) answer {
	b, deadline, err := decodeAppend(request)
	if err != nil {
		return failed(err)
	}
	left := time.Duration(deadline-s.now().UnixMilli()) * time.Millisecond
	if left <= 0 {
		return answer{what: answerExpired}
	}
	ctx, stop := context.WithTimeout(ctx, answerWithin)
	defer stop()
	room, leave := context.WithTimeout(ctx, min(left, roomPatience))
	defer leave()
	p, err := s.log.Submit(room, b)
	if err != nil {
		if _, told := events.CodeOf(err); !told && room.Err() != nil {
			err = events.Errorf(events.ErrOverloaded, "the log in region %s had no room for the append in time; nothing was written", s.cfg.Region).
				Hint("Try again, more slowly.")
		}
		return failed(err)
	}
	r, err := p.Wait(ctx)
	if err != nil {
		return failed(err)
	}
	return answer{what: answerReceipt, receipt: r}
}

// hearQuestion takes a request on the floors subject.
func (s *Server) hearQuestion(ctx context.Context, m *nats.Msg) {
	kind, err := kindOf(m.Data)
	switch {
	case err != nil:
		s.answer(m, failed(err))
	case kind != kindFloors && kind != kindHead || len(m.Data) != headBytes:
		s.answer(m, failed(malformed("the message of kind %q and %d bytes asks for neither floors nor the head", kind, len(m.Data))))
	case s.cfg.Region != s.cfg.Leader:
		s.answer(m, failed(events.Errorf(events.ErrNoLog, "region %s does not lead origin %s, region %s does", s.cfg.Region, s.cfg.Origin, s.cfg.Leader)))
	case kind == kindFloors && s.floors == nil:
		s.answer(m, failed(events.Errorf(events.ErrNoLog, "region %s does not know what other regions hold of origin %s", s.cfg.Region, s.cfg.Origin)))
	case kind == kindHead && s.options.Head == nil:
		s.answer(m, failed(events.Errorf(events.ErrNoLog, "this writer of region %s does not tell how far the log of origin %s is", s.cfg.Region, s.cfg.Origin)))
	case !s.asked.take(len(m.Data)):
		s.answer(m, failed(events.Errorf(events.ErrUnreachable, "the writer in region %s is asked about its log too often", s.cfg.Region)))
	default:
		s.work.Go(func() {
			defer s.asked.leave(len(m.Data))
			ctx, stop := context.WithTimeout(ctx, questionWithin)
			defer stop()
			s.answer(m, s.tell(ctx, kind))
		})
	}
}

// tell answers a question about the log.
func (s *Server) tell(ctx context.Context, kind byte) (a answer) {
	var err error
	if kind == kindFloors {
		a.what = answerFloors
		a.floors, err = s.floors.Floors(ctx)
	} else {
		a.what = answerHead
		a.position, err = s.options.Head.Head(ctx)
	}
	switch {
	case err == nil:
		return a
	case ctx.Err() != nil:
		return failed(events.Errorf(events.ErrUnreachable, "region %s could not find out about its log in time", s.cfg.Region))
	}
	return failed(err)
}

func (s *Server) answer(m *nats.Msg, a answer) {
	if m.Reply == "" {
		return // nobody listens
	}
	a.clock = s.now().UnixMilli()
	if err := s.link.Conn().Publish(m.Reply, a.encode()); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		s.options.Logger.Debug("an answer could not be sent; it will be asked for again", "error", err)
	}
}
