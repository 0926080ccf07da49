package natslog

import (
	"testing"

	"tidemark.dev/events"

	"github.com/nats-io/nats.go/jetstream"
)

func TestAWalkYieldsWhatIsThere(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	l := openLog(t, nc, config, Options{})
	fill(t, l, 2*directBatch)
	walk := func(from uint64) (seqs []uint64) {
		for r, err := range l.Walk(within(t), from) {
			if err != nil {
				t.Fatal(err)
			}
			seqs = append(seqs, r.Sequence)
		}
		return seqs
	}
	last := uint64(2*directBatch + 1)
	for _, from := range []uint64{1, 2, directBatch, last} {
		got := walk(from)
		if uint64(len(got)) != last-from+1 || got[0] != from || got[len(got)-1] != last {
			t.Errorf("from %d it yields %d records", from, len(got))
		}
	}
	if got := walk(last + 1); got != nil {
		t.Errorf("behind the end it yields %d", got)
	}
	r, err := l.Append(within(t), events.One(about(events.Entity{Type: "airport", ID: "gone"}, 1), events.ExpectAny()))
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 3)
	if err := stream(t, nc, "us").Purge(within(t), jetstream.WithPurgeSubject("evt.us.airport.gone")); err != nil {
		t.Fatal(err)
	}
	if got := walk(r.Last - 1); len(got) < 2 || got[0] != r.Last-1 || got[1] != r.Last+1 {
		t.Errorf("around what is missing it yields %d", got)
	}
}
