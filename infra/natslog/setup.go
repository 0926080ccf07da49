package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

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
	for tries := 0; ; tries++ {
		done, err := setup(ctx, a, cfg)
		if done || err != nil && !errors.Is(err, events.ErrNoLog) && !errors.Is(err, events.ErrUnreachable) {
			return ended(ctx, err)
		}
		if tries == setupTries || ctx.Err() != nil {
			return ended(ctx, events.Errorf(events.ErrUnreachable, "the log %s could not be set up: %w", cfg.Origin, err))
		}
		// Another process changed something under our eyes, or a cluster is not of one mind yet: what it holds then decides.
		t := time.NewTimer(backoff(tries))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// setup takes one look at the stream, and at most one step. done means that the log exists.
func setup(ctx context.Context, a api, cfg Config) (done bool, err error) {
	info, err := a.streamInfo(ctx)
	if errors.Is(err, events.ErrNoLog) {
		var created apiAnswer
		if err = a.call(ctx, "STREAM.CREATE."+a.stream, cfg.streamConfig(), &created); err == nil {
			info, err = a.streamInfo(ctx) // which says more than the answer to the creation
		}
	}
	if err != nil {
		return false, a.unanswered(err)
	}
	if err := unsafe(a.stream, Audit(cfg, info)); err != nil {
		return false, err
	}
	if info.State.LastSeq > 0 {
		_, err := genesisOf(ctx, a, cfg.Origin)
		return err == nil, err
	}
	return false, writeGenesis(ctx, a, cfg, info.Domain)
}

// errNotYet: the genesis was written just now, or somebody else was faster. It is for the next look to say.
var errNotYet = events.Errorf(events.ErrUnreachable, "the genesis was not read back")

// writeGenesis tries to write the first record. The expectation that the stream is empty lets one of many succeed.
func writeGenesis(ctx context.Context, a api, cfg Config, domain string) error {
	m, err := genesisMessage(cfg.Origin)
	if err != nil {
		return err
	}
	answered, _, err := a.link.request(ctx, m)
	if err != nil {
		return a.failure("the genesis", err)
	}
	acknowledged := &acks{stream: a.stream}
	acknowledged.domain.Store(&domain)
	if got := acknowledged.read(answered, 1); got.verdict == doubtful || got.verdict == refused {
		return events.Errorf(events.ErrUnsafeLog, "the genesis of log %s could not be written: %w", cfg.Origin, got.err)
	}
	return errNotYet
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
