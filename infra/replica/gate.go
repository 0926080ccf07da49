package replica

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
)

// answerWithin is how long a mirror waits for the answer to its request; then it gives up and comes again later (its own 5 s, less a margin).
const answerWithin = 4500 * time.Millisecond

// gate is where the mirror asks to be fed. Each time it begins, after its server started, a link broke, or it noticed a gap, the mirror sends a request
// to reset its consumer at the leader, and listens only once that is answered. The request comes here, below our own prefix. It is passed on
// when the copy has been compared with the leader's log just now, and with the sequence at which the copy really ends.
//
// Passing it on as it is would not do: the consumer would go on after what it knows to be confirmed, and a mirror whose store lost records below that
// writes them down as deleted.
type gate struct {
	cfg   Config
	nc    *nats.Conn
	sub   *nats.Subscription
	asked chan struct{} // holds one note that a request came

	mu    sync.Mutex
	reply string // where the mirror waits for its answer; empty: it does not
	since time.Time
}

// gateGroup lets several processes of a region keep the gate together: each request reaches one.
const gateGroup = "gate"

func openGate(nc *nats.Conn, cfg Config) (*gate, error) {
	g := &gate{cfg: cfg, nc: nc, asked: make(chan struct{}, 1)}
	sub, err := nc.QueueSubscribe(cfg.gate()+"."+cfg.consumerSubject("RESET"), gateGroup, g.take)
	if err != nil {
		return nil, events.Errorf(events.ErrUnreachable, "region %s: the gate of origin %s cannot be opened: %w", cfg.Region, cfg.Origin, err)
	}
	g.sub = sub
	return g, nil
}

func (g *gate) close() { _ = g.sub.Unsubscribe() } // fails only when the connection is closed

func (g *gate) take(m *nats.Msg) {
	g.mu.Lock()
	g.reply, g.since = m.Reply, time.Now()
	g.mu.Unlock()
	select {
	case g.asked <- struct{}{}:
	default:
	}
}

// waiting returns where the mirror waits for an answer; empty when it does not, or has given up by now.
func (g *gate) waiting() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reply != "" && time.Since(g.since) > answerWithin {
		g.reply = ""
	}
	return g.reply
}

// let passes on the request of the mirror that waits at reply, for a copy that ends at head and was found to be on the leader's history. The copy must
// have been looked at after the request came: in a cluster, a mirror that another server has just taken over may know less than the one before it
// did, and it would write down what lies between as deleted.
func (g *gate) let(ctx context.Context, leader api, reply string, head uint64) error {
	if reply == "" || reply != g.waiting() {
		return nil
	}
	if _, err := g.cfg.ensureConsumer(ctx, leader); err != nil {
		return err
	}
	answer, err := g.cfg.resetConsumer(ctx, leader, head)
	if err != nil {
		return err
	}
	g.mu.Lock()
	if g.reply == reply {
		g.reply = ""
	}
	g.mu.Unlock()
	if err := g.nc.Publish(reply, answer); err != nil {
		return events.Errorf(events.ErrUnreachable, "region %s: the mirror of origin %s cannot be answered: %w", g.cfg.Region, g.cfg.Origin, err)
	}
	return nil
}

// denied returns ErrUnauthorized when the servers have refused us to hear the mirror, or to answer it. Both show nowhere but here.
func (g *gate) denied() error {
	for _, right := range []struct{ verb, prefix string }{{"subscribe to", g.sub.Subject}, {"publish to", replyPrefix}} {
		if refused(g.nc, right.prefix) {
			return events.Errorf(events.ErrUnauthorized, "the servers of region %s refused the right to %s %s, so the mirror of origin %s cannot be let in",
				g.cfg.Region, right.verb, right.prefix, g.cfg.Origin).
				Hint("Grant it to this user.")
		}
	}
	return nil
}

// replyPrefix begins the subjects on which a mirror waits for an answer.
const replyPrefix = "$JSC.R."

// revive gives a mirror that hears nothing its consumer back, if that is gone: with the leader's restart, or because somebody took it away. A mirror
// that still listens goes on at once; without this it would notice after 10 s to 20 s. One that was not answered hears that the leader is back, and asks
// again now instead of after up to two minutes. The copy ends at head and was found to be on the leader's history.
func (g *gate) revive(ctx context.Context, leader api, head uint64) error {
	created, err := g.cfg.ensureConsumer(ctx, leader)
	if err != nil || !created {
		return err
	}
	_, err = g.cfg.resetConsumer(ctx, leader, head)
	return err
}
