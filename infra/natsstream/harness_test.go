package natsstream

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/projections"
)

const patience = natstest.Patience

// Short names of what most tests use.
var (
	dial       = natstest.Dial
	eventually = natstest.Eventually
	within     = natstest.Within
)

// orders is the stream that most tests read.
var orders = projections.Source{Stream: "ORDERS", Origin: "orders"}

// theirs is a stream as somebody else made it, with an ordinary client.
type theirs struct {
	t      testing.TB
	js     jetstream.JetStream
	s      jetstream.Stream
	prefix string // of its subjects
}

// makeStream makes a stream with the subjects orders.> and whatever else its owner wants.
func makeStream(t testing.TB, nc *nats.Conn, change func(*jetstream.StreamConfig)) *theirs {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}
	if change != nil {
		change(&cfg)
	}
	var s jetstream.Stream
	eventually(t, "the stream is made", func() bool { // the files of one that was deleted a moment ago may still be there
		s, err = js.CreateStream(within(t), cfg)
		return err == nil
	})
	prefix := ""
	if len(cfg.Subjects) > 0 {
		prefix = strings.TrimSuffix(cfg.Subjects[0], ".>")
	}
	return &theirs{t, js, s, prefix}
}

func (o *theirs) publish(subject, data string, headers ...string) uint64 {
	o.t.Helper()
	m := nats.NewMsg(subject)
	m.Data = []byte(data)
	for i := 0; i+1 < len(headers); i += 2 {
		m.Header.Add(headers[i], headers[i+1])
	}
	if len(headers) == 0 {
		m.Header = nil
	}
	ack, err := o.js.PublishMsg(within(o.t), m)
	if err != nil {
		o.t.Fatal(err)
	}
	return ack.Sequence
}

// fill publishes n messages over seven subjects.
func (o *theirs) fill(n int) {
	o.t.Helper()
	if n == 0 {
		return
	}
	var last jetstream.PubAckFuture
	for i := range n {
		f, err := o.js.PublishAsync(fmt.Sprintf("%s.placed.%d", o.prefix, i%7), fmt.Appendf(nil, `{"n":%d}`, i))
		if err != nil {
			o.t.Fatal(err)
		}
		last = f
	}
	select {
	case <-o.js.PublishAsyncComplete():
	case <-time.After(patience):
		o.t.Fatal("the messages were not acknowledged")
	}
	select {
	case err := <-last.Err():
		o.t.Fatal(err)
	default:
	}
}

// back waits until the owner's client reaches a server that was started again.
func (o *theirs) back() {
	o.t.Helper()
	eventually(o.t, "the servers answer again", func() bool { return o.lastSequence() > 0 })
}

func (o *theirs) remove(seqs ...uint64) {
	o.t.Helper()
	for _, seq := range seqs {
		if err := o.s.DeleteMsg(within(o.t), seq); err != nil {
			o.t.Fatalf("delete %d: %v", seq, err)
		}
	}
}

func (o *theirs) purge(opts ...jetstream.StreamPurgeOpt) {
	o.t.Helper()
	if err := o.s.Purge(within(o.t), opts...); err != nil {
		o.t.Fatal(err)
	}
}

func (o *theirs) state() jetstream.StreamState {
	o.t.Helper()
	info, err := o.s.Info(within(o.t))
	if err != nil {
		o.t.Fatal(err)
	}
	return info.State
}

// noConsumers waits until nobody reads any more, for less time than the servers do before they remove what is left by themselves.
func (o *theirs) noConsumers() {
	o.t.Helper()
	late := time.Now().Add(patience / 3)
	eventually(o.t, "consumers are removed", func() bool {
		n := o.state().Consumers
		if n > 0 && time.Now().After(late) {
			o.t.Fatalf("%d consumers are left", n)
		}
		return n == 0
	})
}

func open(t testing.TB, nc *nats.Conn) *Stream {
	t.Helper()
	return openSource(t, nc, orders)
}

func openSource(t testing.TB, nc *nats.Conn, source projections.Source) *Stream {
	t.Helper()
	s, err := New(nc, source, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// read collects a range as text: 1 2 3 for messages, d4-6 for what was deleted, e1-9 for what was evicted; then the error's code.
func read(t testing.TB, s events.Reader, r events.Range) string {
	t.Helper()
	text := ""
	for batch, err := range s.Read(within(t), r) {
		if err != nil {
			code, _ := events.CodeOf(err)
			return text + " !" + string(code)
		}
		if most := r.Batch; most > 0 && len(batch) > most {
			t.Errorf("a batch of %d records, at most %d were wanted", len(batch), most)
		}
		for i := range batch {
			text += shown(&batch[i])
		}
	}
	return text
}

func shown(r *events.Record) string {
	switch r.Kind {
	case events.KindMessage:
		return fmt.Sprintf(" %d", r.Sequence)
	case events.KindDeleted:
		return fmt.Sprintf(" d%d-%d", r.First, r.Sequence)
	case events.KindEvicted:
		return fmt.Sprintf(" e%d-%d", r.First, r.Sequence)
	default:
		return fmt.Sprintf(" ?%d", r.Kind)
	}
}

func wantCode(t testing.TB, err error, code events.Code) {
	t.Helper()
	if got, _ := events.CodeOf(err); got != code {
		t.Fatalf("got %v, want %s", err, code)
	}
}
