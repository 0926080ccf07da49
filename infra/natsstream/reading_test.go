package natsstream

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/events/logtest"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/projections"
)

// TestSuite is the part of the log's suite that is about reading.
func TestSuite(t *testing.T) {
	url := natstest.Start(t).ClientURL()
	var n atomic.Int64
	logtest.RunReader(t, func(t *testing.T) logtest.ReaderSubject {
		nc, number := dial(t, url), n.Add(1)
		o := makeStream(t, nc, func(c *jetstream.StreamConfig) {
			c.Name, c.Subjects = fmt.Sprint("S", number), []string{fmt.Sprint("s", number, ".>")}
		})
		s := openSource(t, nc, projections.Source{Stream: fmt.Sprint("S", number), Origin: "s"})
		store := func(k int) {
			for i := range k {
				o.publish(fmt.Sprint("s", number, ".a.", i), fmt.Sprintf(`{"n":%d}`, i), "X-Id", fmt.Sprint(i))
			}
		}
		store(1)
		return logtest.ReaderSubject{Reader: s, Store: store, Close: s.Close}
	})
}

func TestMessagesAreReadAsTheyAreStored(t *testing.T) {
	nc := dial(t, natstest.Start(t, func(o *server.Options) { o.MaxPayload = 8 << 20 }).ClientURL())
	o, s := makeStream(t, nc, nil), open(t, nc)
	huge := strings.Repeat("x", 6<<20)
	for _, m := range []struct {
		subject, data string
		headers       []string
	}{
		{"orders.plain", `{"n":1}`, nil},
		{"orders.empty", "", nil},
		{"orders.nul", "\x00\xff\x00", nil},
		{"orders." + strings.Repeat("t.", 1_000) + "end", "{}", []string{"X-Id", "1", "X-Id", "2", "other", "ü", "Empty", ""}},
		{"orders.ce", `{}`, []string{"ce-id", "7", "ce-type", "T", "tm", "1;nonsense", "Nats-Msg-Id", "m"}},
		{"orders.huge", huge, nil},
	} {
		o.publish(m.subject, m.data, m.headers...)
	}
	// A header that no client of ours would write: the message is delivered without headers.
	if err := nc.PublishMsg(&nats.Msg{Subject: "orders.status", Header: nats.Header{"Status": {"100"}}, Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is stored", func() bool { return o.state().LastSeq == 7 })
	n := 0
	for batch, err := range s.Read(within(t), events.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range batch {
			n++
			r := &batch[i]
			stored, err := s.Record(within(t), r.Sequence)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := o.s.GetMsg(within(t), r.Sequence)
			if err != nil {
				t.Fatal(err)
			}
			if r.Kind != events.KindMessage || r.Fingerprint() != stored.Fingerprint() || r.Subject != raw.Subject || !bytes.Equal(r.Event.Data, raw.Data) ||
				!r.Time.Equal(raw.Time) || fmt.Sprint(r.Header) != fmt.Sprint(events.Header(raw.Header)) {
				t.Errorf("sequence %d: read %.200v, stored %.200v", r.Sequence, *r, raw)
			}
			if !r.Stamp.Hash.IsZero() || !r.Event.Entity.IsZero() || r.Event.Type != "" {
				t.Errorf("sequence %d was taken for a record of ours: %+v", r.Sequence, *r)
			}
		}
	}
	if n != 7 {
		t.Errorf("%d messages were read", n)
	}
	for _, err := range s.History(within(t), events.Entity{Type: "order", ID: "1"}, 1) {
		wantCode(t, err, events.ErrInvalidEntity)
	}
	_, err := s.LastControl(within(t), events.ControlGenesis)
	wantCode(t, err, events.ErrNotFound)
}

// TestTheFingerprintOfAMessageIsOfAllThatIsStored: the same payload with another header, subject or sequence is another message.
func TestTheFingerprintOfAMessageIsOfAllThatIsStored(t *testing.T) {
	base := events.Record{Sequence: 7, Kind: events.KindMessage, Subject: "a.b", Header: events.Header{"A": {"1", "2"}, "B": {""}}, Event: events.Event{Data: []byte("{}")}}
	seen := map[events.Hash]string{base.Fingerprint(): "as it is"}
	for name, change := range map[string]func(*events.Record){
		"sequence": func(r *events.Record) { r.Sequence++ },
		"subject":  func(r *events.Record) { r.Subject = "a.c" },
		"data":     func(r *events.Record) { r.Event.Data = []byte("{ }") },
		"value":    func(r *events.Record) { r.Header = events.Header{"A": {"1", "3"}, "B": {""}} },
		"order":    func(r *events.Record) { r.Header = events.Header{"A": {"2", "1"}, "B": {""}} },
		"joined":   func(r *events.Record) { r.Header = events.Header{"A": {"12"}, "B": {""}} },
		"name":     func(r *events.Record) { r.Header = events.Header{"A": {"1", "2"}, "C": {""}} },
		"fewer":    func(r *events.Record) { r.Header = events.Header{"A": {"1", "2"}} },
		"none":     func(r *events.Record) { r.Header = nil },
		"gone":     func(r *events.Record) { r.Kind, r.First = events.KindDeleted, 7 },
	} {
		r := base
		change(&r)
		if other, twice := seen[r.Fingerprint()]; twice {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
		seen[r.Fingerprint()] = name
	}
}

func TestWhatTheStreamForgotHasARecordInItsPlace(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	for i, c := range []struct {
		name   string
		config func(*jetstream.StreamConfig)
		forget func(o *theirs)
		want   map[events.Range]string
	}{
		{"nothing", nil, func(o *theirs) { o.fill(5) }, map[events.Range]string{{}: " 1 2 3 4 5", {From: 6}: "", {From: 7}: " !foreign-history"}},
		{"never anything", nil, func(*theirs) {}, map[events.Range]string{{}: "", {From: 1}: "", {From: 2}: " !foreign-history"}},
		{"in the middle", nil, func(o *theirs) { o.fill(9); o.remove(4, 5, 7) }, map[events.Range]string{
			{}: " 1 2 3 d4-5 6 d7-7 8 9", {Batch: 1}: " 1 2 3 d4-5 6 d7-7 8 9", {From: 4, To: 4}: " d4-4", {From: 5, To: 6}: " d5-5 6", {From: 5, To: 7}: " d5-5 6 d7-7", {To: 4}: " 1 2 3 d4-4",
		}},
		{"at the end", nil, func(o *theirs) { o.fill(5); o.remove(4, 5) }, map[events.Range]string{{}: " 1 2 3 d4-5", {From: 4}: " d4-5", {From: 5}: " d5-5", {To: 4, Batch: 1}: " 1 2 3 d4-4"}},
		{"at the beginning", nil, func(o *theirs) { o.fill(5); o.remove(1, 2) }, map[events.Range]string{{}: " e1-2 3 4 5", {From: 2}: " e2-2 3 4 5", {To: 1}: " e1-1", {Batch: 1}: " e1-2 3 4 5"}},
		{"everywhere", nil, func(o *theirs) { o.fill(9); o.remove(1, 4, 9) }, map[events.Range]string{{}: " e1-1 2 3 d4-4 5 6 7 8 d9-9", {Batch: 2}: " e1-1 2 3 d4-4 5 6 7 8 d9-9"}},
		{"a purged beginning and a hole behind it", nil, func(o *theirs) { o.fill(9); o.remove(6); o.purge(jetstream.WithPurgeSequence(6)) }, map[events.Range]string{{}: " e1-6 7 8 9", {From: 6}: " e6-6 7 8 9"}},
		{"all of it", nil, func(o *theirs) { o.fill(5); o.purge() }, map[events.Range]string{{}: " e1-5", {From: 3}: " e3-5", {To: 2}: " e1-2", {From: 6}: "", {From: 7}: " !foreign-history"}},
		{"a subject", nil, func(o *theirs) { o.fill(9); o.purge(jetstream.WithPurgeSubject(o.prefix + ".placed.1")) }, map[events.Range]string{{}: " 1 d2-2 3 4 5 6 7 8 d9-9"}},
		{"a beginning that never was", func(c *jetstream.StreamConfig) { c.FirstSeq = 100 }, func(o *theirs) { o.fill(2) }, map[events.Range]string{{}: " e1-99 100 101"}},
		{"a beginning that is not yet", func(c *jetstream.StreamConfig) { c.FirstSeq = 100 }, func(*theirs) {}, map[events.Range]string{{}: " e1-99", {From: 100}: ""}},
		{"all but so many", func(c *jetstream.StreamConfig) { c.MaxMsgs = 3 }, func(o *theirs) { o.fill(9) }, map[events.Range]string{{}: " e1-6 7 8 9", {From: 5}: " e5-6 7 8 9"}},
		{"all but the last of a subject", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, func(o *theirs) { o.fill(9); o.publish(o.prefix+".placed.5", "") },
			map[events.Range]string{{}: " d1-2 3 4 5 d6-6 7 8 9 10", {From: 2}: " d2-2 3 4 5 d6-6 7 8 9 10"}},
		{"all but the last of a subject, and so many", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject, c.MaxMsgs = 1, 6 }, func(o *theirs) { o.fill(9) }, map[events.Range]string{{}: " e1-3 4 5 6 7 8 9"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := makeStream(t, nc, func(cfg *jetstream.StreamConfig) {
				cfg.Name, cfg.Subjects = fmt.Sprint("S", i), []string{fmt.Sprint("s", i, ".>")}
				if c.config != nil {
					c.config(cfg)
				}
			})
			c.forget(o)
			s := openSource(t, nc, projections.Source{Stream: fmt.Sprint("S", i), Origin: "s"})
			for r, want := range c.want {
				if got := read(t, s, r); got != want {
					t.Errorf("%+v: got %q, want %q", r, got, want)
				}
			}
			s.Close()
			o.noConsumers()
		})
	}
}

// TestOfAStreamWithVeryManyHolesTheLeaderIsAsked: the list would be too long.
func TestOfAStreamWithVeryManyHolesTheLeaderIsAsked(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	o, s := makeStream(t, nc, nil), open(t, nc)
	o.fill(30)
	o.remove(1, 4, 5, 6, 11, 12, 20, 29, 30)
	c, err := s.connected(within(t))
	if err != nil {
		t.Fatal(err)
	}
	c.gaps.most = 3
	for r, want := range map[events.Range]string{
		{To: 12}: " e1-1 2 3 d4-6 7 8 9 10 d11-12", {From: 18}: " 18 19 d20-20 21 22 23 24 25 26 27 28 d29-30", {From: 5, To: 5}: " d5-5", {From: 30}: " d30-30",
	} {
		if got := read(t, s, r); got != want {
			t.Errorf("%+v: got %q, want %q", r, got, want)
		}
	}
	if len(c.gaps.deleted) > 0 {
		t.Error("the list was asked for")
	}
}

// follower reads in a goroutine of its own.
type follower struct {
	text atomic.Pointer[string]
	end  chan error
}

func follow(t *testing.T, s *Stream, r events.Range) *follower {
	t.Helper()
	f := &follower{end: make(chan error, 1)}
	empty := ""
	f.text.Store(&empty)
	r.Follow = true
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for batch, err := range s.Read(ctx, r) {
			if err != nil {
				f.end <- err
				return
			}
			text := *f.text.Load()
			for i := range batch {
				text += shown(&batch[i])
			}
			f.text.Store(&text)
		}
		f.end <- nil
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

func (f *follower) reads(t *testing.T, want string) {
	t.Helper()
	eventually(t, "it reads "+want, func() bool { return *f.text.Load() == want })
}

func (f *follower) ends(t *testing.T, code events.Code) {
	t.Helper()
	select {
	case err := <-f.end:
		wantCode(t, err, code)
	case <-within(t).Done():
		t.Fatal("the reading did not end")
	}
}

func TestAFollowerLearnsWhatIsForgottenWhileItFollows(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	o, s := makeStream(t, nc, nil), open(t, nc)
	o.fill(3)
	f := follow(t, s, events.Range{From: 2})
	f.reads(t, " 2 3")
	o.remove(2) // which was read
	o.fill(1)
	f.reads(t, " 2 3 4")
	o.purge()
	o.fill(1)
	f.reads(t, " 2 3 4 5")
	// Published and deleted before it can be read: the consumer has nothing to deliver.
	paused := follow(t, s, events.Range{From: 9})
	paused.ends(t, events.ErrForeignHistory)
}

func TestAFollowerThatWaitsLearnsThatTheEndIsGone(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	o, s := makeStream(t, nc, nil), open(t, nc)
	o.fill(5)
	o.remove(4, 5)
	f := follow(t, s, events.Range{})
	f.reads(t, " 1 2 3 d4-5")
	o.fill(1)
	f.reads(t, " 1 2 3 d4-5 6")
}

func TestAFollowerNoticesAnotherStreamOfTheSameName(t *testing.T) {
	for name, n := range map[string]int{"empty": 0, "shorter": 3, "as long": 5, "longer": 50} {
		t.Run(name, func(t *testing.T) {
			nc := dial(t, natstest.Start(t).ClientURL())
			o, s := makeStream(t, nc, nil), open(t, nc)
			o.fill(5)
			before, err := s.Info(within(t))
			if err != nil {
				t.Fatal(err)
			}
			f := follow(t, s, events.Range{})
			f.reads(t, " 1 2 3 4 5")
			if err := o.js.DeleteStream(within(t), "ORDERS"); err != nil {
				t.Fatal(err)
			}
			makeStream(t, nc, nil).fill(n)
			f.ends(t, events.ErrForeignHistory)
			after, err := s.Info(within(t))
			if err != nil || after.Terms.Lineage == before.Terms.Lineage || !after.Terms.Lineage.Valid() || len(after.Terms.Lineage) != lineageDigits {
				t.Errorf("the lineage was %s and is %s, %v", before.Terms.Lineage, after.Terms.Lineage, err)
			}
		})
	}
}

func TestAStreamThatIsGoneIsNoLog(t *testing.T) {
	nc := dial(t, natstest.Start(t).ClientURL())
	s := open(t, nc)
	_, err := s.Info(within(t))
	wantCode(t, err, events.ErrNoLog)
	if !strings.Contains(err.Error(), "no stream ORDERS") || !strings.Contains(err.Error(), "this region's own NATS") {
		t.Errorf("it says %v", err)
	}
	if got := read(t, s, events.Range{}); got != " !no-log" {
		t.Errorf("got %q", got)
	}
	o := makeStream(t, nc, nil)
	o.fill(2)
	f := follow(t, s, events.Range{})
	f.reads(t, " 1 2")
	if err := o.js.DeleteStream(within(t), "ORDERS"); err != nil {
		t.Fatal(err)
	}
	f.ends(t, events.ErrNoLog)
}

// TestTheIdentityOutlivesWhatDoesNotChangeTheHistory: another setting, a restart.
func TestTheIdentityOutlivesWhatDoesNotChangeTheHistory(t *testing.T) {
	server := natstest.Start(t)
	nc := dial(t, server.ClientURL())
	o, s := makeStream(t, nc, nil), open(t, nc)
	o.fill(3)
	before, err := s.Info(within(t))
	if err != nil {
		t.Fatal(err)
	}
	f := follow(t, s, events.Range{})
	f.reads(t, " 1 2 3")
	cfg := o.s.CachedInfo().Config
	cfg.Description, cfg.MaxAge, cfg.Subjects = "edited", 1<<40, []string{"orders.>", "more.>"}
	if _, err := o.js.UpdateStream(within(t), cfg); err != nil {
		t.Fatal(err)
	}
	server.Restart()
	eventually(t, "the servers answer again", func() bool {
		after, err := s.Info(within(t))
		return err == nil && after.Terms.Lineage == before.Terms.Lineage
	})
	o.back()
	o.fill(1)
	f.reads(t, " 1 2 3 4")
}

// TestAnOlderCopyOfTheStreamIsNoticed puts an older copy of the store back, as after a power failure without syncing. It has the same name and the same time, and
// goes on with the same sequences; only the message that was read last tells.
func TestAnOlderCopyOfTheStreamIsNoticed(t *testing.T) {
	for name, n := range map[string]int{"shorter": 3, "longer": 50} {
		t.Run(name, func(t *testing.T) {
			ours := natstest.Start(t)
			nc := dial(t, ours.ClientURL())
			o, s := makeStream(t, nc, nil), open(t, nc)
			o.fill(10)
			ours.Stop()
			older := ours.Backup()
			ours.Restart()
			o.back()
			o.fill(10)
			f := follow(t, s, events.Range{From: 20})
			f.reads(t, " 20")
			ours.Stop()
			ours.Options.StoreDir = older
			// A server on another port gets other messages into the older copy, before anybody who reads can reach it.
			elsewhere := natstest.Start(t, func(o *server.Options) { o.StoreDir = older })
			js := natstest.JetStream(t, dial(t, elsewhere.ClientURL()))
			for range n {
				if _, err := js.Publish(within(t), "orders.other", []byte("{}")); err != nil {
					t.Fatal(err)
				}
			}
			elsewhere.Stop()
			ours.Restart()
			f.ends(t, events.ErrForeignHistory)
		})
	}
}

// TestADamagedMessageIsAHole flips a bit on the disk. Consumers leave the message out without a word, with no gap in their own sequence, and the leader
// knows nothing of it either; only that it is in no list of deleted ones tells.
func TestADamagedMessageIsAHole(t *testing.T) {
	server := natstest.Start(t)
	nc := dial(t, server.ClientURL())
	o, s := makeStream(t, nc, nil), open(t, nc)
	o.fill(20)
	o.publish("orders.marked", `{"text":"to-be-damaged"}`) // 21
	o.fill(5)
	o.remove(10, 23)
	flipped := false
	server.Stop()
	blocks, err := filepath.Glob(filepath.Join(server.Options.StoreDir, "jetstream", "*", "streams", "ORDERS", "msgs", "*.blk"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range blocks {
		text, err := os.ReadFile(name) //nolint:gosec // the test's own
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(text, []byte("to-be-damaged")); i >= 0 {
			text[i] ^= 1
			flipped = true
			if err := os.WriteFile(name, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	server.Restart()
	if !flipped {
		t.Fatal("the message was not found on the disk")
	}
	const whole = " 1 2 3 4 5 6 7 8 9 d10-10 11 12 13 14 15 16 17 18 19 20"
	if got := read(t, s, events.Range{}); got != whole+" !hole" {
		t.Fatalf("got %q", got)
	}
	if got := read(t, s, events.Range{From: 22}); got != " 22 d23-23 24 25 26" {
		t.Errorf("behind it: got %q", got)
	}
	_, err = s.Record(within(t), 21)
	wantCode(t, err, events.ErrNotFound)
}
