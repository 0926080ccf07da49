package netfault

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// chunkBytes is what is read, delayed and delivered at once.
	chunkBytes = 32 << 10
	// plainBytes bounds what a direction of a connection holds when there is no delay: little, so that a slow receiver still slows its sender.
	plainBytes = 256 << 10
	// delayedBytes bounds it when there is one: enough for 1 Gbit/s at a delay of 250 ms.
	delayedBytes = 32 << 20
)

// conn is one connection through the proxy:
//
//	client ─▶ read ─▶ queue ─▶ write ─▶ target     one pipe, two goroutines
//	client ◀─ write ◀─ queue ◀─ read ◀─ target     another
type conn struct {
	proxy  *Proxy
	client net.Conn
	ctx    context.Context // ends when the connection does
	cancel context.CancelFunc

	mu     sync.Mutex
	target net.Conn // nil until it is dialled
	over   bool
}

func newConn(p *Proxy, client net.Conn) *conn {
	c := &conn{proxy: p, client: client}
	c.ctx, c.cancel = context.WithCancel(p.ctx)
	return c
}

// run carries the connection to its end.
func (c *conn) run() {
	defer func() {
		c.drop()
		c.proxy.mu.Lock()
		defer c.proxy.mu.Unlock()
		delete(c.proxy.conns, c)
	}()
	if !c.connect() {
		return
	}
	there := &pipe{conn: c, d: ToTarget, from: c.client, to: c.target, queue: newQueue()}
	back := &pipe{conn: c, d: FromTarget, from: c.target, to: c.client, queue: newQueue()}
	c.proxy.all.Go(there.read)
	c.proxy.all.Go(back.read)
	var both sync.WaitGroup
	both.Go(there.write)
	both.Go(back.write)
	both.Wait()
	c.finish()
}

// connect dials the target. On a stalled wire it waits: the client's connection is accepted and silent.
func (c *conn) connect() bool {
	for {
		f, changed := c.proxy.present()
		if !f.held[ToTarget] || !f.held[FromTarget] {
			break
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			return false
		}
	}
	c.proxy.mu.Lock()
	address := c.proxy.target
	c.proxy.mu.Unlock()
	dialer := net.Dialer{Timeout: dialTimeout}
	target, err := dialer.DialContext(c.ctx, "tcp", address)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		reset(target)
		return false
	}
	c.target = target
	return true
}

// drop resets both sides. It may be called again.
func (c *conn) drop() {
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over = true
	reset(c.client)
	if c.target != nil {
		reset(c.target)
	}
}

// finish closes both sides in peace: both have sent their end, or broke on their own.
func (c *conn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over = true
	_ = c.client.Close()
	_ = c.target.Close()
}

// pipe is one direction of a connection.
type pipe struct {
	conn     *conn
	d        Direction
	from, to net.Conn
	queue    *queue
}

// read takes off the socket what arrives, and stamps it with the time of its delivery.
func (p *pipe) read() {
	buf := make([]byte, chunkBytes)
	for {
		n, err := p.from.Read(buf)
		f, _ := p.conn.proxy.present()
		due := f.due(time.Now()) // jitter reorders nothing: whatever is behind in the queue waits
		if n > 0 && !p.put(chunk{data: append([]byte(nil), buf[:n]...), due: due}) {
			return
		}
		if err != nil {
			p.put(chunk{due: due, end: err})
			return
		}
	}
}

// put waits for room.
func (p *pipe) put(c chunk) bool {
	for {
		f, changed := p.conn.proxy.present()
		most := plainBytes
		if f.delay+f.jitter > 0 {
			most = delayedBytes
		}
		if p.queue.put(c, most) {
			return true
		}
		select {
		case <-p.queue.less:
		case <-changed:
		case <-p.conn.ctx.Done():
			return false
		}
	}
}

// write delivers in order what is due, while the wire lets it.
func (p *pipe) write() {
	for {
		c, ok := p.queue.take(p.conn.ctx)
		if !ok || !p.wait(c.due) {
			return
		}
		if c.end != nil {
			p.end(c.end)
			return
		}
		if f, _ := p.conn.proxy.present(); f.lose[p.d] != nil && f.lose[p.d](c.data) {
			p.conn.drop()
			return
		}
		if at := p.conn.proxy.reserve(p.d, len(c.data)); !p.wait(at) {
			return
		}
		if _, err := p.to.Write(c.data); err != nil {
			p.discard()
			return
		}
	}
}

// wait returns when a time has come and the direction is open, or false when the connection ended.
func (p *pipe) wait(until time.Time) bool {
	for {
		f, changed := p.conn.proxy.present()
		d := time.Until(until)
		if d <= 0 && !f.held[p.d] {
			return p.conn.ctx.Err() == nil
		}
		timer := time.NewTimer(max(d, 0))
		due := timer.C
		if d <= 0 {
			due = nil
		}
		select {
		case <-due:
		case <-changed:
		case <-p.conn.ctx.Done():
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}

// end passes on that the sender sends no more: as an end of data, or, when its connection broke, by breaking the other side's.
func (p *pipe) end(err error) {
	if !errors.Is(err, io.EOF) {
		p.conn.drop()
		return
	}
	if tcp, ok := p.to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// discard takes what can no longer be delivered, so that the sender is not stuck while the receiver's last words are on their way to it.
func (p *pipe) discard() {
	p.conn.proxy.all.Go(func() {
		for {
			if c, ok := p.queue.take(p.conn.ctx); !ok || c.end != nil {
				return
			}
		}
	})
}
