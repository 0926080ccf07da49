package memlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
)

func ord() events.Entity { return events.Entity{Type: "airport", ID: "ORD"} }

func event(n int) events.Event {
	return events.Event{ID: fmt.Sprintf("e%d", n), Source: "urn:test", Type: "Counted", Entity: ord(), Data: fmt.Appendf(nil, `{"n":%d}`, n)}
}

// filled returns a log with events 1..n behind its genesis.
func filled(t *testing.T, n int) *memlog.Log {
	t.Helper()
	l := memlog.New("us", memlog.Options{})
	t.Cleanup(l.Close)
	fill(t, l, 1, n)
	return l
}

func fill(t *testing.T, l *memlog.Log, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if _, err := l.Append(t.Context(), events.One(event(i), events.ExpectAny())); err != nil {
			t.Fatal(err)
		}
	}
}

func batch(from, to int) events.Batch {
	var b events.Batch
	for i := from; i <= to; i++ {
		b.Events = append(b.Events, event(i))
	}
	return b
}

func info(t *testing.T, l *memlog.Log) events.Info {
	t.Helper()
	i, err := l.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// readAll returns the sequences that a read yields, and its error.
func readAll(t *testing.T, l *memlog.Log, r events.Range) (seqs []uint64, err error) {
	t.Helper()
	for records, err := range l.Read(t.Context(), r) {
		if err != nil {
			return seqs, err
		}
		for i := range records {
			seqs = append(seqs, records[i].Sequence)
		}
	}
	return seqs, nil
}

func want(t *testing.T, err error, code events.Code) {
	t.Helper()
	if got, _ := events.CodeOf(err); got != code {
		t.Fatalf("got %v, want %s", err, code)
	}
}

func TestALostReplyIsResolvedBySendingAgain(t *testing.T) {
	l := filled(t, 3)
	l.LoseReplies(memlog.Attempts - 1)
	l.StoreRaw(events.EventSubject("us", ord()), nil, []byte("of another client"))
	r, err := l.Append(t.Context(), events.One(event(4), events.ExpectExactly(5)))
	if err != nil || r.Last != 6 || r.Duplicate || info(t, l).Last != 6 {
		t.Fatalf("%+v, %v", r, err)
	}
	// Controls have no id: the stamp of the attempt resolves them.
	mark := events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: "mark"}, Expect: events.ExpectNone()}}}
	l.LoseReplies(2)
	if r, err = l.Append(t.Context(), mark); err != nil || r.Last != 7 || info(t, l).Last != 7 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestAnUnresolvedReplyIsUnknownAndTheSameAppendResolvesIt(t *testing.T) {
	for name, expect := range map[string]events.Expectation{"any": events.ExpectAny(), "exact": events.ExpectExactly(4)} {
		t.Run(name, func(t *testing.T) {
			l := filled(t, 3)
			l.LoseReplies(memlog.Attempts)
			b := events.One(event(4), expect)
			_, err := l.Append(t.Context(), b)
			want(t, err, events.ErrUnknownOutcome)
			if got := info(t, l).Last; got != 5 {
				t.Fatalf("the head is %d", got)
			}
			r, err := l.Append(t.Context(), b)
			if err != nil || !r.Duplicate || r.Last != 5 || info(t, l).Last != 5 {
				t.Fatalf("%+v, %v", r, err)
			}
		})
	}
}

func TestALeaderLostBetweenCommitAndReplyIsUnknown(t *testing.T) {
	l := filled(t, 1)
	l.LoseReplies(1)
	l.Unreachable(-1)
	_, err := l.Append(t.Context(), batch(2, 3))
	want(t, err, events.ErrUnknownOutcome)
	_, err = l.Append(t.Context(), batch(4, 4))
	want(t, err, events.ErrUnreachable)
	l.Unreachable(0)
	if r, err := l.Append(t.Context(), batch(2, 3)); err != nil || !r.Duplicate || r.First != 3 || r.Last != 4 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestAnUnreachableLogFailsEveryCallWithoutEffect(t *testing.T) {
	l := filled(t, 3)
	for name, call := range map[string]func() error{
		"Append":  func() error { _, err := l.Append(t.Context(), batch(9, 9)); return err },
		"Info":    func() error { _, err := l.Info(t.Context()); return err },
		"Record":  func() error { _, err := l.Record(t.Context(), 1); return err },
		"Control": func() error { _, err := l.LastControl(t.Context(), "genesis"); return err },
		"Read":    func() error { _, err := readAll(t, l, events.Range{}); return err },
		"History": func() error {
			for _, err := range l.History(t.Context(), ord(), 0) {
				return err
			}
			return nil
		},
	} {
		l.Unreachable(1)
		want(t, call(), events.ErrUnreachable)
		if got := info(t, l).Last; got != 4 { // and the next call succeeds
			t.Fatalf("%s: the head is %d", name, got)
		}
	}
}

func TestARecreatedLogIsAForeignHistoryToItsReaders(t *testing.T) {
	l := filled(t, 5)
	before := info(t, l)
	steps := 0
	for records, err := range l.Read(t.Context(), events.Range{Follow: true}) {
		if steps++; steps == 1 && err == nil && len(records) == 6 {
			l.Recreate()
			fill(t, l, 1, 9)
			continue
		}
		want(t, err, events.ErrForeignHistory)
	}
	after := info(t, l)
	if steps != 2 || after.Terms.Lineage == before.Terms.Lineage || after.Last != 10 {
		t.Fatalf("%d steps, %+v, then %+v", steps, before, after)
	}
	if c := (events.Histories{"us": after.Terms}).Covers(after.Head(), before.Head()); c != events.Lost {
		t.Fatalf("the new log covers a position of the old one: %s", c)
	}
}

func TestATruncatedLogIsAForeignHistoryToWhoIsAhead(t *testing.T) {
	l := filled(t, 5)
	l.Truncate(3)
	if got := info(t, l).Last; got != 3 {
		t.Fatalf("the head is %d", got)
	}
	_, err := readAll(t, l, events.Range{From: 7})
	want(t, err, events.ErrForeignHistory)
	// What is left is still known.
	if r, err := l.Append(t.Context(), batch(1, 2)); err != nil || !r.Duplicate || r.First != 2 || r.Last != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	// The events that were cut off are not known any more, and the entity is where the rest says.
	if r, err := l.Append(t.Context(), events.One(event(3), events.ExpectExactly(3))); err != nil || r.Last != 4 || r.Duplicate {
		t.Fatalf("%+v, %v", r, err)
	}
	l.Truncate(0)
	_, err = l.Info(t.Context())
	want(t, err, events.ErrForeignHistory)
}

func TestAnOlderCopyPutBackGivesTheSameSequencesToOtherEvents(t *testing.T) {
	l := filled(t, 5)
	older := l.Copy(4)
	fill(t, older, 100, 100) // the copy is independent
	before, err := l.Record(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	l.Restore(l.Copy(4))
	fill(t, l, 6, 8)
	after, err := l.Record(t.Context(), 5)
	if err != nil || after.Fingerprint() == before.Fingerprint() || info(t, l).Last != 7 {
		t.Fatalf("%+v, %v", after, err)
	}
	if got := info(t, l).Terms; got.Current() != 1 {
		t.Fatalf("nothing but the content tells, yet the terms are %+v", got)
	}
	if r, _ := older.Record(t.Context(), 5); r.Event.ID != "e100" {
		t.Fatalf("the copy holds %+v", r.Event)
	}
}

func TestAFlippedBitIsDamage(t *testing.T) {
	l := filled(t, 5)
	kept, err := l.Record(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(kept.Event.Data)
	if !l.FlipBit(3) || l.FlipBit(99) || l.FlipBit(0) {
		t.Fatal("only record 3 has a payload to damage")
	}
	if !bytes.Equal(kept.Event.Data, before) {
		t.Fatal("a record that was read before changed")
	}
	_, err = l.Record(t.Context(), 3)
	want(t, err, events.ErrDamaged)
	seqs, err := readAll(t, l, events.Range{})
	want(t, err, events.ErrDamaged)
	if fmt.Sprint(seqs) != "[1 2]" {
		t.Fatalf("before the damage came %v", seqs)
	}
	if seqs, err = readAll(t, l, events.Range{From: 4}); err != nil || fmt.Sprint(seqs) != "[4 5 6]" {
		t.Fatalf("behind the damage: %v, %v", seqs, err)
	}
}

func TestASkippedRecordIsAHole(t *testing.T) {
	for _, seq := range []uint64{2, 4, 6} { // the first that is read, one between, the head
		l := filled(t, 5)
		l.Skip(seq)
		for _, r := range []events.Range{{From: 2}, {From: 2, Batch: 1}, {From: 2, Follow: true}, {From: 2, To: 6}} {
			seqs, err := readAll(t, l, r)
			want(t, err, events.ErrHole)
			if uint64(len(seqs)) != seq-2 {
				t.Errorf("skip %d, %+v: before the hole came %v", seq, r, seqs)
			}
		}
		_, err := l.Record(t.Context(), seq)
		want(t, err, events.ErrNotFound)
		if got := info(t, l).Last; got != 6 {
			t.Errorf("the head is %d", got)
		}
		l.Heal()
		if seqs, err := readAll(t, l, events.Range{}); err != nil || len(seqs) != 6 {
			t.Errorf("healed: %v, %v", seqs, err)
		}
	}
}

func TestADisorderlyFeedYieldsTheSameRecords(t *testing.T) {
	l := filled(t, 300)
	for seed := range uint64(50) {
		l.Disorder(seed)
		for _, n := range []int{1, 7, 100, 1_000} {
			seqs, err := readAll(t, l, events.Range{Batch: n})
			if err != nil || len(seqs) != 301 {
				t.Fatalf("seed %d, batch %d: %d records, %v", seed, n, len(seqs), err)
			}
			for i, seq := range seqs {
				if seq != uint64(i)+1 {
					t.Fatalf("seed %d, batch %d: record %d is %d", seed, n, i, seq)
				}
			}
		}
		l.Skip(200)
		_, err := readAll(t, l, events.Range{})
		want(t, err, events.ErrHole)
		l.Heal()
	}
}

func TestAForgottenWindowStoresAgainWhatNothingElseGuards(t *testing.T) {
	l := filled(t, 2)
	l.ForgetDuplicates()
	if r, err := l.Append(t.Context(), events.One(event(2), events.ExpectExactly(2))); err != nil || !r.Duplicate || r.Last != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err := l.Append(t.Context(), events.One(event(2), events.ExpectAny())); err != nil || r.Duplicate || r.Last != 4 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestADeletedLogIsNotThere(t *testing.T) {
	l := filled(t, 2)
	l.Delete()
	_, err := l.Info(t.Context())
	want(t, err, events.ErrNoLog)
	_, err = l.Append(t.Context(), batch(3, 3))
	want(t, err, events.ErrNoLog)
	_, err = readAll(t, l, events.Range{})
	want(t, err, events.ErrNoLog)
	l.Recreate()
	fill(t, l, 3, 3)
}

func TestPromotionBeginsATerm(t *testing.T) {
	l := filled(t, 8)     // the leader: 9 records
	mirror := l.Copy(6)   // cut off at 6
	lost := info(t, l)    // the old leader's view
	mirror.Promote()      // term 2 begins at 7
	fill(t, mirror, 9, 9) // and goes on
	now := info(t, mirror)
	if now.Terms.Current() != 2 || now.Terms.TermAt(6) != 1 || now.Terms.TermAt(7) != 2 || now.Last != 8 {
		t.Fatalf("%+v", now)
	}
	r, err := mirror.LastControl(t.Context(), events.ControlTerm)
	if err != nil || r.Sequence != 7 {
		t.Fatalf("%+v, %v", r, err)
	}
	h := events.Histories{"us": now.Terms}
	for seq, answer := range map[uint64]events.Coverage{6: events.Yes, 7: events.Lost, 9: events.Lost} {
		if c := h.Covers(now.Head(), lost.Position(seq)); c != answer {
			t.Errorf("sequence %d of term 1: %s, want %s", seq, c, answer)
		}
	}
	if term := mirror.Promote(); term.Term != 3 || term.Lineage != now.Terms.Lineage {
		t.Fatalf("%+v", term)
	}
}

func TestATornTransactionIsVoid(t *testing.T) {
	l := filled(t, 2)
	if _, err := l.Append(t.Context(), batch(10, 14)); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 20, 21)
	if l.Tear(5) {
		t.Fatal("no transaction has more than five records")
	}
	if !l.Tear(3) {
		t.Fatal("nothing was torn")
	}
	fill(t, l, 30, 30)
	var whole events.Transactions
	var kept []events.Record
	for records, err := range l.Read(t.Context(), events.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			kept = whole.Add(kept, r)
		}
	}
	var got []string
	for _, r := range kept {
		got = append(got, r.Control.Name+r.Event.ID)
	}
	if fmt.Sprint(got) != "[genesis e1 e2 term e30]" || info(t, l).Last != 8 || info(t, l).Terms.TermAt(7) != 2 {
		t.Fatalf("%v, %+v", got, info(t, l))
	}
}

func TestASplicedHistoryIsForeign(t *testing.T) {
	l := filled(t, 2)
	other := memlog.New("us", memlog.Options{})
	defer other.Close()
	other.Promote()
	r, err := other.Record(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	l.StoreRaw("ctl.us.term", nil, r.Control.Data)
	_, err = l.Info(t.Context())
	want(t, err, events.ErrForeignHistory)
	_, err = readAll(t, l, events.Range{})
	want(t, err, events.ErrForeignHistory)
}

func TestTheBrokerDropsForeignDuplicatesByTheirIDAlone(t *testing.T) {
	l := filled(t, 0)
	header := map[string][]string{events.HeaderMessageID: {"x"}}
	first := l.StoreRaw("evt.us.airport.ORD", header, []byte("a"))
	if second := l.StoreRaw("evt.us.airport.ORD", header, []byte("b")); second != first {
		t.Fatalf("stored at %d and %d", first, second)
	}
	l.ForgetDuplicates()
	if third := l.StoreRaw("evt.us.airport.ORD", header, []byte("b")); third != first+1 {
		t.Fatalf("stored at %d and %d", first, third)
	}
}

func TestAFullQueueMakesSubmitWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memlog.New("us", memlog.Options{MaxPending: 3})
		release := l.Hold()
		for i := range 3 {
			if _, err := l.Submit(t.Context(), batch(i, i)); err != nil {
				t.Fatal(err)
			}
		}
		tired, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("tired of waiting"))
		defer cancel()
		if _, err := l.Submit(tired, batch(9, 9)); err == nil || err.Error() != "tired of waiting" {
			t.Fatalf("got %v", err)
		}
		var fourth *events.Pending
		done := make(chan struct{})
		go func() {
			defer close(done)
			var err error
			if fourth, err = l.Submit(t.Context(), batch(4, 4)); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		if fourth != nil {
			t.Fatal("a full queue took an append")
		}
		release()
		release()
		<-done
		if r, err := fourth.Wait(t.Context()); err != nil || r.Last != 5 {
			t.Fatalf("%+v, %v", r, err)
		}
		l.Close()
	})
}

func TestCloseEndsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memlog.New("us", memlog.Options{MaxPending: 2})
		l.Hold()
		var pending []*events.Pending
		for i := range 2 {
			p, err := l.Submit(t.Context(), batch(i, i))
			if err != nil {
				t.Fatal(err)
			}
			pending = append(pending, p)
		}
		waiting := make(chan error, 1)
		go func() {
			_, err := l.Submit(t.Context(), batch(9, 9))
			waiting <- err
		}()
		following := make(chan error, 1)
		go func() {
			_, err := readAll(t, l, events.Range{Follow: true})
			following <- err
		}()
		synctest.Wait()
		l.Close()
		for _, p := range pending {
			_, err := p.Wait(t.Context())
			want(t, err, events.ErrClosed)
		}
		want(t, <-waiting, events.ErrClosed)
		want(t, <-following, events.ErrClosed)
	})
}
