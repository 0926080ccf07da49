package marks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/memstore"
)

// site is a region whose log is audited. It lives in a synctest bubble.
type site struct {
	t       *testing.T
	log     *memlog.Log
	seen    events.Reader // what auditors are given
	kv      *memstore.KV
	leases  *memstore.Leases
	options marks.AuditorOptions
	logs    *bytes.Buffer
	ends    []func()
}

// audited runs a test in a region.
func audited(t *testing.T, run func(s *site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &site{t: t, log: memlog.New("us", memlog.Options{}), kv: memstore.NewKV(), leases: memstore.NewLeases(), logs: &bytes.Buffer{}}
		s.seen = s.log
		s.options = marks.AuditorOptions{Region: "us", Leader: "us", Logger: slog.New(slog.NewTextHandler(s.logs, nil))}
		defer func() {
			for _, end := range s.ends {
				end()
			}
			s.log.Close()
		}()
		run(s)
	})
}

// start runs an auditor until the returned function is called, or the test ends.
func (s *site) start() (a *marks.Auditor, stop func()) {
	s.t.Helper()
	a = marks.NewAuditor(s.seen, s.kv, s.leases, s.options)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	done := false
	stop = func() {
		if done {
			return
		}
		done = true
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	}
	s.ends = append(s.ends, stop)
	return a, stop
}

// write appends events and a mark, n times.
func (s *site) write(n int) {
	s.t.Helper()
	for range n {
		for range 5 {
			publish(s.t, s.log)
		}
		s.mark()
	}
}

func (s *site) mark() {
	s.t.Helper()
	if err := marks.New(s.log, marks.Options{Interval: time.Nanosecond, Idle: time.Nanosecond}).Write(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}

func pass(d time.Duration) {
	time.Sleep(d) // of the bubble's clock
	synctest.Wait()
}

// state returns what the region knows.
func (s *site) state() marks.Audit {
	s.t.Helper()
	a, _, err := projections.ReadJSON[marks.Audit](context.Background(), s.kv, marks.AuditKey("us"))
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

func (s *site) head() uint64 {
	s.t.Helper()
	info, err := s.log.Info(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return info.Last
}

// want checks a verdict, and that the finding is written down.
func (s *site) want(a *marks.Auditor, kind marks.Kind, first uint64, exact bool, words ...string) *marks.Finding {
	s.t.Helper()
	err := a.Verdict()
	if !errors.Is(err, projections.ErrUntrustedLog) {
		s.t.Fatalf("the verdict is %v", err)
	}
	for _, w := range append(words, "region us", "origin us", string(kind), "nothing is applied") {
		if !strings.Contains(err.Error(), w) {
			s.t.Errorf("the verdict does not say %q: %v", w, err)
		}
	}
	f := s.state().Finding
	if f == nil || f.Kind != kind || f.First != first || f.Exact != exact {
		s.t.Fatalf("it found %+v", f)
	}
	return f
}

func (s *site) clean(a *marks.Auditor) {
	s.t.Helper()
	if err := a.Verdict(); err != nil {
		s.t.Error(err)
	}
	if f := s.state().Finding; f != nil {
		s.t.Errorf("it found %+v", f)
	}
}

func TestALogThatIsAsItWasRaisesNothing(t *testing.T) {
	audited(t, func(s *site) {
		s.write(3)
		s.options.Full = 50 * time.Minute
		a, _ := s.start()
		if err := a.Verdict(); !errors.Is(err, events.ErrUnreachable) {
			t.Errorf("before anything is known the verdict is %v", err)
		}
		pass(5 * time.Second)
		s.clean(a)
		if got := s.state(); got.Full.IsZero() || got.Upto() != s.head()-1 || got.Lineage == "" || got.Audited.IsZero() {
			t.Errorf("%+v", got)
		}
		for range 400 {
			s.write(1)
			pass(5 * time.Second)
		}
		s.log.Promote()
		s.write(2)
		pass(5 * time.Second)
		s.clean(a)
		got := s.state()
		if got.Upto() != s.head()-1 {
			t.Errorf("it is audited up to %d of %d", got.Upto(), s.head())
		}
		if n := len(got.Good); n < 16 || n > projections.MaxMarks {
			t.Errorf("it remembers %d marks", n)
		}
		before := got.Full
		pass(time.Hour)
		if !s.state().Full.After(before) {
			t.Error("hours later the whole log was not audited again")
		}
		if s.logs.Len() != 0 {
			t.Errorf("it says:\n%s", s.logs)
		}
	})
}

// damages are the ways in which a log of some marks can be wrong, and what is to be found.
func damages() map[string]struct {
	damage func(s *site)
	kind   marks.Kind
	first  uint64
	exact  bool
} {
	type d = struct {
		damage func(s *site)
		kind   marks.Kind
		first  uint64
		exact  bool
	}
	return map[string]d{ // the log: genesis 1, events 2-6, mark 7, events 8-12, mark 13, events 14-18, mark 19
		"a hole":                       {func(s *site) { s.log.Skip(9) }, marks.Hole, 9, true},
		"a mark that is missing":       {func(s *site) { s.log.Skip(13) }, marks.Hole, 13, true},
		"the newest mark is missing":   {func(s *site) { s.log.Skip(19) }, marks.Hole, 19, true},
		"the genesis is missing":       {func(s *site) { s.log.Skip(1) }, marks.Hole, 1, true},
		"a flipped bit":                {func(s *site) { s.flip(10) }, marks.Altered, 10, true},
		"a flipped bit in a mark":      {func(s *site) { s.flip(13) }, marks.Altered, 13, true},
		"a flipped bit in the newest":  {func(s *site) { s.flip(19) }, marks.Altered, 19, true},
		"another record":               {func(s *site) { s.seen = bent{s.log, 9} }, marks.Altered, 7, false},
		"another record in its place":  {func(s *site) { s.seen = bent{s.log, 3} }, marks.Altered, 1, false},
		"a lost end":                   {func(s *site) { s.log.Truncate(15) }, marks.Truncated, 16, true},
		"a lost end, and marks":        {func(s *site) { s.log.Truncate(9) }, marks.Truncated, 10, true},
		"another log of the same name": {func(s *site) { s.log.Recreate(); s.write(4) }, marks.Recreated, 1, true},
		"an end that was written over": {func(s *site) { s.log.Truncate(11); s.write(4) }, marks.Forked, 8, false},
		"an older copy put back":       {func(s *site) { s.log.Restore(s.log.Copy(13)); s.write(4) }, marks.Forked, 14, false},
		"marks out of order": {func(s *site) {
			appendMark(s.t, s.log, events.Mark{Time: time.Now(), Number: 9, After: 18, Upto: 19, Chain: events.Hash{}.String()})
		}, marks.Unordered, 19, false},
		"a mark that repeats": {func(s *site) {
			appendMark(s.t, s.log, events.Mark{Time: time.Now(), Number: 4, After: 12, Upto: 19, Chain: events.Hash{}.String()})
		}, marks.Unordered, 19, false},
		"a mark of what comes later": {func(s *site) {
			appendMark(s.t, s.log, events.Mark{Time: time.Now(), Number: 4, After: 18, Upto: 20, Chain: events.Hash{}.String()})
		}, marks.Unordered, 19, false},
		"a mark of other records": {func(s *site) {
			appendMark(s.t, s.log, events.Mark{Time: time.Now(), Number: 4, After: 18, Upto: 19, Chain: events.Hash{}.String()})
		}, marks.Altered, 19, true},
	}
}

func appendMark(t *testing.T, log events.Log, m events.Mark) {
	t.Helper()
	data, err := json.Marshal(m)
	if err == nil {
		_, err = log.Append(context.Background(), events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: events.ControlMark, Data: data}}}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// bent is a log in which one record is another one than was written, which its content does not show.
type bent struct {
	events.Reader
	at uint64
}

func (b bent) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		for records, err := range b.Reader.Read(ctx, r) {
			for i := range records {
				if records[i].Sequence == b.at {
					records[i].Stamp.Tx.Count++
				}
			}
			if !yield(records, err) {
				return
			}
		}
	}
}

// TestWhatIsWrongIsFound damages a log that was audited before, while nobody looks.
func TestWhatIsWrongIsFound(t *testing.T) {
	for name, d := range damages() {
		t.Run(name, func(t *testing.T) {
			audited(t, func(s *site) {
				s.write(3)
				a, stop := s.start()
				pass(10 * time.Second)
				s.clean(a)
				stop()
				d.damage(s)
				a, _ = s.start()
				pass(10 * time.Second)
				s.want(a, d.kind, d.first, d.exact)
				pass(5 * time.Minute)
				s.want(a, d.kind, d.first, d.exact)
				if n := strings.Count(s.logs.String(), "level=ERROR"); n != 1 {
					t.Errorf("it is logged %d times:\n%s", n, s.logs)
				}
			})
		})
	}
}

// TestWhatGoesWrongMeanwhileIsFound damages it while it is audited: what was audited is damaged is found by the next pass over all of it, everything else at once.
func TestWhatGoesWrongMeanwhileIsFound(t *testing.T) {
	for name, d := range damages() {
		if strings.Contains(name, "another record") {
			continue // those are other readers
		}
		t.Run(name, func(t *testing.T) {
			audited(t, func(s *site) {
				s.write(3)
				s.options.Full = 10 * time.Minute
				a, _ := s.start()
				pass(10 * time.Second)
				s.clean(a)
				d.damage(s)
				pass(15 * time.Minute)
				s.want(a, d.kind, d.first, d.exact)
			})
		})
	}
}

// TestALogThatWasNeverAuditedIsFoundWrong: what contradicts itself is found without a memory of it.
func TestALogThatWasNeverAuditedIsFoundWrong(t *testing.T) {
	for name, d := range damages() {
		if d.kind == marks.Truncated || d.kind == marks.Recreated || d.kind == marks.Forked || d.first == 1 {
			continue // those do not, or have no identity
		}
		t.Run(name, func(t *testing.T) {
			audited(t, func(s *site) {
				s.write(3)
				d.damage(s)
				a, _ := s.start()
				pass(10 * time.Second)
				if name == "the newest mark is missing" || name == "a flipped bit in the newest" {
					pass(10 * time.Minute)
				}
				s.want(a, d.kind, d.first, d.exact)
			})
		})
	}
}

// TestALogThatIsShortForAMomentIsOnlyNotTrustedMeanwhile: a server that comes back may not know all it has yet.
func TestALogThatIsShortForAMomentIsOnlyNotTrustedMeanwhile(t *testing.T) {
	audited(t, func(s *site) {
		s.model("one", nil)
		s.write(3)
		a, _ := s.start()
		pass(10 * time.Second)
		s.clean(a)
		right := s.log.Copy(1_000)
		s.ends = append(s.ends, right.Close)
		s.log.Truncate(15)
		for range 40 {
			if a.Verdict() != nil {
				break
			}
			pass(100 * time.Millisecond)
		}
		if err := a.Verdict(); !errors.Is(err, projections.ErrUntrustedLog) {
			t.Fatal(err)
		}
		s.log.Restore(right)
		pass(time.Minute)
		s.clean(a)
		if got := s.state(); got.Healed != nil || s.replay("one").ID != "" {
			t.Errorf("%+v, %+v", got.Healed, s.replay("one"))
		}
	})
}

// TestATailThatAPromotionLeftBehindIsNoDamage: what was audited of it is forgotten. The same without a new term is.
func TestATailThatAPromotionLeftBehindIsNoDamage(t *testing.T) {
	for name, promoted := range map[string]bool{"promoted": true, "only cut off": false} {
		for _, keep := range []uint64{16, 19, 20, 24} { // before a mark, at one, behind it
			t.Run(fmt.Sprint(name, " at ", keep), func(t *testing.T) {
				audited(t, func(s *site) {
					s.write(6)
					a, stop := s.start()
					pass(10 * time.Second)
					s.clean(a)
					stop()
					s.log.Truncate(keep)
					if promoted {
						s.log.Promote()
					}
					s.write(4)
					a, _ = s.start()
					pass(10 * time.Second)
					if !promoted {
						s.want(a, marks.Forked, keep-(keep-1)%6+1, false)
						return
					}
					s.clean(a)
					s.write(4)
					pass(10 * time.Second)
					s.clean(a)
					got := s.state()
					if top := got.Good[len(got.Good)-1]; got.Upto() != s.head()-1 || top.Term != 2 {
						t.Errorf("%+v", got)
					}
					s.log.Truncate(s.head() - 3)
					pass(10 * time.Second)
					s.want(a, marks.Truncated, s.head()+1, true)
				})
			})
		}
	}
}

func TestALogFromBeforeChainsIsAudited(t *testing.T) {
	audited(t, func(s *site) {
		for range 5 {
			publish(t, s.log)
			appendMark(t, s.log, events.Mark{Time: time.Now()}) // as they were written then
		}
		s.options.Full = 10 * time.Minute
		a, _ := s.start()
		pass(10 * time.Second)
		s.clean(a)
		s.write(3)
		pass(10 * time.Second)
		s.clean(a)
		if got := s.state(); got.Upto() != s.head()-1 || len(got.Good) != 3 {
			t.Errorf("%+v", got)
		}
		s.log.StoreRaw("ctl.us.mark", nil, []byte("junk"))
		s.write(2)
		pass(10 * time.Second)
		s.clean(a)
		if got := s.state(); got.Upto() != s.head()-1 {
			t.Errorf("after one that nobody can read: %+v", got)
		}
		s.log.Skip(3)
		pass(15 * time.Minute)
		s.want(a, marks.Hole, 3, true)
	})
}

// TestRecordsThatNoMarkCoversAreRead: what is wrong may be why there is no mark.
func TestRecordsThatNoMarkCoversAreRead(t *testing.T) {
	audited(t, func(s *site) {
		s.write(2)
		a, _ := s.start()
		pass(10 * time.Second)
		for range 5 {
			publish(t, s.log)
		}
		s.log.FlipBit(16)
		if err := marks.New(s.log, marks.Options{Interval: 1}).Write(t.Context()); !errors.Is(err, events.ErrDamaged) {
			t.Fatal(err)
		}
		pass(10 * time.Minute)
		s.want(a, marks.Altered, 16, true)
	})
}

// TestAnAuditGoesOnWhereItWas: a process that begins to audit checks what is new first, and then everything.
func TestAnAuditGoesOnWhereItWas(t *testing.T) {
	audited(t, func(s *site) {
		s.write(4)
		_, stop := s.start()
		pass(10 * time.Second)
		stop()
		s.write(1)
		reads := &counted{Reader: s.log}
		s.seen = reads
		a, _ := s.start()
		pass(10 * time.Second)
		s.clean(a)
		if len(reads.from) < 2 || reads.from[0] != 25 || reads.from[1] != 1 {
			t.Errorf("it read from %d", reads.from)
		}
	})
}

type counted struct {
	events.Reader
	from []uint64
}

func (c *counted) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	c.from = append(c.from, r.From)
	return c.Reader.Read(ctx, r)
}

// TestOneProcessReadsAndAllKnow has two processes in a region.
func TestOneProcessReadsAndAllKnow(t *testing.T) {
	audited(t, func(s *site) {
		s.write(3)
		s.options.Full = 10 * time.Minute
		one, two := &counted{Reader: s.log}, &counted{Reader: s.log}
		s.seen = one
		a, stop := s.start()
		pass(time.Second)
		s.seen = two
		b, _ := s.start()
		pass(10 * time.Second)
		s.clean(a)
		s.clean(b)
		if len(one.from) == 0 || len(two.from) != 0 {
			t.Errorf("they read from %d and %d", one.from, two.from)
		}
		stop()
		pass(10 * time.Second)
		if len(two.from) == 0 {
			t.Error("nobody goes on")
		}
		s.seen = one
		a, _ = s.start()
		pass(10 * time.Second)
		s.log.Skip(9)
		pass(15 * time.Minute)
		s.want(a, marks.Hole, 9, true)
		s.want(b, marks.Hole, 9, true)
	})
}

func TestServersThatDoNotAnswerSayNothingAboutTheLog(t *testing.T) {
	audited(t, func(s *site) {
		s.write(3)
		s.log.Unreachable(-1)
		a, _ := s.start()
		pass(time.Minute)
		if err := a.Verdict(); !errors.Is(err, events.ErrUnreachable) {
			t.Errorf("the verdict is %v", err)
		}
		s.log.Unreachable(0)
		pass(time.Minute)
		s.clean(a)
		s.kv.Fail(memstore.Fault{Op: memstore.OpKVGet})
		s.log.Unreachable(-1)
		pass(time.Minute)
		if err := a.Verdict(); err != nil {
			t.Error(err)
		}
	})
}
