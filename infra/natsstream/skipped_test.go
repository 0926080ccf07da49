package natsstream

import (
	"bytes"
	"net"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsread"
	"tidemark.dev/infra/natstest"
)

// dropping is a connection on which a client does not hear some messages: what comes for a subscription that it does not know, it drops.
type dropping struct {
	net.Conn
	hide func(data []byte)
}

func (c *dropping) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.hide(b[:n])
	return n, err
}

type dialer func(network, address string) (net.Conn, error)

func (d dialer) Dial(network, address string) (net.Conn, error) { return d(network, address) }

// TestASkippedMessageIsNoticedAndFetched lets every consumer leave one message out, as was seen when a reader fell behind: the stream must not be believed to have
// forgotten it. Beside it is one that the stream did forget.
func TestASkippedMessageIsNoticedAndFetched(t *testing.T) {
	server := natstest.Start(t)
	o := makeStream(t, dial(t, server.ClientURL()), nil)
	o.fill(8)
	o.publish("orders.hidden", "{}") // 9
	o.fill(5)
	o.remove(8, 10)
	var skipped atomic.Int64
	hide := func(data []byte) {
		line := []byte("MSG orders.hidden ")
		for i := 0; ; {
			at := bytes.Index(data[i:], line)
			if at < 0 {
				return
			}
			if i += at + len(line); i < len(data) && bytes.Contains(data[i:min(i+200, len(data))], []byte("$JS.ACK")) {
				data[i] = map[bool]byte{true: '8', false: '9'}[data[i] == '9'] // another subscription
				skipped.Add(1)
			}
		}
	}
	nc := dial(t, server.ClientURL(), nats.SetCustomDialer(dialer(func(network, address string) (net.Conn, error) {
		c, err := net.Dial(network, address)
		return &dropping{c, hide}, err
	})))
	s := open(t, nc)
	if got := read(t, s, events.Range{}); got != " 1 2 3 4 5 6 7 d8-8 9 d10-10 11 12 13 14" {
		t.Errorf("got %q", got)
	}
	if n := skipped.Load(); n < natsread.MaxGaps {
		t.Errorf("only %d consumers skipped it", n)
	}
	c, err := s.connected(within(t))
	if err != nil {
		t.Fatal(err)
	}
	c.gaps.most = 0 // the leader is asked instead of the list
	c.gaps.deleted = nil
	if got := read(t, s, events.Range{From: 7}); got != " 7 d8-8 9 d10-10 11 12 13 14" {
		t.Errorf("got %q", got)
	}
}
