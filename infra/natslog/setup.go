package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
)

// setupTries bounds how often Setup looks again after another process changed something under its eyes.
const setupTries = 10

// Setup makes the log exist: its stream, and the genesis record at sequence 1 that gives the history its lineage. It may be
// called again, by many processes at once, and after a crash at any point: an existing stream is audited and never changed, and
// a stream that was left without a genesis gets one. Like Open it uses only nc's options.
//
// Errors: ErrUnsafeLog, ErrForeignHistory when the first record is something else, ErrUnreachable, ErrUnauthorized, ErrInvalidEvent
// for a malformed origin.
func Setup(ctx context.Context, nc *nats.Conn, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	if cfg.Mirror {
		return events.Errorf(events.ErrUnsafeLog, "the log %s is to be a mirror, which is not set up but copied from the region that leads it", cfg.Origin)
	}
	cfg = cfg.withDefaults()
	l, err := connect(nc, "setup "+cfg.Origin, slog.New(slog.DiscardHandler), DefaultAttemptTimeout)
	if err != nil {
		return err
	}
	defer l.close()
	a := newAPI(l, cfg)
	info, err := ensureStream(ctx, a, cfg)
	if err != nil {
		return ended(ctx, err)
	}
	if err := unsafe(a.stream, Audit(cfg, info)); err != nil {
		return err
	}
	return ended(ctx, ensureGenesis(ctx, a, cfg, info))
}

// ensureStream returns the stream, created if it is missing.
func ensureStream(ctx context.Context, a api, cfg Config) (*jetstream.StreamInfo, error) {
	for tries := 0; ; tries++ {
		info, err := a.streamInfo(ctx)
		if !errors.Is(err, events.ErrNoLog) {
			return info, err
		}
		var created struct {
			apiAnswer
			jetstream.StreamInfo
		}
		err = a.call(ctx, "STREAM.CREATE."+a.stream, cfg.streamConfig(), &created)
		switch {
		case err == nil:
			return a.streamInfo(ctx) // the answer to a creation does not name the domain
		case hasCode(err, codeNameInUse) && tries < setupTries:
			continue // another process was faster, with another configuration: look at it
		}
		return nil, a.unanswered(err)
	}
}

// ensureGenesis writes the first record unless there is one. The expectation that the stream is empty lets one of many succeed.
func ensureGenesis(ctx context.Context, a api, cfg Config, info *jetstream.StreamInfo) error {
	for tries := 0; ; tries++ {
		if info.State.LastSeq > 0 {
			_, err := genesisOf(ctx, a, cfg.Origin)
			return err
		}
		m, err := genesisMessage(cfg.Origin)
		if err != nil {
			return err
		}
		answered, _, err := a.link.request(ctx, m)
		if err != nil && !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, errNoAnswer) && !errors.Is(err, errDisconnected) {
			return err
		}
		if err == nil {
			acknowledged := &acks{stream: a.stream}
			acknowledged.domain.Store(&info.Domain)
			if got := acknowledged.read(answered, 1); got.verdict == doubtful || got.verdict == refused {
				return events.Errorf(events.ErrUnreachable, "the genesis of log %s could not be written: %w", cfg.Origin, got.err)
			}
		}
		if tries == setupTries {
			return events.Errorf(events.ErrUnreachable, "the genesis of log %s could not be written: %w", cfg.Origin, err)
		}
		// Whatever the answer was, what the stream holds now decides.
		if err := rest(ctx, tries); err != nil {
			return err
		}
		if info, err = a.streamInfo(ctx); err != nil {
			return err
		}
	}
}

// rest gives a cluster time to elect the stream's leader.
func rest(ctx context.Context, tries int) error {
	if tries == 0 {
		return nil
	}
	t := time.NewTimer(backoff(tries))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func genesisMessage(origin string) (*nats.Msg, error) {
	data, err := json.Marshal(events.Genesis{Format: events.GenesisFormat, Origin: origin, Lineage: newLineage()})
	if err != nil {
		return nil, err
	}
	at, err := new(events.Clock).Now()
	if err != nil {
		return nil, err
	}
	c := events.Control{Name: events.ControlGenesis, Data: data}
	encoded := events.EncodeControl(origin, c, events.Stamp{Time: at, Hash: c.ContentHash()})
	m := &nats.Msg{Subject: encoded.Subject, Header: nats.Header(encoded.Header), Data: encoded.Data}
	m.Header[headerExpectLast] = []string{"0"}
	m.Header[headerExpectStream] = []string{StreamName(origin)}
	return m, nil
}
