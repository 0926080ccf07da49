package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natslog"
)

// rawPending is how many asynchronous publishes the yardstick keeps in flight.
const (
	rawPending = 4_000
	stall      = time.Minute // instead of an error when the server is slower than we are
)

// appends measures the log's pipelined append against raw asynchronous publishing of the same bytes with the same durability.
func appends(ctx context.Context, c config, path string, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "\nAppend of single events, pipelined")
	fmt.Fprintln(w, "\nserver\tmode\tappend/s\traw async/s\tratio\t")
	for _, s := range []struct {
		name string
		lazy bool
		mode natslog.CommitMode
		n    int
	}{
		{"lazy sync", true, natslog.Pipelined, c.appends},
		{"fsync", false, natslog.GroupCommit, max(c.appends/10, 1_000)},
	} {
		rates := measured{}
		for round := range c.rounds {
			took, rawTook, err := appendRound(ctx, filepath.Join(path, fmt.Sprintf("%s-%d", s.mode, round)), s.lazy, s.mode, s.n)
			if err != nil {
				return err
			}
			rates["append"] = append(rates["append"], float64(s.n)/took.Seconds())
			rates["raw"] = append(rates["raw"], float64(s.n)/rawTook.Seconds())
		}
		fmt.Fprintf(w, "%s\t%s\t%.0f\t%.0f\t%.2f x\t\n", s.name, s.mode, median(rates["append"]), median(rates["raw"]), median(rates.ratios("append", "raw")))
	}
	return w.Flush()
}

// appendRound measures both on a fresh server.
func appendRound(ctx context.Context, path string, lazy bool, mode natslog.CommitMode, n int) (ours, raw time.Duration, err error) {
	dir, err := embedded.OpenDir(path)
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(path) //nolint:errcheck // a temporary folder
	defer dir.Close()        //nolint:errcheck // a temporary folder
	server, err := embedded.StartNATS(ctx, embedded.NATSConfig{Region: "bench", Dir: dir, LazySync: lazy})
	if err != nil {
		return 0, 0, err
	}
	defer server.Shutdown()
	nc, err := server.Connect()
	if err != nil {
		return 0, 0, err
	}
	defer nc.Close()
	list := make([]events.Event, n)
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a fixed stream
	for i := range list {
		list[i] = event(random, n, i)
	}
	if raw, err = rawAppend(ctx, nc, list); err != nil {
		return 0, 0, err
	}
	if err = natslog.Setup(ctx, nc, natslog.Config{Origin: origin}); err != nil {
		return 0, 0, err
	}
	log, err := natslog.Open(ctx, nc, natslog.Config{Origin: origin}, natslog.Options{Commit: mode})
	if err != nil {
		return 0, 0, err
	}
	defer log.Close()
	begin := time.Now()
	pendings := make([]*events.Pending, n)
	for i := range list {
		if pendings[i], err = log.Submit(ctx, events.One(list[i], events.ExpectAny())); err != nil {
			return 0, 0, err
		}
	}
	for _, p := range pendings {
		if _, err := p.Wait(ctx); err != nil {
			return 0, 0, err
		}
	}
	return time.Since(begin), raw, nil
}

// rawAppend publishes the same bytes to a stream of its own, and waits for every acknowledgement.
func rawAppend(ctx context.Context, nc *nats.Conn, list []events.Event) (time.Duration, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(rawPending))
	if err != nil {
		return 0, err
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "RAW", Subjects: []string{"evt.raw.*.*"}, AllowDirect: true}); err != nil {
		return 0, err
	}
	var clock events.Clock
	messages := make([]*nats.Msg, len(list))
	for i := range list {
		ts, err := clock.Now()
		if err != nil {
			return 0, err
		}
		m := events.EncodeEvent("raw", &list[i], events.Stamp{Time: ts, Hash: list[i].ContentHash()})
		messages[i] = &nats.Msg{Subject: m.Subject, Header: nats.Header(m.Header), Data: m.Data}
	}
	begin := time.Now()
	futures := make([]jetstream.PubAckFuture, len(messages))
	for i, m := range messages {
		if futures[i], err = js.PublishMsgAsync(m, jetstream.WithStallWait(stall)); err != nil {
			return 0, err
		}
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return 0, err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return time.Since(begin), nil
}
