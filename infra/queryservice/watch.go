package queryservice

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"reflect"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// DefaultMaxWatches bounds the watches of a Server.
const DefaultMaxWatches = 256

// DefaultAckPatience is how long a watcher may take to ask for the next update.
const DefaultAckPatience = 15 * time.Second

// WatchRequest asks for a watch. Its answers come one after the other to where the answer of any other request would: updates, and at last, if the watch ends by itself, a problem.
// An update has a reply subject of its own, and the next one comes when it is answered, with an empty message: so nobody is sent more than he takes, and one who is gone is
// sent nothing more.
type WatchRequest struct {
	Projection string `json:"projection"`
	// Token is where to go on: of a page, or of an update before. nil: from now on.
	Token *string `json:"token,omitempty"`
	// Prefix says that only keys matter that begin so.
	Prefix string `json:"prefix,omitempty"`
	// Heartbeat is how often an update comes while nothing changes, such as 5s; nil: query.DefaultHeartbeat.
	Heartbeat *string `json:"heartbeat,omitempty"`
	// At is the name of a copy. In one nothing changes, so that it is refused.
	At string `json:"at,omitempty"`
}

// NewWatchRequest returns the request for a watch.
func NewWatchRequest(projection string, o query.WatchOptions) WatchRequest {
	r := WatchRequest{Projection: projection, Prefix: o.Prefix, At: o.At}
	if o.From != "" {
		r.Token = &o.From
	}
	if o.Heartbeat != 0 {
		r.Heartbeat = pointer(o.Heartbeat.String())
	}
	return r
}

func (r *WatchRequest) options() (query.WatchOptions, error) {
	o := query.WatchOptions{Prefix: r.Prefix, At: r.At}
	switch {
	case r.Token == nil:
	case *r.Token == "":
		return o, events.Errorf(projections.ErrInvalidCursor, "the token is empty").Hint("Leave token out to watch from now on.")
	default:
		o.From = *r.Token
	}
	if r.Heartbeat == nil {
		return o, nil
	}
	d, err := time.ParseDuration(*r.Heartbeat)
	if err != nil || d <= 0 {
		return o, invalid("a heartbeat of %q is not a duration such as 5s", clip(*r.Heartbeat))
	}
	o.Heartbeat = d
	return o, nil
}

// watching is a watch that was asked for.
type watching struct {
	request WatchRequest
	options query.WatchOptions
	to      string // where the watcher listens
	most    int64  // bytes of a message
}

// hearWatch takes a request for a watch: it has a goroutine of its own for as long as it lasts.
func (s *Server) hearWatch(working context.Context, r micro.Request) {
	ended := s.options.Observer.Asked(working, Watch)
	end := func(problem *nats.Msg) {
		code := ""
		if problem != nil {
			code = problem.Header.Get(HeaderErrorCode)
			s.send(r.Reply(), problem)
		}
		ended(code)
		s.counts[Watch].answered(code != "")
	}
	w := watching{to: r.Reply()}
	b, err := readBounds(nats.Header(r.Headers()), s.link.Conn().MaxPayload())
	if err == nil {
		w.most = b.maxAnswer
		w.request, err = decode[WatchRequest](r.Data(), members(reflect.TypeFor[WatchRequest]()))
	}
	if err == nil {
		w.options, err = w.request.options()
	}
	if err == nil && w.to == "" {
		err = invalid("a watch needs a subject to tell its updates to")
	}
	if err != nil {
		end(problemOf(err).message())
		return
	}
	if !s.watches.take() {
		end(problemOf(full(s.watches, s.region)).message())
		return
	}
	s.work.Go(func() {
		defer s.watches.leave()
		ctx, cancel := context.WithCancelCause(working)
		defer cancel(nil)
		defer context.AfterFunc(s.stopping, func() { cancel(context.Cause(s.stopping)) })() //nolint:contextcheck // the service's own life
		end(s.watch(ctx, w))
	})
}

// watch tells updates until the watcher is gone, which needs no word, or something else ends it, which is a problem to be told.
func (s *Server) watch(ctx context.Context, w watching) (problem *nats.Msg) {
	told := query.Update{Token: w.options.From} // up to which everything was told
	for u, err := range s.reader.Watch(ctx, w.request.Projection, w.options) {
		if err != nil {
			p := problemOf(err)
			if p.Code == string(codeInternal) {
				s.options.Logger.ErrorContext(ctx, "an error without a code", "reason", err.Error())
			}
			return p.message()
		}
		for m, err := range s.messages(w, &u, &told) {
			if err != nil {
				return problemOf(err).message()
			}
			switch err := s.tell(ctx, m); {
			case err == nil:
			case ctx.Err() != nil:
				return problemOf(context.Cause(ctx)).message()
			case errors.Is(err, context.DeadlineExceeded):
				return problemOf(events.Errorf(codeTooSlow, "the watcher did not ask for the next update within %s", s.options.AckPatience).
					Hint("Watch again from the last token.")).message()
			default:
				return nil // nobody is there any more, or nobody can be told
			}
		}
		told = u
	}
	return nil
}

// messages makes the messages of an update: one, or as many as it takes. Only the last one stands where the update does: until then everything was told up to where the one before stands.
func (s *Server) messages(w watching, u, told *query.Update) iter.Seq2[*nats.Msg, error] {
	return func(yield func(*nats.Msg, error) bool) {
		rest := u.Changes
		for n := len(rest); ; {
			part := *u
			if part.Changes = rest[:n]; n < len(rest) {
				part.Token, part.Position, part.Lag = told.Token, told.Position, told.Lag
			}
			m := &nats.Msg{Subject: w.to, Header: nats.Header{}}
			m.Header.Set(HeaderRegion, s.region)
			stand(m.Header, part.Standing)
			writeSets(m.Header, &part)
			var err error
			m.Data, err = encode(part)
			if size := int64(m.Size()) + answerRoom; err == nil && size > w.most {
				if n > 1 {
					n /= 2
					continue
				}
				err = events.Errorf(events.ErrTooLarge, "an update has %d bytes, and a message of %d may be sent", size, w.most)
			}
			if !yield(m, err) || err != nil {
				return
			}
			if rest = rest[n:]; len(rest) == 0 {
				return
			}
			n = min(n, len(rest))
		}
	}
}

// tell sends an update and waits until the watcher asks for more.
func (s *Server) tell(ctx context.Context, m *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.AckPatience)
	defer cancel()
	_, _, err := s.link.Request(ctx, m)
	return err
}

// Updates asks the service of a region for a watch, and yields what it tells; an error is yielded once, and ends it. It ends when nothing came for a while in which a heartbeat
// should have. patience is how long the first answer may take. Errors are those of Ask.
func (c *Caller) Updates(ctx context.Context, region, projection string, o query.WatchOptions, patience time.Duration) iter.Seq2[query.Update, error] {
	return func(yield func(query.Update, error) bool) {
		if err := c.updates(ctx, region, NewWatchRequest(projection, o), patience, 2*cmp.Or(o.Heartbeat, query.DefaultHeartbeat)+patience, yield); err != nil {
			yield(query.Update{}, err)
		}
	}
}

// watched is how many updates may wait in this process: one that was asked for, and a problem behind it.
const watched = 4

func (c *Caller) updates(ctx context.Context, region string, q WatchRequest, first, silence time.Duration, yield func(query.Update, error) bool) error {
	m, err := c.message(ctx, region, Watch, q)
	if err != nil {
		return err
	}
	guarded, release, err := c.link.Guard(ctx, m.Subject)
	if err != nil {
		return silent(ctx, region, err)
	}
	defer release()
	nc := c.link.Conn()
	m.Reply = nc.NewInbox()
	answers, err := nc.SubscribeSync(m.Reply)
	if err != nil {
		return silent(ctx, region, err)
	}
	defer answers.Unsubscribe() //nolint:errcheck // the connection may be gone, and the subscription with it
	_ = answers.SetPendingLimits(watched, -1)
	if err := nc.PublishMsg(m); err != nil {
		return silent(ctx, region, err)
	}
	for patience := first; ; patience = silence {
		waiting, cancel := context.WithTimeout(guarded, patience)
		answer, err := answers.NextMsgWithContext(waiting)
		cancel()
		switch {
		case err == nil:
		case guarded.Err() != nil:
			return silent(ctx, region, context.Cause(guarded))
		default:
			return silent(waiting, region, err)
		}
		var u query.Update
		if _, err := read(ctx, region, answer, &u); err != nil {
			return err
		}
		if answer.Reply != "" {
			_ = nc.Publish(answer.Reply, nil) // lost, the service says so and ends
		}
		if !yield(u, nil) {
			return nil
		}
	}
}
