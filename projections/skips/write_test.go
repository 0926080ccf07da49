package skips

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
)

// newLog returns a log with n events about ORD, at the sequences 2 to n+1.
func newLog(t testing.TB, n int) *memlog.Log {
	t.Helper()
	log := memlog.New("us", memlog.Options{Lineage: "7f3a11d2"})
	t.Cleanup(log.Close)
	for i := range n {
		e := events.Event{ID: fmt.Sprint(i), Source: "urn:test", Type: "Landed", Entity: events.Entity{Type: "airport", ID: "ORD"}, Data: []byte("{}")}
		if _, err := log.Append(t.Context(), events.One(e, events.ExpectAny())); err != nil {
			t.Fatal(err)
		}
	}
	return log
}

func skipsOf(t testing.TB, log *memlog.Log) *List {
	t.Helper()
	l, err := Read(context.Background(), log.Copy(1<<40), "airports", 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestASkipIsWrittenOnce(t *testing.T) {
	log := newLog(t, 3)
	first, err := Write(t.Context(), log, "airports", Skip{Key: "ORD", Sequence: 2}, "no distance")
	if err != nil || first.Already || first.Position.String() != "us.7f3a11d2@1:5" {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := Write(t.Context(), log, "airports", Skip{Key: "ORD", Sequence: 2}, ""); err != nil || !again.Already || !again.Position.Equal(first.Position) {
		t.Fatalf("%+v, %v", again, err)
	}
	if _, err := Write(t.Context(), log, "airports", Skip{Key: "ORD", Sequence: 3, At: 99}, ""); err != nil {
		t.Fatal(err)
	}
	r, err := log.LastControl(t.Context(), "skip.airports")
	if want := `{"skips":[{"key":"ORD","sequence":2,"at":5},{"key":"ORD","sequence":3}]}`; err != nil || string(r.Control.Data) != want {
		t.Fatalf("%s, %v", r.Control.Data, err)
	}
	if l := skipsOf(t, log); len(l.Skips()) != 2 || l.Ignored() != nil {
		t.Fatalf("%+v", l)
	}
}

func TestWhatMakesNoSkipIsRefusedAndNothingIsWritten(t *testing.T) {
	log := newLog(t, 1)
	for _, c := range []struct {
		s      Skip
		reason string
		code   events.Code
	}{
		{Skip{Sequence: 2}, "", projections.ErrInvalidKey},
		{Skip{Key: "\xff", Sequence: 2}, "", projections.ErrInvalidKey},
		{Skip{Key: "ORD"}, "", projections.ErrInvalidSkip},
		{Skip{Key: "ORD", Sequence: 3}, "", projections.ErrInvalidSkip},
		{Skip{Key: "ORD", Sequence: 2}, strings.Repeat("x", MaxReason+1), projections.ErrInvalidSkip},
		{Skip{Key: "ORD", Sequence: 2}, "two\nlines", projections.ErrInvalidSkip},
		{Skip{Key: "ORD", Sequence: 2}, "\xff", projections.ErrInvalidSkip},
	} {
		if _, err := Write(t.Context(), log, "airports", c.s, c.reason); !errors.Is(err, c.code) {
			t.Errorf("%+v %q: %v, expected %s", c.s, c.reason, err, c.code)
		}
	}
	if info, err := log.Info(t.Context()); err != nil || info.Last != 2 {
		t.Fatalf("%+v, %v", info, err)
	}
}

func TestOverTheBoundANewVersionIsTheWay(t *testing.T) {
	log := newLog(t, 1)
	full := func(n int, key string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(`{"key":"%s%d","sequence":2}`, key, i)
		}
		return `{"skips":[` + strings.Join(list, ",") + `]}`
	}
	for name, data := range map[string]string{"many": full(MaxSkips, "k"), "long": full(250, strings.Repeat("k", 2_000))} {
		log.StoreRaw("ctl.us.skip."+name, nil, []byte(data))
		before, _ := log.Info(t.Context())
		key := strings.Repeat("n", projections.MaxKeyBytes)
		for range 12 { // the long ones fill the last bytes
			if _, err := Write(t.Context(), log, name, Skip{Key: key, Sequence: 2}, ""); err != nil {
				told, ok := errors.AsType[*events.Error](err)
				if !ok || told.Code != projections.ErrTooManySkips || !strings.Contains(told.Next, "new version") {
					t.Fatalf("%s: %v", name, err)
				}
				break
			}
			if key = key[1:]; name == "many" {
				t.Errorf("%s: a skip beyond the bound was written", name)
			}
		}
		after, _ := log.Info(t.Context())
		l, err := Read(t.Context(), log, name, after.Last)
		if err != nil || l.Ignored() != nil || len(l.Skips()) < 250 || name == "many" && before.Last != after.Last {
			t.Errorf("%s: %d skips, %+v, %v", name, len(l.Skips()), l.Ignored(), err)
		}
	}
}

func TestSkipsThatAreWrittenAtOnceAllStand(t *testing.T) {
	log := newLog(t, 12)
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			if _, err := Write(t.Context(), log, "airports", Skip{Key: "ORD", Sequence: uint64(2 + i)}, ""); err != nil { //nolint:gosec // small
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	all.Wait()
	if l := skipsOf(t, log); len(l.Skips()) != 12 || l.Ignored() != nil {
		t.Fatalf("%+v", l)
	}
}

func TestJunkUnderTheNameIsWrittenOver(t *testing.T) {
	log := newLog(t, 2)
	log.StoreRaw("ctl.us.skip.airports", nil, []byte("junk"))
	if _, err := Write(t.Context(), log, "airports", Skip{Key: "ORD", Sequence: 2}, ""); err != nil {
		t.Fatal(err)
	}
	junk := log.StoreRaw("ctl.us.skip.airports", nil, []byte(`{"skips":[]}`))
	if _, err := Write(t.Context(), log, "airports", Skip{Key: "ORD", Sequence: 3}, ""); err != nil {
		t.Fatal(err)
	}
	if l := skipsOf(t, log); len(l.Skips()) != 2 || l.Ignored() == nil || l.Ignored().Sequence != junk {
		t.Fatalf("%+v", l)
	}
}

func TestAWriteInDoubtIsResolvedByReading(t *testing.T) {
	for lost := range 3 * memlog.Attempts {
		log := newLog(t, 2)
		log.LoseReplies(lost)
		got, err := Write(t.Context(), log, "airports", Skip{Key: "ORD", Sequence: 2}, "")
		if err != nil || got.Already || got.Position.String() != "us.7f3a11d2@1:4" || len(skipsOf(t, log).Skips()) != 1 {
			t.Errorf("%d replies lost: %+v, %v", lost, got, err)
		}
	}
}

// vague is a log whose appends come to an unknown outcome, a number of times, with and without being stored.
type vague struct {
	*memlog.Log
	left   int
	stores bool
	after  func()
}

func (v *vague) Append(ctx context.Context, b events.Batch) (events.Receipt, error) {
	if v.left--; v.left < 0 {
		return v.Log.Append(ctx, b)
	}
	if v.stores {
		if _, err := v.Log.Append(ctx, b); err != nil {
			return events.Receipt{}, err
		}
	}
	if v.after != nil {
		v.after()
	}
	return events.Receipt{}, events.Errorf(events.ErrUnknownOutcome, "no answer came")
}

func TestAnAppendThatWasLostIsMadeAgain(t *testing.T) {
	for lost := range doubts + 3 {
		log := &vague{Log: newLog(t, 2), left: lost}
		_, err := Write(t.Context(), log, "airports", Skip{Key: "ORD", Sequence: 2}, "")
		if stored := lost <= doubts; stored != (err == nil) || !stored && !errors.Is(err, events.ErrUnknownOutcome) || len(skipsOf(t, log.Log).Skips()) != map[bool]int{true: 1}[stored] {
			t.Errorf("%d appends lost: %v", lost, err)
		}
	}
}

func TestADoubtThatCannotBeResolvedIsSaid(t *testing.T) {
	for _, stores := range []bool{false, true} {
		inner := newLog(t, 2)
		log := &vague{Log: inner, left: 1, stores: stores, after: func() { inner.Unreachable(-1) }}
		_, err := Write(t.Context(), log, "airports", Skip{Key: "ORD", Sequence: 2}, "")
		if code, _ := events.CodeOf(err); code != events.ErrUnknownOutcome || !strings.Contains(err.Error(), "again") {
			t.Fatal(err)
		}
		inner.Unreachable(0)
		again, err := Write(t.Context(), log, "airports", Skip{Key: "ORD", Sequence: 2}, "")
		if err != nil || again.Already != stores || len(skipsOf(t, inner).Skips()) != 1 {
			t.Errorf("%+v, %v", again, err)
		}
	}
}

func TestAnUnreachableLogIsSaidAndNothingIsWritten(t *testing.T) {
	log := newLog(t, 1)
	for n := 1; n <= 2; n++ { // the question for the head, then that for the records
		log.Unreachable(n)
		if _, err := Write(t.Context(), log, "airports", Skip{Key: "ORD", Sequence: 2}, ""); !errors.Is(err, events.ErrUnreachable) {
			t.Fatal(err)
		}
	}
	if l := skipsOf(t, log); l.Last() != 0 {
		t.Fatalf("%+v", l)
	}
}

// lagging is a copy of a log that is n records behind, and receives one more with each look.
type lagging struct {
	events.Log
	mu     sync.Mutex
	behind uint64
}

func (l *lagging) Info(ctx context.Context) (events.Info, error) {
	info, err := l.Log.Info(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	info.Last -= min(l.behind, info.Last-2)
	if l.behind > 0 {
		l.behind--
	}
	return info, err
}

func TestARegionThatIsBehindWaitsForWhatTheLeaderHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(t, 2)
		for seq := uint64(2); seq <= 3; seq++ {
			if _, err := Write(t.Context(), log, "airports", Skip{Key: "JFK", Sequence: seq}, ""); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Write(t.Context(), &lagging{Log: log, behind: 3}, "airports", Skip{Key: "ORD", Sequence: 2}, ""); err != nil {
			t.Fatal(err)
		}
		if l := skipsOf(t, log); len(l.Skips()) != 3 || l.Ignored() != nil {
			t.Fatalf("%+v", l)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Write(ctx, &lagging{Log: log, behind: 1 << 40}, "airports", Skip{Key: "LAX", Sequence: 2}, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	})
}
