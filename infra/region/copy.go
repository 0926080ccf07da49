package region

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
)

const (
	// copyPoll is how often a process that does not mirror itself asks the one that does, and copyPatience how long it waits for an answer.
	copyPoll     = 500 * time.Millisecond
	copyPatience = time.Second
	// maxCopyAnswer bounds an answer, in bytes.
	maxCopyAnswer = 16 << 10
)

// copySubject is where the writer of a region tells how its copy of an origin stands. It is asked inside the region only.
func copySubject(region, origin string) string { return "tm.copy." + region + "." + origin }

// leading is the copy that accepts the writes. Its heads are not set: the log itself tells them.
type leading struct{ now events.Replication }

func newLeading(c *Config) leading {
	return leading{events.Replication{Origin: c.Origin, Region: c.Name, Leader: c.Leader, State: events.CopyLeads, Lag: &events.ReplicationLag{}}}
}

// Replication returns that it leads.
func (l leading) Replication() events.Replication { return l.now }

// tellCopy answers other processes of the region how the copy stands.
func (r *Region) tellCopy(c events.Copy) error {
	s, err := r.nats.Subscribe(copySubject(r.config.Name, r.config.Origin), func(m *nats.Msg) {
		text, err := json.Marshal(c.Replication())
		if err == nil {
			err = m.Respond(text)
		}
		if err != nil {
			r.config.Logger.Debug("a question about the copy was not answered", "region", r.config.Name, "reason", err.Error())
		}
	})
	if err != nil {
		return events.Errorf(events.ErrUnreachable, "the region cannot tell how its copy of the log stands: %w", err)
	}
	r.onClose(func() { _ = s.Unsubscribe() })
	return nil
}

// askedCopy is the copy of a region that another process tends. What that process said last is believed for as long as it goes on answering.
type askedCopy struct {
	nc      *nats.Conn
	subject string

	mu  sync.Mutex
	now events.Replication
}

func newAskedCopy(nc *nats.Conn, c *Config) *askedCopy {
	return &askedCopy{nc: nc, subject: copySubject(c.Name, c.Origin), now: events.Replication{
		Origin: c.Origin, Region: c.Name, Leader: c.Leader, State: events.CopyUnknown, // since when is not known
	}}
}

// Replication returns what the writer of the region said last, or unknown since it stopped answering.
func (a *askedCopy) Replication() events.Replication {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

// ask asks once.
func (a *askedCopy) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, copyPatience)
	defer cancel()
	var now events.Replication
	m, err := a.nc.RequestWithContext(ctx, a.subject, nil)
	if err == nil && len(m.Data) <= maxCopyAnswer {
		err = json.Unmarshal(m.Data, &now)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil && now.Origin == a.now.Origin && now.Region == a.now.Region {
		a.now = now
		return
	}
	if a.now.State != events.CopyUnknown {
		a.now.State, a.now.Since = events.CopyUnknown, time.Now().UTC()
	}
	a.now.Lag = nil
	a.now.Code, a.now.Message = events.ErrUnreachable, "the writer of region "+a.now.Region+", which mirrors the log, does not answer"
}

// run asks again and again.
func (a *askedCopy) run(ctx context.Context) error {
	tick := time.NewTicker(copyPoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.ask(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}
