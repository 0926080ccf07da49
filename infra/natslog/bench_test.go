package natslog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
)

// Run the benchmarks with: go test ./natslog -run '^$' -bench . -benchtime 1x
// Each compares with its yardstick in interleaved rounds of one run, and reports the median of the rounds' ratios.
const (
	benchEvents = 200_000
	benchRounds = 5
)

func benchEvent(i int) events.Event {
	e := about(entity(i%10_000), i)
	e.Type, e.Source = "FlightDeparted", "urn:tidemark:bench"
	e.Data = fmt.Appendf(nil, `{"n":%d,"flight":"UA%04d","from":"ORD","to":"SFO","gate":"B%02d","delay":%d,"note":%q}`, i, i%9999, i%40, i%90, strings.Repeat("x", 190))
	return e
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// compare runs both in turns and reports rates and the median ratio.
func compare(b *testing.B, n int, yardstick, ours func()) {
	b.Helper()
	var ratios, bare, own []float64
	for range benchRounds {
		start := time.Now()
		yardstick()
		y := float64(n) / time.Since(start).Seconds()
		start = time.Now()
		ours()
		o := float64(n) / time.Since(start).Seconds()
		ratios, bare, own = append(ratios, o/y), append(bare, y), append(own, o)
	}
	b.ReportMetric(median(bare), "bare/s")
	b.ReportMetric(median(own), "log/s")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkRead(b *testing.B) {
	s := startServer(b, nil)
	nc := dial(b, s.ClientURL())
	l := openLog(b, nc, config, Options{})
	submitAll(b, l, eventsOf(benchEvents, benchEvent))
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		compare(b, benchEvents,
			func() {
				c, err := js.CreateConsumer(within(b), StreamName("us"), jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true})
				if err != nil {
					b.Fatal(err)
				}
				done := make(chan struct{})
				n := 0
				reading, err := c.Consume(func(jetstream.Msg) {
					if n++; n == benchEvents+1 {
						close(done)
					}
				}, jetstream.PullMaxMessages(10_000))
				if err != nil {
					b.Fatal(err)
				}
				<-done
				reading.Stop()
			},
			func() {
				n := 0
				for batch, err := range l.Read(b.Context(), events.Range{}) {
					if err != nil {
						b.Fatal(err)
					}
					n += len(batch)
				}
				if n != benchEvents+1 {
					b.Fatal(n)
				}
			})
	}
}

func eventsOf(n int, event func(int) events.Event) []events.Event {
	out := make([]events.Event, n)
	for i := range out {
		out[i] = event(i)
	}
	return out
}

func submitAll(tb testing.TB, l *Log, all []events.Event) {
	tb.Helper()
	pending := make([]*events.Pending, 0, len(all))
	for i := range all {
		p, err := l.Submit(tb.Context(), events.One(all[i], events.ExpectAny()))
		if err != nil {
			tb.Fatal(err)
		}
		pending = append(pending, p)
	}
	for _, p := range pending {
		if _, err := p.Wait(tb.Context()); err != nil {
			tb.Fatal(err)
		}
	}
}

// rawAsync publishes the same bytes as the log would, encoded beforehand, with the client library's asynchronous publish.
func rawAsync(b *testing.B, js jetstream.JetStream, messages []*nats.Msg) {
	b.Helper()
	futures := make([]jetstream.PubAckFuture, 0, len(messages))
	for _, m := range messages {
		f, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute))
		if err != nil {
			b.Fatal(err)
		}
		futures = append(futures, f)
	}
	<-js.PublishAsyncComplete()
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			b.Fatal(err)
		}
	}
}

func encodeAll(b *testing.B, all []events.Event) []*nats.Msg {
	b.Helper()
	var clock events.Clock
	out := make([]*nats.Msg, 0, len(all))
	for i := range all {
		batch := events.One(all[i], events.ExpectAny())
		m, err := batch.Messages("us", &clock, nil)
		if err != nil {
			b.Fatal(err)
		}
		out = append(out, &nats.Msg{Subject: m[0].Subject, Header: nats.Header(m[0].Header), Data: m[0].Data})
	}
	return out
}

func benchmarkAppend(b *testing.B, n int, sync func(*server.Options), commit CommitMode, event func(int) events.Event) {
	s := startServer(b, sync)
	nc := dial(b, s.ClientURL())
	l := openLog(b, nc, config, Options{Commit: commit})
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4_000))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		var raw [][]*nats.Msg
		var own [][]events.Event
		for range benchRounds {
			raw, own = append(raw, encodeAll(b, eventsOf(n, event))), append(own, eventsOf(n, event))
		}
		round := 0
		compare(b, n,
			func() { rawAsync(b, js, raw[round]) },
			func() { submitAll(b, l, own[round]); round++ })
	}
}

func BenchmarkAppendPipelined(b *testing.B) {
	b.Run("default sync", func(b *testing.B) { benchmarkAppend(b, 100_000, nil, Pipelined, benchEvent) })
	b.Run("synced always", func(b *testing.B) { benchmarkAppend(b, 10_000, syncAlways, Pipelined, benchEvent) })
	b.Run("default sync, Zipf 1.1", func(b *testing.B) {
		zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 1)), 1.1, 1, 99_999)
		benchmarkAppend(b, 100_000, nil, Pipelined, func(i int) events.Event {
			e := benchEvent(i)
			e.Entity = entity(int(zipf.Uint64()))
			return e
		})
	})
}

func BenchmarkAppendGroupCommit(b *testing.B) {
	b.Run("default sync", func(b *testing.B) { benchmarkAppend(b, 100_000, nil, GroupCommit, benchEvent) })
	b.Run("synced always", func(b *testing.B) { benchmarkAppend(b, 20_000, syncAlways, GroupCommit, benchEvent) })
}

// BenchmarkAppendConcurrent lets writers wait for each append, as services do.
func BenchmarkAppendConcurrent(b *testing.B) {
	for _, c := range []struct {
		name    string
		sync    func(*server.Options)
		commit  CommitMode
		writers int
	}{
		{"pipelined, default sync, 1", nil, Pipelined, 1},
		{"pipelined, default sync, 64", nil, Pipelined, 64},
		{"pipelined, synced, 64", syncAlways, Pipelined, 64},
		{"group commit, synced, 1", syncAlways, GroupCommit, 1},
		{"group commit, synced, 16", syncAlways, GroupCommit, 16},
		{"group commit, synced, 64", syncAlways, GroupCommit, 64},
		{"group commit, synced, 1000", syncAlways, GroupCommit, 1000},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := startServer(b, c.sync)
			l := openLog(b, dial(b, s.ClientURL()), config, Options{Commit: c.commit})
			const n = 10_000
			for b.Loop() {
				start := time.Now()
				var all sync.WaitGroup
				for w := range c.writers {
					all.Go(func() {
						for i := w; i < n; i += c.writers {
							if _, err := l.Append(b.Context(), events.One(benchEvent(i), events.ExpectAny())); err != nil {
								b.Error(err)
							}
						}
					})
				}
				all.Wait()
				b.ReportMetric(n/time.Since(start).Seconds(), "log/s")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}
