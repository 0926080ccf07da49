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

// greetAge is how long a writer's last answer stands for one that would come now. After it a greeting goes before an append, so that a link that
// has died in silence shows before anything is at stake: it costs an append after a rest one more round trip.
const greetAge = 10 * time.Second

// ours names the servers in errors.
const ours = "this region's servers"

// errNoAnswer is the cause of a request without answer.
var errNoAnswer = errors.New("no answer in time")

// caller asks the leader's writers.
type caller struct {
	link    *natsconn.Link
	subject string
	timeout time.Duration

	mu      sync.Mutex
	begun   time.Time
	ahead   time.Duration   // of the leader's clock, in time since 1970, over the time since begun; never too much
	greeted *natsconn.Epoch // the connection on which a writer has answered: rights and all. nil: greet again
	heard   time.Time       // when a writer answered last
	most    int64           // the leader's bound of a message
}

func newCaller(l *natsconn.Link, subject string, timeout time.Duration) *caller {
	return &caller{link: l, subject: subject, timeout: timeout, begun: time.Now()}
}

// ask sends one request and waits for its answer. unsent says that nobody got the request, so that it had no effect. The error is
// nats.ErrNoResponders, natsconn.ErrDisconnected, errNoAnswer, an ErrUnauthorized, an ErrProtocol, or ctx's cause.
func (c *caller) ask(ctx context.Context, request []byte) (a answer, unsent bool, err error) {
	ctx, stop := context.WithTimeoutCause(ctx, c.timeout, errNoAnswer)
	defer stop()
	m, unsent, err := c.link.Request(ctx, &nats.Msg{Subject: c.subject, Data: request})
	if err != nil && !unsent {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.greeted = nil // what comes next need not end in doubt
	}
	if err != nil {
		return a, unsent, err
	}
	if a, err = decodeAnswer(m.Data); err != nil {
		return a, false, err
	}
	c.hear(a.clock)
	return a, false, nil
}

// hear learns the leader's clock. Now it shows at least what it showed when the answer was sent.
func (c *caller) hear(unixMillis int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = time.Now()
	c.ahead = time.Duration(unixMillis)*time.Millisecond - time.Since(c.begun)
}

// leaderClock returns what the leader's clock shows at a moment of ours, at least, in milliseconds since 1970.
func (c *caller) leaderClock(at time.Time) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return (c.ahead + at.Sub(c.begun)).Milliseconds()
}

// greet makes sure that on the present connection a writer has answered. So a right that is missing shows before anything is at stake, and the
// leader's clock is known. Its errors are those of ask and what the writer says; nothing but the greeting was sent.
func (c *caller) greet(ctx context.Context) error {
	e := c.link.Present()
	c.mu.Lock()
	known := c.greeted == e && time.Since(c.heard) < greetAge
	c.mu.Unlock()
	if known {
		return nil
	}
	ctx, stop := context.WithTimeoutCause(ctx, c.timeout/2, errNoAnswer) // nothing is to be stored for it, and one may get lost
	defer stop()
	a, _, err := c.ask(ctx, head(kindHello))
	if err != nil {
		return err
	}
	if a.what == answerError {
		return a.err
	}
	if a.what != answerHello {
		return malformed("the leader's writer answered %q to a greeting", a.what)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.greeted, c.most = e, a.maxPayload
	return nil
}

// maxPayload is the bound of a request's bytes, here and at the leader as far as that is known.
func (c *caller) maxPayload() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	most := c.link.Conn().MaxPayload()
	if c.most > 0 {
		most = min(most, c.most)
	}
	return most
}

// far tells that the leader is out of reach; what was not done goes into the text.
func far(leader, not string, cause error) error {
	if errors.Is(cause, nats.ErrNoResponders) {
		cause = errors.New("nobody there answers: the link is down, or no writer runs")
	}
	return events.Errorf(events.ErrUnreachable, "region %s, which leads the origin, cannot be reached; %s: %w", leader, not, cause).
		Hint("Try again when the link to %s is up, or do it there.", leader)
}
