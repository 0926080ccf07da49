package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
	"tidemark.dev/infra/internal/natsconn"
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
	if cfg.ReadOnly {
		return events.Errorf(events.ErrUnsafeLog, "the log %s is only to be read, so it is not set up", cfg.Origin)
	}
	cfg = cfg.withDefaults()
	l, err := natsapi.Connect(nc, "setup "+cfg.Origin, slog.New(slog.DiscardHandler), DefaultAttemptTimeout)
	if err != nil {
		return err
	}
	defer l.Close()
	a := apiOf(l, cfg)
	for tries := 0; ; tries++ {
		again, err := setup(ctx, a, cfg)
		if !again || ctx.Err() != nil {
			return ended(ctx, err)
		}
		if tries == setupTries {
			return events.Errorf(events.ErrUnreachable, "the log %s could not be set up: %w", cfg.Origin, err)
		}
		t := time.NewTimer(natsconn.Backoff(tries))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// setup takes one look at the stream, and at most one step. again says that it has to look again: a step was taken, by us or under our
// eyes by another process, or a cluster is not of one mind yet. What the servers hold then decides, whatever they answered.
func setup(ctx context.Context, a natsapi.API, cfg Config) (again bool, err error) {
	info, err := a.StreamInfo(ctx)
	if errors.Is(err, events.ErrNoLog) {
		var created natsapi.Answer
		switch err := a.Call(ctx, "STREAM.CREATE."+a.Stream, cfg.streamConfig(), &created); {
		case natsapi.HasCode(err, codeNoReplicas):
			return false, events.Errorf(events.ErrUnsafeLog, "the servers cannot keep %d replicas of log %s: %w", cfg.Replicas, cfg.Origin, err)
		case natsapi.HasCode(err, codeStoreFailed): // the files of a stream that was deleted a moment ago are still being removed
			return true, a.Unanswered(err)
		case err != nil && !natsapi.HasCode(err, codeNameInUse):
			return false, a.Unanswered(err)
		}
		if info, err = a.StreamInfo(ctx); err != nil {
			return true, err
		}
	}
	if err != nil {
		return false, err
	}
	if err := unsafe(a.Stream, Audit(cfg, info)); err != nil {
		return false, err
	}
	if info.State.LastSeq == 0 {
		return true, writeGenesis(ctx, a, cfg, info.Domain)
	}
	_, err = genesisOf(ctx, a, cfg.Origin)
	return errors.Is(err, events.ErrUnreachable), err
}

// writeGenesis tries to write the first record. The expectation that the stream is empty lets one of many succeed.
func writeGenesis(ctx context.Context, a natsapi.API, cfg Config, domain string) error {
	m, err := genesisMessage(cfg.Origin)
	if err != nil {
		return err
	}
	answered, _, err := a.Link.Request(ctx, m)
	if err != nil {
		return a.Failure("the genesis", err)
	}
	acknowledged := &acks{stream: a.Stream}
	acknowledged.domain.Store(&domain)
	return acknowledged.read(answered, 1).err // to be told if it stays so
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
