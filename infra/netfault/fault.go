package netfault

import (
	"math/rand/v2"
	"time"
)

// faults is what is wrong with the wire at one moment.
type faults struct {
	cut           bool
	held          [directions]bool
	delay, jitter time.Duration
	rate          int // bytes a second and direction; 0: unbounded
	lose          [directions]func([]byte) bool
}

// Cut resets every connection, and every new one as soon as it is made, until Heal.
func (p *Proxy) Cut() {
	p.change(func(f *faults) { f.cut = true })
	p.Break()
}

// Break resets every connection that is there. New ones are carried.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropAll()
}

// Stall makes the wire half open until Heal: nothing moves in either direction and nothing is closed, even when one side closes.
// New connections are accepted and silent. Bytes that were being handed over when Stall was called may still arrive.
func (p *Proxy) Stall() {
	p.change(func(f *faults) { f.held = [directions]bool{true, true} })
}

// OneWay lets only direction d through until Heal; what is sent in the other one is held, as TCP holds what is never confirmed.
func (p *Proxy) OneWay(d Direction) {
	p.change(func(f *faults) {
		f.held = [directions]bool{}
		f.held[1-d] = true
	})
}

// Heal ends Cut, Stall and OneWay. What was held arrives, in order and complete. Delay, Rate and LoseWhen stay.
func (p *Proxy) Heal() {
	p.change(func(f *faults) { f.cut, f.held = false, [directions]bool{} })
}

// Delay makes every byte arrive d, and up to jitter more, after it was sent, in each direction, so a round trip takes at least 2d. Order is
// kept and throughput is not limited, but for a bound of 32 MiB on their way per connection and direction. Zero ends it; what is on its way
// keeps its delay. Making a connection is not delayed.
func (p *Proxy) Delay(d, jitter time.Duration) {
	p.change(func(f *faults) { f.delay, f.jitter = max(d, 0), max(jitter, 0) })
}

// Rate bounds each direction to so many bytes a second, for all connections together. 0 ends it.
func (p *Proxy) Rate(bytesPerSecond int) {
	p.change(func(f *faults) { f.rate = max(bytesPerSecond, 0) })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace = [directions]time.Time{}
}

// LoseWhen looks at what is about to be delivered in a direction, and when match returns true, that is dropped and its connection reset: an
// answer lost after the request took effect, or a request that never arrived. match gets the bytes as they come off the socket, so a
// text may be split over two calls; it may be called from several goroutines at once and must not keep or change the bytes. nil ends it.
func (p *Proxy) LoseWhen(d Direction, match func(data []byte) bool) {
	p.change(func(f *faults) { f.lose[d] = match })
}

func (p *Proxy) change(f func(*faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.faults)
	close(p.changed)
	p.changed = make(chan struct{})
}

// present returns the faults of this moment, and what is closed when they change.
func (p *Proxy) present() (faults, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults, p.changed
}

// dropAll resets the connections. The lock is held.
func (p *Proxy) dropAll() {
	for c := range p.conns {
		c.drop()
	}
}

// due returns when bytes that are read now are to be delivered, at the earliest.
func (f *faults) due(now time.Time) time.Time {
	if f.jitter > 0 {
		now = now.Add(rand.N(f.jitter)) //nolint:gosec // a jitter needs no secrecy
	}
	return now.Add(f.delay)
}

// reserve returns when n bytes may be delivered under the present rate, and counts them as delivered by then.
func (p *Proxy) reserve(d Direction, n int) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.carried[d] += int64(n)
	now := time.Now()
	if p.faults.rate == 0 {
		return now
	}
	at := p.pace[d]
	if at.Before(now) {
		at = now
	}
	at = at.Add(time.Duration(n) * time.Second / time.Duration(p.faults.rate))
	p.pace[d] = at
	return at
}
