package queryservice

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsconn"
	"tidemark.dev/projections/query"
)

// Caller asks the query services of regions over one connection to the servers of one of them. It is safe for concurrent use.
type Caller struct {
	link *natsconn.Link
}

// Dial returns a Caller that uses the servers with the given options; name says whose they are. They need not answer yet. Errors:
// events.ErrUnauthorized, events.ErrUnreachable, when they never could.
func Dial(name string, logger *slog.Logger, options ...nats.Option) (*Caller, error) {
	o := nats.GetDefaultOptions()
	for _, set := range options {
		if err := set(&o); err != nil {
			return nil, events.Errorf(events.ErrUnreachable, "the servers of region %s cannot be used: %w", name, err)
		}
	}
	l, err := natsconn.Dial(o, "client in "+name, "the servers of region "+name, cmp.Or(logger, slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	return &Caller{link: l}, nil
}

// Close ends the connection; what waits ends with events.ErrUnreachable.
func (c *Caller) Close() { c.link.Close() }

// Connected reports whether the servers are there.
func (c *Caller) Connected() bool { return !c.link.Present().Over() }

// Wait returns when the servers are there, or ctx's cause.
func (c *Caller) Wait(ctx context.Context) error { return c.link.Wait(ctx) }

// Told is what an answer says beside its body.
type Told struct {
	Region     string
	Position   events.Position
	Lag        *query.Lag
	Generation uint32
	// At is the copy that the answer is from; empty: the live read model.
	At string
}

// Ask asks the service of a region, and reads its answer into body. When ctx ends without an answer, the service stops working on it too. Errors are what the service says,
// with its code, and with Told as far as it says; and of its own:
//
//   - events.ErrUnreachable: nobody answered, the connection broke, or ctx's time was over;
//   - events.ErrUnauthorized: the servers do not let us ask, or hear the answer;
//   - ErrProtocol: the answer cannot be read.
func (c *Caller) Ask(ctx context.Context, region, operation string, request, body any) (Told, error) {
	m, err := c.message(ctx, region, operation, request)
	if err != nil {
		return Told{}, err
	}
	answer, _, err := c.link.Request(ctx, m)
	if err != nil {
		return Told{}, silent(ctx, region, err)
	}
	return read(ctx, region, answer, body)
}

// Ask asks the service of a region over a connection that somebody else keeps. It is for whoever asks now and then: a break of the connection is noticed when ctx ends. Errors are those of Caller.Ask.
func Ask(ctx context.Context, nc *nats.Conn, region, operation string, request, body any) (Told, error) {
	m, err := message(ctx, nc, region, operation, request)
	if err != nil {
		return Told{}, err
	}
	answer, err := nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return Told{}, silent(ctx, region, err)
	}
	return read(ctx, region, answer, body)
}

// message makes a request.
func (c *Caller) message(ctx context.Context, region, operation string, request any) (*nats.Msg, error) {
	return message(ctx, c.link.Conn(), region, operation, request)
}

func message(ctx context.Context, nc *nats.Conn, region, operation string, request any) (*nats.Msg, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", operation, err)
	}
	m := &nats.Msg{Subject: Subject(region, operation), Data: text, Header: nats.Header{}}
	if deadline, ok := ctx.Deadline(); ok {
		m.Header.Set(HeaderTimeout, max(time.Until(deadline), time.Millisecond).String())
	}
	m.Header.Set(HeaderMaxAnswer, strconv.FormatInt(nc.MaxPayload(), 10))
	return m, nil
}

// noResponders is the status of a message that says that nobody listens.
const noResponders = "503"

// read takes an answer apart.
func read(ctx context.Context, region string, answer *nats.Msg, body any) (Told, error) {
	if len(answer.Data) == 0 && answer.Header.Get("Status") == noResponders {
		return Told{}, silent(ctx, region, nats.ErrNoResponders)
	}
	told, err := readTold(region, answer.Header)
	if err != nil {
		return told, err
	}
	if code := answer.Header.Get(HeaderErrorCode); code != "" {
		p := Problem{Code: code, Detail: answer.Header.Get(HeaderError)}
		if err := json.Unmarshal(answer.Data, &p); err != nil || p.Code != code {
			return told, malformed(region, "its problem is no JSON, or another one than its header says")
		}
		return told, p.err()
	}
	if err := json.Unmarshal(answer.Data, body); err != nil {
		return told, malformed(region, err.Error())
	}
	if !readSets(answer.Header, body) {
		return told, malformed(region, "a document lacks a set that its header names")
	}
	return told, nil
}

// Silence is the cause of an ErrUnreachable of our own: there is no answer.
type Silence struct {
	text string
	// At once says that this was known without waiting.
	AtOnce bool
}

// Error says why.
func (s *Silence) Error() string { return s.text }

// silent says why there is no answer.
func silent(ctx context.Context, region string, err error) error {
	var why Silence
	switch {
	case errors.Is(err, events.ErrUnauthorized):
		return err
	case errors.Is(err, nats.ErrNoResponders):
		why = Silence{"nobody there answers: no query service runs, or the link is down", true}
	case errors.Is(err, natsconn.ErrDisconnected):
		why = Silence{err.Error(), true}
	case errors.Is(err, nats.ErrMaxPayload):
		return events.Errorf(events.ErrTooLarge, "the request is larger than a message may be")
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		why = Silence{"it did not answer in time", false}
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		why = Silence{err.Error(), true}
	}
	return events.Errorf(events.ErrUnreachable, "the query service of region %s cannot be reached: %w", region, &why).Hint("Ask again, or in another region.")
}

func malformed(region, what string) error {
	return events.Errorf(ErrProtocol, "the answer of the query service of region %s cannot be read: %s", region, what).
		Hint("Run the same version of tidemark on both sides.")
}

func readTold(region string, h nats.Header) (t Told, err error) {
	t.Region = h.Get(HeaderRegion)
	if t.Region != region {
		return t, malformed(region, fmt.Sprintf("it says to be of region %q", clip(t.Region)))
	}
	if t.Position, err = events.ParsePosition(h.Get(HeaderPosition)); err != nil {
		return t, malformed(region, "its position is none")
	}
	if text := h.Get(HeaderGeneration); text != "" {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return t, malformed(region, "its generation is no number")
		}
		t.Generation = uint32(n)
	}
	t.At = h.Get(HeaderAt)
	if text := h.Get(HeaderLag); text != "" && text != unknownLag {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return t, malformed(region, "its lag is no number")
		}
		t.Lag = &query.Lag{Events: n}
		if t.Lag.At, err = time.Parse(time.RFC3339Nano, h.Get(HeaderLagAt)); err != nil {
			return t, malformed(region, "the time of its lag is none")
		}
	}
	return t, nil
}
