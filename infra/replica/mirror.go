package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
)

// Mirror is a region's copy of an origin that another region leads.
type Mirror struct {
	cfg    Config
	nc     *nats.Conn
	log    *slog.Logger
	status *status
	note   string
	wishes chan remaking
}

var _ events.Copy = (*Mirror)(nil)

// Follow returns the copy of an origin in this region. Nothing is made or changed before Run. nc is a connection to the region's servers; its options are
// used for connections of our own, too. The leader need not be there.
//
// Errors: ErrUnsafeLog with every finding when the stream exists and is no copy of this origin, or not one whose mirror asks at the gate;
// ErrUnreachable and ErrUnauthorized for the region's own servers; ErrInvalidEvent for a malformed name.
func Follow(ctx context.Context, nc *nats.Conn, cfg Config, o Options) (*Mirror, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Mirror{cfg: cfg, nc: nc, log: o.Logger, status: newStatus(cfg, o.Logger), wishes: make(chan remaking)}
	info, err := ownAPI(nc, cfg.Region).streamInfo(ctx, cfg.stream())
	if errors.Is(err, events.ErrNoLog) {
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	if err := cfg.audit(info); err != nil {
		return m, err
	}
	b, err := natslog.BeginningOf(info.Config)
	if err != nil {
		return m, err
	}
	m.status.now.Begins = b.From
	if from := max(cfg.From, 1); b.First() != from {
		m.note = fmt.Sprintf("the copy of the log %s in region %s was made to begin with sequence %d, and stays so though %d is configured; "+
			"to have it begin there, delete stream %s in region %s: it is copied anew",
			cfg.Origin, cfg.Region, b.First(), from, cfg.stream(), cfg.Region)
	}
	return m, nil
}

// Note returns what a person should know about the copy that was there: that it begins elsewhere than is configured. Empty: nothing.
func (m *Mirror) Note() string { return m.note }

// Replication returns how the copy stands now. It is as of the last look, at most some seconds ago; when that is too long, the state is unknown.
func (m *Mirror) Replication() events.Replication { return m.status.replication() }

// Run makes the copy if there is none, keeps the gate, and compares the copy with its leader about once a second. It ends when ctx does, and then
// returns nil: servers that cannot be reached are waited for, and a copy that has diverged is shown as such and looked at again. The
// mirror itself goes on without Run, until its server restarts or the link breaks; then it waits for a gate. Several processes
// of a region may run it. A Mirror runs once at a time.
func (m *Mirror) Run(ctx context.Context) error {
	f := &follower{cfg: m.cfg, nc: m.nc, own: ownAPI(m.nc, m.cfg.Region), leader: remoteAPI(m.nc, m.cfg.Leader)}
	defer f.close()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		v := f.look(ctx)
		if ctx.Err() != nil {
			break // the look was cut short, so it says nothing
		}
		m.status.set(ctx, v)
		select {
		case <-tick.C:
		case <-f.asked():
		case wish := <-m.wishes:
			err := f.remake(ctx)
			m.status.set(ctx, f.look(ctx)) // nobody is told any more how the old one stood
			wish.done <- err
		case <-ctx.Done():
		}
	}
	return nil
}

// audit returns ErrUnsafeLog unless the stream is set up as a copy of the origin that is fed through the gate. What it holds is not looked at.
func (c Config) audit(info *jetstream.StreamInfo) error {
	findings := natslog.Audit(c.here(), &jetstream.StreamInfo{Config: info.Config})
	if m := info.Config.Mirror; m != nil && len(findings) == 0 {
		want := c.here().MirrorStream(c.Region, c.gate()).Mirror
		prefix, consumer := "$JS.API", jetstream.StreamConsumerSource{}
		if m.External != nil {
			prefix = m.External.APIPrefix
		}
		if m.Consumer != nil {
			consumer = *m.Consumer
		}
		if prefix != c.gate() || consumer != *want.Consumer {
			findings = append(findings, natslog.Finding{
				Setting: "mirror", Found: fmt.Sprintf("fed by consumer %q on %q, asked for at %s", consumer.Name, consumer.DeliverSubject, prefix),
				Wanted: fmt.Sprintf("fed by consumer %q on %q, asked for at %s", want.Consumer.Name, want.Consumer.DeliverSubject, c.gate()),
				Why:    "It would take records without a comparison, and splice a replaced history onto its own.",
				Mend:   "nats stream rm " + c.stream() + ", and it is copied anew.",
			})
		}
	}
	if len(findings) == 0 {
		return nil
	}
	var text strings.Builder
	for _, f := range findings {
		text.WriteString("\n  - " + f.String())
	}
	return events.Errorf(events.ErrUnsafeLog, "stream %s in region %s is not a copy of origin %s that can be followed; nothing was changed:%s",
		c.stream(), c.Region, c.Origin, text.String()).Hint("Mend what is listed. If the leader is right, deleting the stream in region %s makes it be copied anew.", c.Region)
}
