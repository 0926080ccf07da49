package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/infra/natslog"
)

const (
	pull       = 10_000 // messages asked for at once
	handFetch  = 1_000
	writeBatch = 5_000
)

// read is the yardstick of reading: a pull consumer that does nothing.
func (b *bench) read(ctx context.Context) (time.Duration, error) {
	consumer, err := b.consumer(ctx, jetstream.AckNonePolicy)
	if err != nil {
		return 0, err
	}
	begin, n, done := time.Now(), 0, make(chan struct{})
	cc, err := consumer.Consume(func(jetstream.Msg) {
		if n++; n == b.records {
			close(done)
		}
	}, jetstream.PullMaxMessages(pull))
	if err != nil {
		return 0, err
	}
	defer cc.Stop()
	select {
	case <-done:
		return time.Since(begin), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (b *bench) consumer(ctx context.Context, ack jetstream.AckPolicy) (jetstream.Consumer, error) {
	return b.js.CreateConsumer(ctx, natslog.StreamName(origin), jetstream.ConsumerConfig{
		AckPolicy: ack, MemoryStorage: true, InactiveThreshold: time.Minute, MaxAckPending: -1,
	})
}

// write is the yardstick of writing: one connection, MULTI of 5,000 HSETs of five fields.
func (b *bench) write(ctx context.Context) (time.Duration, error) {
	conn := b.rdb.Conn()
	defer conn.Close() //nolint:errcheck // a measurement
	begin := time.Now()
	for from := 0; from < b.c.events; from += writeBatch {
		p := conn.TxPipeline()
		for i := from; i < min(from+writeBatch, b.c.events); i++ {
			p.HSet(ctx, "write:"+strconv.Itoa(i%b.c.entities), "count", "12", "amount", "61234", "largest", "9876", "last", strconv.Itoa(i), "city", "city-42")
		}
		if _, err := p.Exec(ctx); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

// hand is a careful hand-written loop: fetch 1,000, fold in memory, one MULTI, acknowledge.
func (b *bench) hand(ctx context.Context) (time.Duration, error) {
	consumer, err := b.consumer(ctx, jetstream.AckAllPolicy)
	if err != nil {
		return 0, err
	}
	begin, n := time.Now(), 0
	state := make(map[string]*account)
	for n < b.records {
		batch, err := consumer.Fetch(handFetch, jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return 0, err
		}
		var last jetstream.Msg
		p := b.rdb.TxPipeline()
		for m := range batch.Messages() {
			last = m
			n++
			if key, a := apply(state, m); a != nil {
				p.HSet(ctx, "hand:"+key, a.pairs()...)
			}
		}
		if last == nil {
			return 0, fmt.Errorf("hand: no message after %d: %w", n, batch.Error())
		}
		if _, err := p.Exec(ctx); err != nil {
			return 0, err
		}
		if err := last.Ack(); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

// naive consumes, writes and acknowledges one by one. It handles fewer events; the rate is what counts.
func (b *bench) naive(ctx context.Context) (time.Duration, error) {
	consumer, err := b.consumer(ctx, jetstream.AckExplicitPolicy)
	if err != nil {
		return 0, err
	}
	begin, n, done := time.Now(), 0, make(chan error, 1)
	state := make(map[string]*account)
	cc, err := consumer.Consume(func(m jetstream.Msg) {
		if n >= b.c.naive {
			return
		}
		if key, a := apply(state, m); a != nil {
			if err := b.rdb.HSet(ctx, "naive:"+key, a.pairs()...).Err(); err != nil {
				done <- err
			}
		}
		if err := m.Ack(); err != nil {
			done <- err
		}
		if n++; n == b.c.naive {
			done <- nil
		}
	})
	if err != nil {
		return 0, err
	}
	defer cc.Stop()
	select {
	case err := <-done:
		return time.Since(begin), err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func apply(state map[string]*account, m jetstream.Msg) (string, *account) {
	subject := m.Subject()
	if !strings.HasPrefix(subject, "evt.") {
		return "", nil
	}
	var payload booking
	if payload.DecodeData(m.Data()) != nil {
		return "", nil
	}
	key := subject[strings.LastIndexByte(subject, '.')+1:]
	a := state[key]
	if a == nil {
		a = new(account)
		state[key] = a
	}
	*a = fold(*a, &payload)
	return key, a
}

func (a *account) pairs() []any {
	return []any{"count", a.Count, "amount", a.Amount, "largest", a.Largest, "last", a.Last, "city", a.City}
}
