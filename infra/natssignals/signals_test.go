package natssignals

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/projections"
	"tidemark.dev/projections/storetest"
)

// patience bounds every wait of a test; nothing waits that long when all is well.
const patience = 30 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, users ...*server.User) *natstest.Server {
	t.Helper()
	return natstest.Start(t, func(o *server.Options) { o.JetStream, o.Users = false, users })
}

func open(t testing.TB, s *natstest.Server, region string, o Options, options ...nats.Option) *Signals {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL(), append(options, nats.Timeout(patience))...)
	must(t, err)
	t.Cleanup(nc.Close)
	signals, err := Open(nc, region, o)
	must(t, err)
	t.Cleanup(signals.Close)
	return signals
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("in vain: %s", what)
		}
	}
}

func TestSignals(t *testing.T) {
	s := run(t)
	t.Run("of two processes", func(t *testing.T) {
		storetest.RunSignals(t, func(t *testing.T) (a, b projections.Signals) {
			return open(t, s, "us", Options{}), open(t, s, "us", Options{})
		})
	})
	t.Run("of one process", func(t *testing.T) {
		storetest.RunSignals(t, func(t *testing.T) (a, b projections.Signals) {
			x := open(t, s, "us", Options{})
			return x, x
		})
	})
}

func TestSignalsStayInTheirRegion(t *testing.T) {
	s := run(t)
	us, eu := open(t, s, "us", Options{}), open(t, s, "eu", Options{})
	heard := make(chan projections.Notice, 100)
	defer eu.Notices("airports", func(n projections.Notice) { heard <- n })()
	eventually(t, "eu hears its own", func() bool {
		us.Notify(projections.Notice{Projection: "airports", Generation: 1})
		eu.Notify(projections.Notice{Projection: "airports", Generation: 2})
		select {
		case n := <-heard:
			if n.Generation != 2 {
				t.Errorf("eu heard %+v", n)
			}
			return n.Generation == 2
		default:
			return false
		}
	})
}

func TestWhatIsNotUnderstoodIsPassedOver(t *testing.T) {
	var set projections.PartitionSet
	set.Add(3)
	good := projections.Demand{Partitions: set, Position: events.At(events.Point{Origin: "us", Lineage: "7f3a", Term: 1, Sequence: 9})}
	if got, ok := decodeDemand(encodeDemand(&good)); !ok || got.Partitions != set || !got.Position.Equal(good.Position) {
		t.Errorf("%+v, %t", got, ok)
	}
	for _, bad := range []string{
		"", " ", "1", "1 8", "2 8 us.7f3a@1:9", "1 8 us.7f3a@1:9 more", "1 x us.7f3a@1:9", "1 8 yesterday", "1 8.8.8.8.8 us.7f3a@1:9", "1  us.7f3a@1:9",
		"1 8 " + strings.Repeat("x", maxSignal),
	} {
		if d, ok := decodeDemand([]byte(bad)); ok {
			t.Errorf("%.80q is read as %+v", bad, d)
		}
	}
	for _, bad := range []string{"", "1 1 1 1", "2 1 1 1 1", "1 4294967296 1 1 1", "1 1 -1 1 1", "1 1 1 g 1", "1 1 1 1 ", "1 1 1 1 1 1"} {
		if n, ok := decodeNotice([]byte(bad)); ok {
			t.Errorf("%q is read as %+v", bad, n)
		}
	}
	if n, ok := decodeNotice([]byte("1 7 1042 8 0")); !ok || n != (projections.Notice{Generation: 7, Sequence: 1042, Moved: set}) {
		t.Errorf("%+v, %t", n, ok)
	}
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// TestTheRightsInTheReadmeSuffice, and without them nothing but speed is missing: it is said once.
func TestTheRightsInTheReadmeSuffice(t *testing.T) {
	allow := func(subjects ...string) *server.SubjectPermission { return &server.SubjectPermission{Allow: subjects} }
	s := run(t,
		&server.User{Username: "reader", Password: "x", Permissions: &server.Permissions{Publish: allow("tm.demand.us.>"), Subscribe: allow("tm.notice.us.>")}},
		&server.User{Username: "projector", Password: "x", Permissions: &server.Permissions{Publish: allow("tm.notice.us.>"), Subscribe: allow("tm.demand.us.>")}},
		&server.User{Username: "nobody", Password: "x", Permissions: &server.Permissions{Publish: allow("nothing"), Subscribe: allow("nothing")}},
	)
	var out lines
	as := func(user string) *Signals {
		return open(t, s, "us", Options{Logger: slog.New(slog.NewTextHandler(&out, nil))}, nats.UserInfo(user, "x"))
	}
	reader, worker := as("reader"), as("projector")
	demands, notices := make(chan projections.Demand, 1_000), make(chan projections.Notice, 1_000)
	defer worker.Demands("airports", func(d projections.Demand) { demands <- d })()
	defer reader.Notices("airports", func(n projections.Notice) { notices <- n })()
	eventually(t, "both are heard", func() bool {
		reader.Demand(projections.Demand{Projection: "airports"})
		worker.Notify(projections.Notice{Projection: "airports"})
		return len(demands) > 0 && len(notices) > 0
	})
	if n := out.count("not possible"); n != 0 {
		t.Errorf("%d lines: %s", n, out.text.String())
	}
	none := as("nobody")
	for _, projection := range []string{"airports", "routes"} {
		none.Demands(projection, func(projections.Demand) { t.Error("heard") })
		none.Notices(projection, func(projections.Notice) { t.Error("heard") })
	}
	eventually(t, "four rights are missed", func() bool {
		none.Demand(projections.Demand{Projection: "airports"})
		none.Notify(projections.Notice{Projection: "airports"})
		return out.count("not possible") >= 4
	})
	for range 100 {
		none.Demand(projections.Demand{Projection: "routes"})
		none.Notify(projections.Notice{Projection: "routes"})
	}
	must(t, none.nc.FlushTimeout(patience))
	if n := out.count("not possible"); n != 4 {
		t.Errorf("%d lines", n)
	}
}

// TestASignalNeverWaitsForServersThatAreGone: it is lost.
func TestASignalNeverWaitsForServersThatAreGone(t *testing.T) {
	s := run(t)
	signals := open(t, s, "us", Options{})
	s.Shutdown()
	s.WaitForShutdown()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100_000 {
			signals.Demand(projections.Demand{Projection: "airports"})
			signals.Notify(projections.Notice{Projection: "airports"})
		}
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("it waits")
	}
	stop := signals.Notices("airports", func(projections.Notice) {})
	stop()
}
