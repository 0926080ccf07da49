package natstest_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/infra/natstest"
)

// failing is a test that fails, and is looked at.
type failing struct {
	testing.TB
	fatal string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// wantFatal checks how a test fails.
func wantFatal(t *testing.T, want string, test func(testing.TB)) {
	t.Helper()
	f := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(f)
	}()
	<-done
	if !strings.Contains(f.fatal, want) {
		t.Errorf("failed with %q, want %q", f.fatal, want)
	}
}

func TestAServerKeepsItsPortAndItsStoreAndAnOlderCopyCanBePutBack(t *testing.T) {
	s := natstest.Start(t)
	js := natstest.JetStream(t, natstest.Dial(t, s.ClientURL()))
	holds := func(want uint64) {
		t.Helper()
		natstest.Eventually(t, fmt.Sprint("messages: ", want), func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second) // a server that starts may not answer
			defer cancel()
			a, err := js.Stream(ctx, "A")
			return err == nil && a.CachedInfo().State.Msgs == want
		})
	}
	publish := func() {
		t.Helper()
		if _, err := js.Publish(natstest.Within(t), "a", nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.CreateStream(natstest.Within(t), jetstream.StreamConfig{Name: "A", Subjects: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	publish()
	s.Stop()
	older := s.Backup()
	s.Restart()
	holds(1)
	publish()
	s.Restart() // also while it runs
	holds(2)
	s.Options.StoreDir = older
	s.Restart()
	holds(1)
}

func TestTheStoreOfARunningServerIsNotCopied(t *testing.T) {
	wantFatal(t, "the server runs", func(tb testing.TB) { natstest.Start(tb).Backup() })
}

func TestAServerAndItsStoreAreGoneAfterTheirTest(t *testing.T) {
	var s *natstest.Server
	t.Run("test", func(t *testing.T) { s = natstest.Start(t) })
	if c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", s.Options.Port)); err == nil {
		_ = c.Close()
		t.Error("the server still listens")
	}
	if _, err := os.Stat(s.Options.StoreDir); !os.IsNotExist(err) {
		t.Errorf("the store is left: %v", err)
	}
}

func TestAClusterPlacesStreamsAtOnce(t *testing.T) {
	servers := natstest.Cluster(t, nil, func(o *server.Options) { o.MaxPayload = 2 << 20 })
	nc := natstest.Dial(t, servers[2].ClientURL())
	if n := nc.MaxPayload(); n != 2<<20 {
		t.Errorf("a message may have %d bytes", n)
	}
	s, err := natstest.JetStream(t, nc).CreateStream(natstest.Within(t), jetstream.StreamConfig{Name: "A", Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	if c := s.CachedInfo().Cluster; c == nil || c.Leader == "" || len(c.Replicas) != 2 {
		t.Errorf("the stream is at %+v", c)
	}
}

func TestAServerThatDoesNotStartFailsTheTest(t *testing.T) {
	wantFatal(t, "max_payload", func(tb testing.TB) {
		natstest.Start(tb, func(o *server.Options) { o.MaxPayload = 1 << 30 })
	})
}

func TestWhatNeverHoldsFailsTheTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wantFatal(t, "pigs fly", func(tb testing.TB) {
			natstest.Eventually(tb, "pigs fly", func() bool { return false })
		})
	})
}
