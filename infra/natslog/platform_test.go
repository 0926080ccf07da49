package natslog

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsconn"
	"tidemark.dev/infra/natstest"
)

// These tests pin what this package relies on and no documentation promises. When one fails after an upgrade of the server or of the
// client library, read what it pins before changing it.

// ask publishes a message and returns the raw answer.
func ask(t *testing.T, nc *nats.Conn, subject string, header ...string) pubAck {
	t.Helper()
	m := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: []byte(`{}`)}
	for i := 0; i < len(header); i += 2 {
		m.Header[header[i]] = []string{header[i+1]}
	}
	return answerOf(t, nc, m)
}

func answerOf(t *testing.T, nc *nats.Conn, m *nats.Msg) pubAck {
	t.Helper()
	reply, err := nc.RequestMsgWithContext(within(t), m)
	if err != nil {
		t.Fatal(err)
	}
	var a pubAck
	if err := json.Unmarshal(reply.Data, &a); err != nil {
		t.Fatalf("%q: %v", reply.Data, err)
	}
	return a
}

func (a *pubAck) code() jetstream.ErrorCode {
	if a.Error == nil {
		return 0
	}
	return a.Error.ErrorCode
}

// askBatch publishes an atomic batch of one message per header set, all to the given subjects.
func askBatch(t *testing.T, nc *nats.Conn, subjects []string, headers ...[]string) pubAck {
	t.Helper()
	id := events.NewID()
	for i, s := range subjects {
		m := &nats.Msg{Subject: s, Header: nats.Header{headerBatchID: {id}, headerBatchSequence: {strconv.Itoa(i + 1)}}, Data: []byte(`{}`)}
		if i < len(headers) {
			for j := 0; j < len(headers[i]); j += 2 {
				m.Header[headers[i][j]] = []string{headers[i][j+1]}
			}
		}
		if i < len(subjects)-1 {
			if err := nc.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
			continue
		}
		m.Header[headerBatchCommit] = []string{"1"}
		return answerOf(t, nc, m)
	}
	return pubAck{}
}

// onBoth runs a test against a lone server and a cluster.
func onBoth(t *testing.T, run func(t *testing.T, nc *nats.Conn, replicas int)) {
	t.Helper()
	for _, c := range []struct {
		name     string
		replicas int
		url      func(t *testing.T) string
	}{
		{"R1", 1, func(t *testing.T) string { return startServer(t, nil).ClientURL() }},
		{"R3", 3, func(t *testing.T) string { return natstest.Cluster(t, large)[0].ClientURL() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			nc := dial(t, c.url(t))
			if err := Setup(within(t), nc, Config{Origin: "us", Replicas: c.replicas}); err != nil {
				t.Fatal(err)
			}
			run(t, nc, c.replicas)
		})
	}
}

func want(t *testing.T, what string, got pubAck, code jetstream.ErrorCode) {
	t.Helper()
	if got.code() != code {
		t.Errorf("%s: the servers answered %+v %v, expected code %d", what, got, got.Error, code)
	}
}

func TestPlatformRefusals(t *testing.T) {
	onBoth(t, func(t *testing.T, nc *nats.Conn, replicas int) {
		const a, b, c = "evt.us.airport.A", "evt.us.airport.B", "evt.us.airport.C"
		first := ask(t, nc, a, events.HeaderMessageID, "1", headerExpect, "0")
		want(t, "a first publish", first, 0)

		again := ask(t, nc, a, events.HeaderMessageID, "1")
		if !again.Duplicate || again.Sequence != first.Sequence {
			t.Errorf("the same id again: %+v, expected the duplicate of %d", again, first.Sequence)
		}
		again = ask(t, nc, a, events.HeaderMessageID, "1", headerExpect, "0")
		if replicas == 1 {
			want(t, "the same id and expectation again, R1", again, codeWrongLast)
		} else if !again.Duplicate {
			t.Errorf("the same id and expectation again, R3: %+v %v, expected a duplicate", again, again.Error)
		}
		refused := ask(t, nc, a, events.HeaderMessageID, "2", headerExpect, "0")
		want(t, "a wrong expectation", refused, codeWrongLast)
		if !strings.HasSuffix(refused.Error.Description, strconv.FormatUint(first.Sequence, 10)) {
			t.Errorf("a wrong expectation: %q does not name the actual sequence", refused.Error.Description)
		}
		want(t, "an id of a refused publish", ask(t, nc, b, events.HeaderMessageID, "2"), 0)

		batch := askBatch(t, nc, []string{a, b, a}, []string{events.HeaderMessageID, "3", headerExpect, strconv.FormatUint(first.Sequence, 10)},
			[]string{events.HeaderMessageID, "4"}, []string{events.HeaderMessageID, "5"})
		want(t, "a batch", batch, 0)
		if batch.Count != 3 || batch.Sequence != first.Sequence+4 {
			t.Errorf("a batch: %+v, expected 3 records up to sequence %d", batch, first.Sequence+4)
		}
		want(t, "a batch with a known id", askBatch(t, nc, []string{a, c}, nil, []string{events.HeaderMessageID, "1"}), codeBatchDuplicateID)
		want(t, "a batch with an id twice", askBatch(t, nc, []string{a, c}, []string{events.HeaderMessageID, "6"}, []string{events.HeaderMessageID, "6"}), codeBatchDuplicateID)
		want(t, "a batch with a wrong expectation", askBatch(t, nc, []string{c, a}, nil, []string{headerExpect, "1"}), codeWrongLast)
		want(t, "a batch with a known id and a wrong expectation", askBatch(t, nc, []string{a, c}, []string{events.HeaderMessageID, "1", headerExpect, "0"}), codeBatchDuplicateID)
		want(t, "a batch with an expectation on a subject's second message", askBatch(t, nc, []string{c, c}, nil, []string{headerExpect, "0"}), codeUndecided)
		want(t, "an id of a refused batch", ask(t, nc, c, events.HeaderMessageID, "6"), 0)
		want(t, "a batch without its beginning", ask(t, nc, c, headerBatchID, events.NewID(), headerBatchSequence, "2", headerBatchCommit, "1"), codeBatchIncomplete)
		want(t, "a batch of 1,001", askBatch(t, nc, strings.Split(strings.Repeat(c+" ", 1_001), " ")[:1_001]), codeBatchTooLarge)
		want(t, "expecting an empty stream", ask(t, nc, "ctl.us.genesis", headerExpectLast, "0"), codeWrongLast)
	})
}

// TestProbe pins the order in which a server looks at headers: first for the id, then for a roll-up that it must refuse.
func TestProbe(t *testing.T) {
	onBoth(t, func(t *testing.T, nc *nats.Conn, replicas int) {
		const subject = "evt.us.airport.A"
		stored := ask(t, nc, subject, events.HeaderMessageID, "1")
		inBatch := askBatch(t, nc, []string{"evt.us.airport.B", subject}, []string{events.HeaderMessageID, "2"}, []string{events.HeaderMessageID, "3"})
		probed := func(id string) pubAck {
			return answerOf(t, nc, probe(&nats.Msg{Subject: subject, Header: nats.Header{events.HeaderMessageID: {id}}}))
		}
		for id, seq := range map[string]uint64{"1": stored.Sequence, "2": inBatch.Sequence - 1, "3": inBatch.Sequence} {
			if a := probed(id); !a.Duplicate || a.Sequence != seq {
				t.Errorf("id %s: %+v %v, expected the duplicate of sequence %d", id, a, a.Error, seq)
			}
		}
		refuses := func() {
			t.Helper()
			for range 2 { // the first probe must not make the id known
				if a := probed("unknown"); a.code() != codeRollup && a.code() != codeWrongLastMsgID {
					t.Errorf("an unknown id: %+v %v, expected a refusal", a, a.Error)
				}
			}
		}
		refuses()
		changeStream(t, nc, "us", func(c *jetstream.StreamConfig) { c.AllowRollup = true })
		refuses()
		want(t, "an id that was only probed", ask(t, nc, subject, events.HeaderMessageID, "unknown"), 0)
		if info := streamInfo(t, nc, "us"); info.State.Msgs != 5 || info.State.LastSeq != 5 || info.State.NumDeleted != 0 {
			t.Errorf("the stream's state is %+v", info.State)
		}
	})
}

func TestPlatformBatchLimits(t *testing.T) {
	s := startServer(t, func(o *server.Options) {
		o.JetStreamLimits.MaxBatchInflightPerStream = 1
		o.JetStreamLimits.MaxBatchTimeout = 3 * time.Second
	})
	nc := dial(t, s.ClientURL())
	if err := Setup(within(t), nc, config); err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishMsg(&nats.Msg{Subject: "evt.us.a.1", Header: nats.Header{headerBatchID: {"left open"}, headerBatchSequence: {"1"}}}); err != nil {
		t.Fatal(err)
	}
	want(t, "one batch too many, asked at its first message", ask(t, nc, "evt.us.a.2", headerBatchID, "another", headerBatchSequence, "1"), codeTooManyBatches)
	want(t, "one batch too many, asked at its last message only", askBatch(t, nc, []string{"evt.us.a.2", "evt.us.a.3"}), codeBatchIncomplete)
	eventually(t, "an abandoned batch is forgotten", func() bool { return askBatch(t, nc, []string{"evt.us.a.2", "evt.us.a.3"}).Error == nil })
	changeStream(t, nc, "us", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
	want(t, "a batch where batches are off", askBatch(t, nc, []string{"evt.us.a.2", "evt.us.a.3"}), codeBatchesOff)
	changeStream(t, nc, "us", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 100 })
	want(t, "too large a message", ask(t, nc, "evt.us.a.2", "x", strings.Repeat("x", 100)), codeTooLarge)
	changeStream(t, nc, "us", func(c *jetstream.StreamConfig) { c.Sealed = true })
	want(t, "a sealed stream", ask(t, nc, "evt.us.a.2"), codeSealed)
}

// TestPlatformDuplicateWindow pins that a server forgets an id soon after its window, and keeps it over a restart of its own.
func TestPlatformDuplicateWindow(t *testing.T) {
	s := startServer(t, nil)
	nc := dial(t, s.ClientURL())
	if err := Setup(within(t), nc, Config{Origin: "us", DuplicateWindow: 100 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	ask(t, nc, "evt.us.a.1", events.HeaderMessageID, "1")
	eventually(t, "the id is forgotten", func() bool { return !ask(t, nc, "evt.us.a.1", events.HeaderMessageID, "1").Duplicate })
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.withDefaults().streamConfig()
	cfg.Name, cfg.Subjects, cfg.Duplicates = "SHORT", []string{"short"}, 99*time.Millisecond
	if _, err := js.CreateStream(within(t), cfg); err == nil {
		t.Error("the server accepts a duplicate window below 100 ms")
	}
	setWindow(t, nc, "us", time.Minute)
	ask(t, nc, "evt.us.a.1", events.HeaderMessageID, "2")
	s.Restart()
	var reply *nats.Msg
	eventually(t, "the stream is back", func() bool { // for a moment a restarted server is reachable and has no streams, or loses what it is asked
		reply, err = nc.RequestMsg(&nats.Msg{Subject: "evt.us.a.1", Header: nats.Header{events.HeaderMessageID: {"2"}}}, time.Second)
		return err == nil
	})
	if !strings.Contains(string(reply.Data), `"duplicate": true`) {
		t.Errorf("after a restart the id is unknown: %s", reply.Data)
	}
}

func TestPlatformNobodyListens(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	reply, err := nc.Request("evt.us.a.1", nil, patience)
	if reply != nil || err != nats.ErrNoResponders { //nolint:errorlint // as it is
		t.Errorf("publishing without a stream: %v, %v", reply, err)
	}
	bare := dial(t, startServer(t, func(o *server.Options) { o.JetStream = false }).ClientURL())
	if _, err := bare.Request("$JS.API.STREAM.INFO.EVT_us", nil, patience); err != nats.ErrNoResponders { //nolint:errorlint // as it is
		t.Errorf("asking a server without JetStream: %v", err)
	}
}

// TestPlatformNothingIsBuffered pins that with a negative ReconnectBufSize a publish fails while there is no connection.
func TestPlatformNothingIsBuffered(t *testing.T) {
	s := startServer(t, nil)
	nc := dial(t, s.ClientURL(), nats.ReconnectBufSize(-1))
	s.Stop()
	eventually(t, "the client notices", func() bool { return nc.Status() == nats.RECONNECTING })
	if err := nc.Publish("x", nil); err != nats.ErrReconnectBufExceeded || !natsconn.NeverSent(err) { //nolint:errorlint // as it is
		t.Errorf("publishing without a connection: %v", err)
	}
}

// TestPlatformConsumerBeyondTheEnd pins that a consumer beyond the end waits without a word, so that only we can find it out.
func TestPlatformConsumerBeyondTheEnd(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	if err := Setup(within(t), nc, config); err != nil {
		t.Fatal(err)
	}
	c, err := stream(t, nc, "us").CreateConsumer(within(t), jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 1_000, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.FetchNoWait(1)
	if err != nil {
		t.Fatal(err)
	}
	for range batch.Messages() {
		t.Error("a message came")
	}
	if batch.Error() != nil {
		t.Errorf("the server said %v", batch.Error())
	}
}
