package natslog

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy stands between the log and its server and cuts connections at the worst moments.
type proxy struct {
	server string
	listen net.Listener

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	refuse bool

	// loseReply, when it returns true for what the server sends, drops it and cuts the connection: the request has taken effect.
	loseReply atomic.Pointer[func(data []byte) bool]
	// loseRequest does the same for what the client sends: the request never arrives.
	loseRequest atomic.Pointer[func(data []byte) bool]
	// mangle may change what the server sends, in place.
	mangle atomic.Pointer[func(data []byte)]
	cuts   atomic.Int64
	all    sync.WaitGroup
}

func startProxy(t testing.TB, serverURL string) *proxy {
	t.Helper()
	u, err := url.Parse(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{server: u.Host, conns: map[net.Conn]struct{}{}}
	if p.listen, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		_ = p.listen.Close()
		p.cut(true)
		p.all.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listen.Addr().String() }

// cut breaks all connections, and refuses new ones until it is called with false.
func (p *proxy) cut(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		p.mu.Lock()
		if err != nil || p.refuse {
			_ = client.Close()
			if err == nil {
				_ = server.Close()
			}
			p.mu.Unlock()
			continue
		}
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.all.Go(func() { p.pipe(client, server, &p.loseRequest) })
		p.all.Go(func() { p.pipe(server, client, &p.loseReply) })
	}
}

func (p *proxy) pipe(from, to net.Conn, lose *atomic.Pointer[func([]byte) bool]) {
	defer func() {
		_ = from.Close()
		_ = to.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, from)
		delete(p.conns, to)
	}()
	buf := make([]byte, 2<<10) // small, so that there are many moments to cut at
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if f := p.mangle.Load(); f != nil && lose == &p.loseReply {
				(*f)(buf[:n])
			}
			if f := lose.Load(); f != nil && (*f)(buf[:n]) {
				p.cuts.Add(1)
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err == io.EOF { //nolint:errorlint // as net returns it
				return
			}
			return
		}
	}
}

// once returns a function that is true for the first data that contains what.
func once(what string) *func([]byte) bool {
	var done atomic.Bool
	f := func(data []byte) bool {
		return bytes.Contains(data, []byte(what)) && done.CompareAndSwap(false, true)
	}
	return &f
}

// ackText is in every acknowledgement of a stored message, and in no other answer that these tests lose.
const ackText = `{"stream":"EVT_us","seq":`
