package natslog

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

// lineageBytes makes a lineage of 8 hexadecimal digits.
const lineageBytes = 4

func newLineage() events.Lineage {
	var b [lineageBytes]byte
	_, _ = rand.Read(b[:]) // never fails; it ends the process instead
	return events.Lineage(hex.EncodeToString(b[:]))
}

// first returns the first message of a stream that holds any: ErrNoLog of one that does not. It may come while we ask, so it is missing only when it was
// asked for after the stream was seen to hold something.
func first(ctx context.Context, a natsapi.API, origin string) (*natsapi.Message, error) {
	m, err := a.Message(ctx, natsapi.Query{Sequence: 1})
	if !errors.Is(err, natsapi.ErrNoMessage) {
		return m, err
	}
	info, err := a.StreamInfo(ctx)
	if err != nil {
		return nil, err
	}
	if info.State.LastSeq == 0 {
		return nil, events.Errorf(events.ErrNoLog, "stream %s is there and empty: nothing has begun the log of origin %s in it yet", a.Stream, origin).
			Hint("Whoever made it, a writer that sets the log up or a mirror, fills it in a moment.")
	}
	return a.Message(ctx, natsapi.Query{Sequence: 1})
}

// genesisOf reads a log's first record: ErrForeignHistory when it is not a genesis of this origin.
func genesisOf(ctx context.Context, a natsapi.API, origin string) (events.Genesis, error) {
	var g events.Genesis
	foreign := func(what string) error {
		return events.Errorf(events.ErrForeignHistory, "the first record of stream %s %s, so it is not a log of origin %s", a.Stream, what, origin).
			Hint("A log is begun by natslog.Setup. A stream filled by others needs a projection that says how to read it.")
	}
	m, err := first(ctx, a, origin)
	if errors.Is(err, natsapi.ErrNoMessage) {
		return g, foreign("is missing")
	}
	if err != nil {
		return g, err
	}
	r, err := record(m, origin)
	switch {
	case err != nil:
		return g, err
	case r.Kind != events.KindControl || r.Control.Name != events.ControlGenesis:
		return g, foreign("is no genesis")
	case json.Unmarshal(r.Control.Data, &g) != nil:
		return g, foreign("is a genesis that cannot be read")
	case g.Origin != origin || !g.Lineage.Valid():
		return g, foreign("is the genesis of origin " + g.Origin + " with lineage " + string(g.Lineage))
	case g.Format != events.GenesisFormat:
		return g, events.Errorf(events.ErrForeignHistory, "stream %s is written in format %d; this version reads format %d", a.Stream, g.Format, events.GenesisFormat).
			Hint("Use the version of this software that wrote it, or a newer one.")
	}
	return g, nil
}

// identity knows which history the stream holds: its lineage and terms. It is kept until the stream is found to be another one
// (a stream is made anew with another creation time), and terms are added as they are written.
type identity struct {
	api    natsapi.API
	origin string

	mu       sync.Mutex
	started  uint64 // refreshes, so that a slow one does not overwrite a later one
	finished uint64
	created  time.Time
	terms    events.Terms
	lastTerm uint64 // sequence of the newest term record known
	begins   uint64 // the first sequence that the stream was made to hold
	read     time.Time
	replicas int
	window   time.Duration
}

// known returns the terms as last read.
func (id *identity) known() events.Terms {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.terms
}

// position returns the position of a sequence.
func (id *identity) position(seq uint64) events.Position {
	return events.At(id.known().Point(id.origin, seq))
}

// age returns how long ago the identity was read from the servers.
func (id *identity) age() time.Duration {
	id.mu.Lock()
	defer id.mu.Unlock()
	return time.Since(id.read)
}

// replicated reports whether the stream has several replicas, so that a direct get may come from one that lags.
func (id *identity) replicated() bool {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.replicas > 1
}

// duplicateWindow returns the stream's own window.
func (id *identity) duplicateWindow() time.Duration {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.window
}

// refresh asks the leader who the stream is now. Errors: those of streamInfo, ErrForeignHistory, ErrDamaged.
func (id *identity) refresh(ctx context.Context) (*jetstream.StreamInfo, events.Terms, error) {
	id.mu.Lock()
	id.started++
	turn, created, terms, last := id.started, id.created, id.terms, id.lastTerm
	id.mu.Unlock()
	info, err := id.api.StreamInfo(ctx)
	if err != nil {
		return nil, terms, err
	}
	b, err := beginningOf(info, id.origin)
	if err != nil {
		return nil, terms, err
	}
	if created.Equal(info.Created) && terms.Lineage != "" && last >= b.First() {
		// A log that was cut back may have lost the term that is remembered.
		m, err := id.api.Message(ctx, natsapi.Query{Sequence: last})
		if err != nil && !errors.Is(err, natsapi.ErrNoMessage) {
			return nil, terms, err
		}
		if err != nil || m.Subject != events.ControlSubject(id.origin, events.ControlTerm) {
			terms = events.Terms{}
		}
	}
	switch known := created.Equal(info.Created) && terms.Lineage != ""; {
	case known:
	case b.From > 1: // its genesis, and the terms before it, are not here
		terms, last = b.terms(), b.From-1
	default:
		g, err := genesisOf(ctx, id.api, id.origin)
		if err != nil {
			return nil, terms, err
		}
		terms, last = events.NewTerms(g.Lineage), 0
	}
	if terms, last, err = id.readTerms(ctx, terms, last); err != nil {
		return nil, terms, err
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	if turn > id.finished {
		id.finished = turn
		id.created, id.terms, id.lastTerm, id.read, id.begins = info.Created, terms, last, time.Now(), b.First()
		id.replicas, id.window = info.Config.Replicas, info.Config.Duplicates
	}
	return info, terms, nil
}

// beginningOf returns where a stream begins. Of one that does not begin with the log's first record nothing can be told before anything has come into it: ErrNoLog.
func beginningOf(info *jetstream.StreamInfo, origin string) (Beginning, error) {
	b, err := BeginningOf(info.Config)
	if err == nil && b.From > 1 && info.State.LastSeq == 0 {
		return b, events.Errorf(events.ErrNoLog, "stream %s is there and empty: nothing was copied of the log of origin %s yet, from sequence %d on", info.Config.Name, origin, b.From)
	}
	return b, err
}

// first returns the first sequence that the stream was made to hold, as last read.
func (id *identity) first() uint64 {
	id.mu.Lock()
	defer id.mu.Unlock()
	return max(id.begins, 1)
}

// readTerms adds the term records after sequence last.
func (id *identity) readTerms(ctx context.Context, terms events.Terms, last uint64) (events.Terms, uint64, error) {
	subject := events.ControlSubject(id.origin, events.ControlTerm)
	for {
		m, err := id.api.Message(ctx, natsapi.Query{Sequence: last + 1, NextOf: subject})
		if errors.Is(err, natsapi.ErrNoMessage) {
			return terms, last, nil
		}
		if err != nil {
			return terms, last, err
		}
		r, err := record(m, id.origin)
		if err != nil {
			return terms, last, err
		}
		if err := terms.Apply(&r); err != nil {
			return terms, last, err
		}
		last = r.Sequence
	}
}
