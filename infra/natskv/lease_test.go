package natskv

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/infra/natstest"
	"tidemark.dev/projections"
)

func acquire(t testing.TB, l *Leases, name, holder string) *lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := l.Acquire(ctx, name, holder)
	must(t, err)
	return got.(*lease)
}

func wantLost(t testing.TB, l projections.Lease) {
	t.Helper()
	select {
	case <-l.Context().Done():
	case <-time.After(patience):
		t.Fatal("the lease was not lost")
	}
	if cause := context.Cause(l.Context()); !errors.Is(cause, projections.ErrLeaseLost) {
		t.Fatalf("the lease ended with %v, want %s", cause, projections.ErrLeaseLost)
	}
}

// wantKept checks that the lease lasts for some time.
func wantKept(t testing.TB, l projections.Lease, d time.Duration) {
	t.Helper()
	select {
	case <-l.Context().Done():
		t.Fatalf("the lease was lost: %v", context.Cause(l.Context()))
	case <-time.After(d):
	}
}

func TestAHolderThatIsCutOffIsToldInTimeAndComesToNothingLater(t *testing.T) {
	t.Parallel()
	address := natstest.Start(t).ClientURL()
	link := &cutLink{}
	c := Config{LeaseTTL: shortTTL}
	_, a := open(t, dial(t, address, nats.SetCustomDialer(link)), c)
	_, b := open(t, dial(t, address), c)
	held := acquire(t, a, "n", "a")
	wantKept(t, held, shortTTL)

	link.cut(true)
	next := acquire(t, b, "n", "b")
	if held.Context().Err() == nil {
		t.Fatal("the name was given away before its holder was told")
	}
	wantLost(t, held)
	link.cut(false) // now the renewals arrive that were on their way
	wantKept(t, next, 2*shortTTL)
	must(t, held.Release(t.Context()))
	wantKept(t, next, shortTTL/2)
	must(t, next.Release(t.Context()))
}

// cutLink dials connections that hold everything back while it is cut, as a network does, and a stopped process.
type cutLink struct {
	mu   sync.Mutex
	open sync.Cond
	shut bool
}

func (l *cutLink) cut(shut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shut = shut
	l.cond().Broadcast()
}

func (l *cutLink) cond() *sync.Cond {
	l.open.L = &l.mu
	return &l.open
}

func (l *cutLink) pass() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.shut {
		l.cond().Wait()
	}
}

// Dial connects.
func (l *cutLink) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &cutConn{Conn: c, link: l}, err
}

type cutConn struct {
	net.Conn
	link *cutLink
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.link.pass()
	return n, err
}

func (c *cutConn) Write(b []byte) (int, error) {
	c.link.pass()
	return c.Conn.Write(b)
}

func TestALeaseSurvivesTheRestartOfTheServer(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t)
	address := s.ClientURL()
	c := Config{LeaseTTL: patience}
	kv, a := open(t, dial(t, address), c)
	_, b := open(t, dial(t, address), c)
	held := acquire(t, a, "n", "a")
	rev, err := kv.Put(t.Context(), "live.flights", []byte("1"), 0)
	must(t, err)
	got := make(chan projections.Lease, 1)
	go func() {
		l, err := b.Acquire(t.Context(), "n", "b")
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()

	s.Restart()
	eventually(t, "the values are there again", func() bool {
		e, err := kv.Get(t.Context(), "live.flights")
		return err == nil && string(e.Value) == "1" && e.Revision == rev
	})
	select {
	case <-got:
		t.Fatal("the restart gave the name away")
	default:
	}
	if err := held.Context().Err(); err != nil {
		t.Fatalf("the restart ended the lease: %v", context.Cause(held.Context()))
	}
	must(t, held.Release(t.Context()))
	next := <-got
	if next == nil || next.Token() <= held.Token() {
		t.Fatalf("the successor of %d is %v", held.Token(), next)
	}
}

func TestAWatchGoesOnAfterTheRestartOfTheServer(t *testing.T) {
	s := natstest.Start(t)
	kv, _ := open(t, dial(t, s.ClientURL()), Config{})
	rev, err := kv.Put(t.Context(), "a", []byte("1"), 0)
	must(t, err)
	seen := make(chan string, 16)
	go func() {
		for e, err := range kv.Watch(t.Context(), "a") {
			if err != nil {
				t.Error(err)
				return
			}
			seen <- string(e.Value)
		}
	}()
	if v := <-seen; v != "1" {
		t.Fatalf("the watch begins with %q", v)
	}
	s.Restart()
	eventually(t, "the server takes a value again", func() bool {
		_, err := kv.Put(t.Context(), "a", []byte("2"), rev)
		return err == nil || errors.Is(err, projections.ErrRevision)
	})
	select {
	case v := <-seen:
		if v != "2" {
			t.Fatalf("after the restart the watch yields %q", v)
		}
	case <-time.After(patience):
		t.Fatal("after the restart the watch yields nothing")
	}
}

func TestTakingOverIsForTheSameHolderAndOnlyWhenAllowed(t *testing.T) {
	address := natstest.Start(t).ClientURL()
	c := Config{LeaseTTL: patience}
	_, before := open(t, dial(t, address), c)
	held := acquire(t, before, "n", "eu")
	c.Takeover = true
	_, after := open(t, dial(t, address), c)
	waits := func(l *Leases, holder string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if got, err := l.Acquire(ctx, "n", holder); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s got %v, %v", holder, got, err)
		}
	}
	waits(before, "eu")
	waits(after, "us")
	next := acquire(t, after, "n", "eu")
	if next.Token() <= held.Token() {
		t.Fatalf("the token %d follows %d", next.Token(), held.Token())
	}
	waits(after, "us")
	if err := held.renewOnce(time.Now().Add(patience)); !errors.Is(err, projections.ErrRevision) {
		t.Fatalf("the earlier process renewed its lease: %v", err)
	}
	must(t, held.Release(t.Context()))
	wantKept(t, next, 200*time.Millisecond)
}

func TestAnEarlierProcessOfTheSameHolderLosesItsLeaseAtItsNextRenewal(t *testing.T) {
	t.Parallel()
	address := natstest.Start(t).ClientURL()
	c := Config{LeaseTTL: shortTTL, Takeover: true}
	_, l := open(t, dial(t, address), c)
	held := acquire(t, l, "n", "eu")
	next := acquire(t, l, "n", "eu")
	wantLost(t, held)
	wantKept(t, next, shortTTL)
}

// A renewal whose answer was lost leaves the key at a revision that its holder does not know.
func TestALostAnswerToARenewalIsFoundOut(t *testing.T) {
	for name, then := range map[string]func(t *testing.T, held *lease){
		"by the next renewal": func(t *testing.T, held *lease) {
			must(t, held.renewOnce(time.Now().Add(patience)))
			wantKept(t, held, 10*time.Millisecond)
		},
		"by the release": func(t *testing.T, held *lease) { must(t, held.Release(t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			_, l := open(t, dial(t, natstest.Start(t).ClientURL()), Config{LeaseTTL: patience})
			held := acquire(t, l, "n", "a")
			value, err := json.Marshal(held.mine)
			must(t, err)
			_, err = l.bucket.write(t.Context(), held.key, value, held.revision, patience)
			must(t, err)
			then(t, held)
			must(t, held.Release(t.Context()))
			next := acquire(t, l, "n", "b") // would wait half a minute if the name were not free
			if next.Token() <= held.Token() {
				t.Fatalf("the token %d follows %d", next.Token(), held.Token())
			}
		})
	}
}

func TestALostAnswerToTakingIsFoundOut(t *testing.T) {
	_, l := open(t, dial(t, natstest.Start(t).ClientURL()), Config{LeaseTTL: patience})
	mine := claim{Holder: "a", ID: "id"}
	first, _, err := l.take(t.Context(), leasePrefix+"n", mine)
	must(t, err)
	again, _, err := l.take(t.Context(), leasePrefix+"n", mine)
	must(t, err)
	if again <= first {
		t.Fatalf("the lease was taken at %d and then at %d", first, again)
	}
	if _, other, err := l.take(t.Context(), leasePrefix+"n", claim{Holder: "a", ID: "another"}); !errors.Is(err, projections.ErrRevision) || other.ID != "id" {
		t.Fatalf("somebody else found %+v, %v", other, err)
	}
}

func TestAKilledHoldersNameIsFreeAfterItsTimeToLive(t *testing.T) {
	t.Parallel()
	address := natstest.Start(t).ClientURL()
	_, a := open(t, dial(t, address), Config{LeaseTTL: shortTTL})
	key := leasePrefix + "n"
	// Taken, and never renewed: what a process leaves that was killed.
	began := time.Now()
	revision, _, err := a.take(t.Context(), key, claim{Holder: "killed", ID: "id"})
	must(t, err)
	next := acquire(t, a, "n", "b")
	if took := time.Since(began); took < shortTTL/2 {
		t.Errorf("the name was free after %s", took)
	}
	if next.Token() <= revision {
		t.Fatalf("the token %d follows %d", next.Token(), revision)
	}
}

func TestARenewalKeepsTheTimeToLive(t *testing.T) {
	t.Parallel()
	_, l := open(t, dial(t, natstest.Start(t).ClientURL()), Config{LeaseTTL: shortTTL})
	held := acquire(t, l, "n", "a")
	eventually(t, "the lease was renewed", func() bool {
		now, err := l.bucket.last(t.Context(), held.key)
		must(t, err)
		return now.revision > held.token
	})
	held.cancel(errors.New("killed"))
	<-held.renewed
	next := acquire(t, l, "n", "b")
	must(t, next.Release(t.Context()))
}
