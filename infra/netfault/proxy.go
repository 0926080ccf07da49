package netfault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Bounds of a proxy.
const (
	// MaxConnections is how many connections a proxy carries at once. One more is reset.
	MaxConnections = 1_024
	// dialTimeout bounds how long a new connection waits for the target to accept it.
	dialTimeout = 5 * time.Second
	// acceptPause is how long the proxy waits after it could not accept, which happens when the process has no file descriptor left.
	acceptPause = 10 * time.Millisecond
)

// Direction is a way through the proxy.
type Direction uint8

// The two directions.
const (
	// ToTarget is from whoever connected to the target.
	ToTarget Direction = iota
	// FromTarget is from the target to whoever connected.
	FromTarget

	directions = 2
)

// String returns to-target or from-target.
func (d Direction) String() string {
	if d == ToTarget {
		return "to-target"
	}
	return "from-target"
}

// Options adjusts a Proxy. The zero value works.
type Options struct {
	// Listen is where to listen: a host:port of this machine's loopback. Empty means a free port of 127.0.0.1.
	Listen string
}

// Proxy forwards TCP connections to a target, and breaks them when told to. A fault holds for the connections that are there and for new ones.
// All methods may be called at any time from any goroutine.
type Proxy struct {
	listener net.Listener
	ctx      context.Context // ends with Close
	stop     context.CancelFunc
	all      sync.WaitGroup // accept, and every goroutine of every connection

	mu      sync.Mutex
	target  string
	faults  faults
	changed chan struct{} // closed at every change of faults
	conns   map[*conn]struct{}
	carried [directions]int64
	pace    [directions]time.Time // when the next bytes may be written, if the rate is bounded
}

// New starts a proxy to target, a host:port that need not answer yet. Close it.
func New(target string, o Options) (*Proxy, error) {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	addr, err := net.ResolveTCPAddr("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("netfault: %q is no address to listen on: %w", o.Listen, err)
	}
	if !addr.IP.IsLoopback() {
		return nil, fmt.Errorf("netfault: %q is not on this machine's loopback; nothing was started", o.Listen)
	}
	l, err := net.ListenTCP("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("netfault: listening: %w", err)
	}
	p := &Proxy{listener: l, target: target, changed: make(chan struct{}), conns: map[*conn]struct{}{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.all.Go(p.accept)
	return p, nil
}

// Addr returns the host:port to connect to instead of the target.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetTarget sends new connections to another host:port, for example that of a restarted server. Present ones stay where they are.
func (p *Proxy) SetTarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Connections returns how many connections there are, the silent ones of a stalled proxy too.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Carried returns how many bytes have been delivered in a direction.
func (p *Proxy) Carried(d Direction) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.carried[d]
}

// Close drops every connection, stops listening, and returns when no goroutine of the proxy runs any more. It may be called again.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.stop()
	_ = p.listener.Close()
	p.dropAll()
	p.mu.Unlock()
	p.all.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err == nil {
			p.take(client)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		pause := time.NewTimer(acceptPause)
		select {
		case <-pause.C:
		case <-p.ctx.Done():
			pause.Stop()
			return
		}
	}
}

// take begins to carry a connection, or resets it.
func (p *Proxy) take(client net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil || p.faults.cut || len(p.conns) >= MaxConnections {
		reset(client)
		return
	}
	c := newConn(p, client)
	p.conns[c] = struct{}{}
	p.all.Go(c.run)
}

// reset closes a connection so that its peer notices at once and gets an error rather than an end of data.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
