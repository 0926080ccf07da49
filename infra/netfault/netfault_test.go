package netfault

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// patience bounds every wait; nothing waits that long when all is well.
	patience = 20 * time.Second
	// moment is how long a test looks whether something that must not arrive does.
	moment = 50 * time.Millisecond
)

// echo is a target that sends back what it gets, and ends when its peer does.
func echo(t *testing.T, prefix string) string {
	t.Helper()
	return serve(t, func(c net.Conn) {
		_, _ = io.WriteString(c, prefix)
		_, _ = io.Copy(c, c)
	})
}

func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

func start(t *testing.T, target string) *Proxy {
	t.Helper()
	p, err := New(target, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// dial connects through the proxy. It is registered after the proxy, so that it closes before.
func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", p.Addr(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn, want string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("heard %q (%v), want %q", got[:n], err, want)
	}
}

func silent(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(moment))
	n, err := c.Read(make([]byte, 1))
	if timeout, ok := errors.AsType[net.Error](err); n != 0 || !ok || !timeout.Timeout() {
		t.Fatalf("heard %d bytes (%v), want silence", n, err)
	}
}

func broken(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, c)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		t.Fatal("the connection is still there")
	}
}

// refused fails the test unless a new connection breaks, while it is made or right after.
func refused(t *testing.T, p *Proxy) {
	t.Helper()
	if c, err := net.DialTimeout("tcp", p.Addr(), patience); err == nil {
		defer c.Close()
		broken(t, c)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
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

func TestAWholeWireCarriesEverythingInOrderAndEndsInPeace(t *testing.T) {
	p := start(t, echo(t, ""))
	c := dial(t, p)
	sent := random(4 << 20)
	var heard []byte
	var done sync.WaitGroup
	done.Go(func() { heard, _ = io.ReadAll(c) })
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil { // the target hears the end and still answers
		t.Fatal(err)
	}
	done.Wait()
	if !bytes.Equal(heard, sent) {
		t.Fatalf("%d bytes came back, %d were sent, or they differ", len(heard), len(sent))
	}
	eventually(t, "the connection is gone", func() bool { return p.Connections() == 0 })
	if p.Carried(ToTarget) != int64(len(sent)) || p.Carried(FromTarget) != int64(len(sent)) {
		t.Errorf("carried %d and %d of %d", p.Carried(ToTarget), p.Carried(FromTarget), len(sent))
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func TestCutDropsWhatIsThereAndRefusesWhatIsNewUntilHealed(t *testing.T) {
	p := start(t, echo(t, ""))
	c := dial(t, p)
	say(t, c, "a")
	hear(t, c, "a")
	p.Cut()
	broken(t, c)
	refused(t, p)
	p.Heal()
	c = dial(t, p)
	say(t, c, "b")
	hear(t, c, "b")
}

func TestBreakDropsOnlyWhatIsThere(t *testing.T) {
	p := start(t, echo(t, ""))
	c := dial(t, p)
	say(t, c, "a")
	hear(t, c, "a")
	p.Break()
	broken(t, c)
	c = dial(t, p)
	say(t, c, "b")
	hear(t, c, "b")
}

func TestAStalledWireIsSilentClosesNothingAndLosesNothing(t *testing.T) {
	var met atomic.Int64
	p := start(t, serve(t, func(c net.Conn) {
		met.Add(1)
		_, _ = io.WriteString(c, "hello")
		_, _ = io.Copy(c, c)
	}))
	old := dial(t, p)
	hear(t, old, "hello")
	p.Stall()
	say(t, old, "a")
	fresh := dial(t, p)
	say(t, fresh, "b")
	silent(t, old)
	silent(t, fresh)
	eventually(t, "both are accepted", func() bool { return p.Connections() == 2 })
	if n := met.Load(); n != 1 {
		t.Errorf("the target has met %d connections", n)
	}
	p.Heal()
	hear(t, old, "a")
	hear(t, fresh, "hellob")
}

func TestACloseIsNotHeardThroughAStalledWire(t *testing.T) {
	ended := make(chan struct{})
	p := start(t, serve(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "hello")
		_, _ = io.Copy(io.Discard, c)
		close(ended)
	}))
	c := dial(t, p)
	hear(t, c, "hello")
	p.Stall()
	c.Close()
	look := time.NewTimer(moment)
	defer look.Stop()
	select {
	case <-ended:
		t.Fatal("the target heard the end")
	case <-look.C:
	}
	p.Heal()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the target never heard the end")
	}
}

func TestOneWayHoldsTheOtherDirection(t *testing.T) {
	var got atomic.Int64
	p := start(t, serve(t, func(c net.Conn) {
		b := make([]byte, 1)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			got.Add(1)
			_, _ = c.Write(b)
		}
	}))
	c := dial(t, p)
	say(t, c, "a")
	hear(t, c, "a")

	p.OneWay(ToTarget)
	say(t, c, "b")
	eventually(t, "the target gets it", func() bool { return got.Load() == 2 })
	silent(t, c)

	p.OneWay(FromTarget)
	hear(t, c, "b")
	say(t, c, "c")
	silent(t, c)
	if n := got.Load(); n != 2 {
		t.Fatalf("the target got %d bytes", n)
	}
	p.Heal()
	hear(t, c, "c")
}

func TestADelayIsLatencyInEachDirection(t *testing.T) {
	const d = 40 * time.Millisecond
	p := start(t, echo(t, ""))
	c := dial(t, p)
	p.Delay(d, 0)
	begun := time.Now()
	say(t, c, "a")
	hear(t, c, "a")
	if took := time.Since(begun); took < 2*d { // a lower bound holds on any machine
		t.Fatalf("the round trip took %s, under twice the delay", took)
	}
	p.Delay(time.Hour, 0)
	p.Delay(0, 0)
	say(t, c, "b")
	hear(t, c, "b")
}

func TestADelayDoesNotLimitThroughput(t *testing.T) {
	p := start(t, echo(t, ""))
	c := dial(t, p)
	p.Delay(time.Hour, 0)
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.Write(make([]byte, 16<<20)); err != nil { // all of it is on its way at once
		t.Fatal(err)
	}
	if n := p.Carried(ToTarget); n != 0 {
		t.Fatalf("%d bytes arrived early", n)
	}
}

func TestWithoutADelayASlowReceiverSlowsItsSender(t *testing.T) {
	stop := make(chan struct{})
	p := start(t, serve(t, func(net.Conn) { <-stop }))
	t.Cleanup(func() { close(stop) })
	c := dial(t, p)
	_ = c.SetWriteDeadline(time.Now().Add(10 * moment))
	n, err := c.Write(make([]byte, 64<<20))
	if err == nil {
		t.Fatalf("%d bytes were taken for a receiver that reads nothing", n)
	}
}

func TestARateBoundsADirection(t *testing.T) {
	p := start(t, echo(t, ""))
	c := dial(t, p)
	p.Rate(256 << 10)
	begun := time.Now()
	sent := random(64 << 10)
	say(t, c, string(sent))
	hear(t, c, string(sent))
	if took := time.Since(begun); took < 240*time.Millisecond { // a lower bound holds on any machine
		t.Fatalf("64 KiB at 256 KiB/s took %s", took)
	}
}

func TestLoseWhenDropsOneAnswerAndItsConnection(t *testing.T) {
	p := start(t, echo(t, ""))
	lost := dial(t, p)
	var once atomic.Bool
	p.LoseWhen(FromTarget, func(b []byte) bool { return bytes.Contains(b, []byte("ack")) && once.CompareAndSwap(false, true) })
	say(t, lost, "ack 1")
	broken(t, lost)
	c := dial(t, p)
	say(t, c, "ack 2")
	hear(t, c, "ack 2")
	p.LoseWhen(FromTarget, nil)
	if n := p.Carried(ToTarget); n != 10 {
		t.Errorf("%d bytes reached the target", n)
	}
}

func TestNewConnectionsFollowTheTarget(t *testing.T) {
	p := start(t, echo(t, "one"))
	old := dial(t, p)
	hear(t, old, "one")
	p.SetTarget(echo(t, "two"))
	hear(t, dial(t, p), "two")
	say(t, old, "still one")
	hear(t, old, "still one")
}

func TestATargetThatIsNotThereResetsTheConnection(t *testing.T) {
	refused(t, start(t, "127.0.0.1:1"))
}

func TestATargetThatDiesIsNoticed(t *testing.T) {
	p := start(t, serve(t, func(c net.Conn) { reset(c) }))
	refused(t, p)
	eventually(t, "the connection is gone", func() bool { return p.Connections() == 0 })
}

func TestNothingIsLostOrReorderedByFaultsThatPass(t *testing.T) {
	p := start(t, echo(t, ""))
	sent := random(8 << 20)
	want := sha256.Sum256(sent)
	var all sync.WaitGroup
	for range 3 {
		c := dial(t, p)
		all.Go(func() {
			_, _ = c.Write(sent)
			_ = c.(*net.TCPConn).CloseWrite()
		})
		all.Go(func() {
			_ = c.SetReadDeadline(time.Now().Add(patience))
			heard, err := io.ReadAll(c)
			if err != nil || sha256.Sum256(heard) != want {
				t.Errorf("%d of %d bytes came back, or they differ (%v)", len(heard), len(sent), err)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	faults := []func(){
		p.Stall, func() { p.OneWay(ToTarget) }, func() { p.OneWay(FromTarget) }, func() { p.Delay(time.Millisecond, 3*time.Millisecond) },
		func() { p.Delay(0, 0) }, func() { p.Rate(64 << 20) }, func() { p.Rate(0) },
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		case <-tick.C:
			if i%2 == 0 {
				faults[i/2%len(faults)]()
			} else {
				p.Heal()
			}
		}
	}
}

func TestCloseEndsEveryGoroutineWhateverTheFault(t *testing.T) {
	target := echo(t, "hello")
	before := runtime.NumGoroutine()
	for _, fault := range []func(*Proxy){
		func(*Proxy) {}, (*Proxy).Stall, (*Proxy).Cut, func(p *Proxy) { p.OneWay(ToTarget) }, func(p *Proxy) { p.Delay(time.Hour, 0) }, func(p *Proxy) { p.Rate(1) },
	} {
		p, err := New(target, Options{})
		if err != nil {
			t.Fatal(err)
		}
		c := dial(t, p)
		hear(t, c, "hello")
		fault(p)
		_, _ = c.Write(make([]byte, 100<<10))
		if c, err := net.Dial("tcp", p.Addr()); err == nil {
			defer c.Close()
		}
		p.Close()
		p.Close()
		if n := p.Connections(); n != 0 {
			t.Errorf("%d connections", n)
		}
		if _, err := net.Dial("tcp", p.Addr()); err == nil {
			t.Error("a closed proxy listens")
		}
	}
	eventually(t, "the goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestAProxyListensOnLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "no address"} {
		if p, err := New("127.0.0.1:1", Options{Listen: address}); err == nil {
			p.Close()
			t.Errorf("it listens on %q", address)
		}
	}
}
