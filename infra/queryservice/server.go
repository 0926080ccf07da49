package queryservice

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsconn"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

const (
	// backlog and backlogBytes are how much may arrive on one subject before it is looked at, which takes microseconds. What exceeds that is dropped.
	backlog      = 16_384
	backlogBytes = 32 << 20
	// drainPoll is how often a service that is stopped looks whether it has taken everything that came.
	drainPoll = 5 * time.Millisecond
)

// Server answers queries of one region. Several may run, in one process or in many: they share the requests.
type Server struct {
	region     string
	model      *nats.Conn
	options    Options
	operations []operation
	link       *natsconn.Link
	requests   *places
	waits      *places
	watches    *places
	reader     *query.Reader
	counts     map[string]*counts // by operation
	stopping   context.Context    //nolint:containedctx // it ends every wait
	stopWaits  context.CancelCauseFunc
	work       sync.WaitGroup
}

// New returns a Server that answers with r. It takes from nc only the options; Run makes a connection of its own. Errors: events.ErrInvalidEvent for a
// malformed name of the region.
func New(nc *nats.Conn, region string, r *query.Reader, o Options) (*Server, error) {
	if err := events.ValidateOrigin(region); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	o.Logger = o.Logger.With("region", region)
	s := &Server{region: region, model: nc, options: o, reader: r, operations: operations(r), counts: map[string]*counts{Watch: {}}}
	s.requests, s.waits, s.watches = newPlaces(o.MaxRequests), newPlaces(o.MaxWaits), newPlaces(o.MaxWatches)
	s.stopping, s.stopWaits = context.WithCancelCause(context.Background())
	for _, op := range s.operations {
		s.counts[op.name] = &counts{}
	}
	return s, nil
}

// Run serves until ctx ends, and returns nil then; or events.ErrUnauthorized when the servers refuse the credentials or a right. Servers that cannot be reached are
// waited for. It can be called once. The order of the end:
//
//  1. the service is no longer found, and no new request comes; waits for a position end;
//  2. requests that came are answered, for at most the options' grace;
//  3. the connection is closed.
func (s *Server) Run(ctx context.Context) error {
	if err := s.connect(ctx); err != nil || s.link == nil {
		return err
	}
	defer s.link.Close() // 3
	denied := make(chan error, 1)
	s.link.OnDenied("", func(err error) {
		select {
		case denied <- err:
		default: // one reason is enough
		}
	})
	working, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	before := s.subscriptions()
	service, err := s.listen(working)
	if err != nil {
		return err
	}
	s.options.Logger.Info("queries over NATS are served")
	select {
	case <-ctx.Done():
		err = nil
	case err = <-denied:
	}
	s.stop(service, before, giveUp)
	s.options.Logger.Info("queries over NATS are no longer served", "error", err)
	return err
}

// subscriptions returns how many there are before the service is there, the one for answers to ourselves among them: asking nobody makes it.
func (s *Server) subscriptions() int {
	_, _ = s.link.Conn().Request("_INBOX.tidemark.nobody", nil, time.Millisecond)
	return s.link.Conn().NumSubscriptions()
}

// connect makes the link, or leaves it nil when ctx ends first.
func (s *Server) connect(ctx context.Context) error {
	for tries := 0; ; tries++ {
		l, err := natsconn.Connect(s.model, "queries of "+s.region, "the servers of region "+s.region, s.options.Logger)
		if err == nil {
			s.link = l
			return nil
		}
		if !errors.Is(err, events.ErrUnreachable) {
			return err
		}
		if tries == 0 {
			s.options.Logger.Warn("waiting for this region's servers, to serve queries over NATS", "error", err)
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

// listen makes the micro service with an endpoint for each operation. Its handlers are called one after the other, so they only hand over.
func (s *Server) listen(working context.Context) (micro.Service, error) {
	service, err := micro.AddService(s.link.Conn(), micro.Config{
		Name: Name, Version: Version, Description: "Queries of a region's read models, each answer with its position", QueueGroup: queueGroup,
		Metadata:     map[string]string{"region": s.region, "program": s.options.Program},
		StatsHandler: func(e *micro.Endpoint) any { return s.counts[e.Name].now() },
		ErrorHandler: func(_ micro.Service, err *micro.NATSError) {
			s.options.Logger.Warn("an error of the query service's subscriptions", "subject", err.Subject, "error", err.Description)
		},
	})
	if err != nil {
		return nil, events.Errorf(events.ErrUnreachable, "the queries of region %s cannot be heard: %w", s.region, err)
	}
	add := func(name, what string, members []string, handle func(micro.Request)) {
		if err == nil {
			err = service.AddEndpoint(name, micro.HandlerFunc(handle),
				micro.WithEndpointSubject(Subject(s.region, name)), micro.WithEndpointPendingLimits(backlog, backlogBytes),
				micro.WithEndpointMetadata(map[string]string{"answers": what, "members": strings.Join(members, ", ")}))
		}
	}
	for _, op := range s.operations {
		add(op.name, op.what, op.members, func(r micro.Request) { s.hear(working, &op, r) })
	}
	add(Watch, "what changes, one update after the other", members(reflect.TypeFor[WatchRequest]()), func(r micro.Request) { s.hearWatch(working, r) })
	if err != nil {
		return nil, errors.Join(events.Errorf(events.ErrUnreachable, "the queries of region %s cannot be heard: %w", s.region, err), service.Stop())
	}
	return service, nil
}

// stop drains and waits. The service itself cannot be asked whether it has drained; its subscriptions are gone then.
func (s *Server) stop(service micro.Service, before int, giveUp func()) {
	grace := time.NewTimer(s.options.Grace)
	defer grace.Stop()
	s.stopWaits(stopping())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := service.Stop(); err != nil {
			s.options.Logger.Debug("the query service did not stop cleanly", "error", err)
		}
		tick := time.NewTicker(drainPoll)
		defer tick.Stop()
		for nc := s.link.Conn(); !nc.IsClosed() && nc.NumSubscriptions() > before; {
			<-tick.C
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

// hear takes a request, which is understood and answered by a goroutine of its own if there is a place for it. One that may wait gives that place back for one among those that wait.
func (s *Server) hear(working context.Context, op *operation, r micro.Request) {
	ended := s.options.Observer.Asked(working, op.name)
	answer := func(m *nats.Msg) {
		ended(m.Header.Get(HeaderErrorCode))
		s.counts[op.name].answered(m.Header.Get(HeaderErrorCode) != "")
		s.send(r.Reply(), m)
	}
	if !s.requests.take() {
		answer(problemOf(full(s.requests, s.region)).message())
		return
	}
	s.work.Go(func() {
		place := s.requests
		defer func() { place.leave() }()
		b, err := readBounds(nats.Header(r.Headers()), s.link.Conn().MaxPayload())
		var do work
		var wait time.Duration
		if err == nil {
			do, wait, err = op.read(r.Data())
		}
		if err == nil && wait > 0 {
			err = s.swap(&place)
		}
		if err != nil {
			answer(problemOf(err).message())
			return
		}
		ctx, cancel := context.WithTimeout(working, cmp.Or(b.timeout, DefaultTimeout+wait))
		defer cancel()
		if wait > 0 {
			var end context.CancelCauseFunc
			ctx, end = context.WithCancelCause(ctx)
			defer end(nil)
			defer context.AfterFunc(s.stopping, func() { end(context.Cause(s.stopping)) })() //nolint:contextcheck // the service's own life
		}
		answer(s.answer(ctx, do, b.maxAnswer))
	})
}

// swap exchanges a place among the requests at work for one among those that wait.
func (s *Server) swap(place **places) error {
	if !s.waits.take() {
		return full(s.waits, s.region)
	}
	(*place).leave()
	*place = s.waits
	return nil
}

// answer does the work and makes the message.
func (s *Server) answer(ctx context.Context, do work, most int64) *nats.Msg {
	body, at, err := do(ctx)
	m := &nats.Msg{Header: nats.Header{}}
	if err == nil {
		m.Data, err = encode(body)
	}
	if err != nil {
		p := problemOf(err)
		if p.Code == string(codeInternal) {
			s.options.Logger.ErrorContext(ctx, "an error without a code", "reason", err.Error())
		}
		m = p.message()
		if errors.Is(err, projections.ErrNoDocument) { // which is as true as a document
			stand(m.Header, at)
		}
		return m
	}
	stand(m.Header, at)
	writeSets(m.Header, body)
	if size := int64(m.Size()) + answerRoom; size > most {
		return problemOf(events.Errorf(events.ErrTooLarge, "the answer has %d bytes, and a message of %d may be sent", size, most).
			Hint("Ask for fewer documents at once.")).message()
	}
	return m
}

// answerRoom is above what is added to an answer: the region's name, and where it is sent.
const answerRoom = 512

// encode writes an answer as HTTP does.
func encode(v any) ([]byte, error) {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return []byte(strings.TrimSuffix(text.String(), "\n")), err
}

func (s *Server) send(to string, m *nats.Msg) {
	if to == "" {
		return // nobody listens
	}
	m.Subject = to
	m.Header.Set(HeaderRegion, s.region)
	if err := s.link.Conn().PublishMsg(m); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		s.options.Logger.Debug("an answer could not be sent", "error", err)
	}
}
