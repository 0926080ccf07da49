package natslog

import (
	"encoding/json"
	"testing"

	"tidemark.dev/events"
)

func beginTerm(t *testing.T, l *Log, term uint32) uint64 {
	t.Helper()
	data, err := json.Marshal(events.Term{Term: term, Lineage: info(t, l).Terms.Lineage})
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Append(within(t), events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: events.ControlTerm, Data: data}}}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Last
}

func TestTermsAreReadAsTheyBegin(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	l := openLog(t, nc, config, Options{})
	fill(t, l, 3)
	second := beginTerm(t, l, 2)
	fill(t, l, 3)
	fourth := beginTerm(t, l, 4) // the third never got a record
	if got := info(t, l).Terms; got.Current() != 4 || got.Starts[1] != second || got.Starts[2] != fourth || got.Starts[3] != fourth {
		t.Errorf("%+v, the terms began at %d and %d", got, second, fourth)
	}
	r := appendOne(t, l, about(entity(1), 1), events.ExpectAny())
	if pt, _ := r.Position.Point("us"); pt.Term != 4 {
		t.Errorf("a receipt of term 4 has the position %s", r.Position)
	}
	other := reopen(t, nc, config, Options{})
	if got, want := info(t, other).Head(), info(t, l).Head(); !got.Equal(want) {
		t.Errorf("another log is at %s, this one at %s", got, want)
	}
	beginTerm(t, l, 4)
	_, err := l.Info(within(t))
	wantCode(t, err, events.ErrForeignHistory) // a term begins once
}

// TestALostTermIsForgotten puts a copy of the store back from before a term began.
func TestALostTermIsForgotten(t *testing.T) {
	s := startServer(t, nil)
	l := openLog(t, dial(t, s.ClientURL()), config, Options{})
	isBack := func() bool {
		_, err := l.Info(within(t))
		return err == nil
	}
	fill(t, l, 3)
	s.Stop()
	older := s.Backup()
	s.Restart()
	eventually(t, "the server is back", isBack)
	beginTerm(t, l, 2)
	if got := info(t, l).Terms.Current(); got != 2 {
		t.Fatalf("term %d", got)
	}
	s.Options.StoreDir = older
	s.Restart()
	eventually(t, "the older copy is there", isBack)
	if got := info(t, l); got.Terms.Current() != 1 || got.Last != 4 {
		t.Errorf("%+v", got)
	}
}

// TestReceiptsNameTheHistoryTheyAreIn replaces the stream under an open writer.
func TestReceiptsNameTheHistoryTheyAreIn(t *testing.T) {
	nc := dial(t, startServer(t, nil).ClientURL())
	l := openLog(t, nc, config, Options{})
	fill(t, l, 20)
	before := info(t, l).Terms.Lineage
	deleteStream(t, nc)
	after := info(t, openLog(t, nc, config, Options{})).Terms.Lineage
	r := appendOne(t, l, about(entity(1), 1), events.ExpectAny())
	if pt, _ := r.Position.Point("us"); pt.Lineage != after || pt.Sequence != 2 || before == after {
		t.Errorf("the receipt is of %s; the lineage was %s and is %s", r.Position, before, after)
	}
}
