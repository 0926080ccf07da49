package memstore_test

import (
	"sync"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// buggySignals are good signals with one planted bug.
type buggySignals struct {
	*memstore.Signals
	bug   string
	stuck sync.Mutex
	heard bool
}

func (b *buggySignals) Demand(d projections.Demand) {
	switch b.bug {
	case "sets lose their end":
		d.Partitions[3] = 0
	case "sending waits for somebody":
		if d.Projection == "nobody" {
			select {}
		}
	}
	b.Signals.Demand(d)
}

func (b *buggySignals) Notify(n projections.Notice) {
	if b.bug == "what was written is what moved" {
		n.Written = n.Moved
	}
	b.Signals.Notify(n)
}

func (b *buggySignals) Demands(projection string, f func(projections.Demand)) (stop func()) {
	if b.bug != "names are prefixes" {
		return b.Signals.Demands(projection, f)
	}
	var stops []func()
	for _, name := range []string{projection, projection[:len(projection)-1], projection + "-1"} {
		stops = append(stops, b.Signals.Demands(name, f))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

func (b *buggySignals) Notices(projection string, f func(projections.Notice)) (stop func()) {
	switch b.bug {
	case "a stop is ignored":
		_ = b.Signals.Notices(projection, f)
		return func() {}
	case "one hears":
		b.stuck.Lock()
		defer b.stuck.Unlock()
		if b.heard {
			return func() {}
		}
		b.heard = true
	}
	return b.Signals.Notices(projection, f)
}
