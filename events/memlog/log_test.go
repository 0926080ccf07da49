package memlog_test

import (
	"sync"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/logtest"
	"tidemark.dev/events/memlog"
)

// wall is a broker's clock that stands still until it is moved.
type wall struct {
	mu  sync.Mutex
	now time.Time
}

func newWall() *wall { return &wall{now: time.Now()} }

func (w *wall) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *wall) Add(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func TestConformance(t *testing.T) {
	logtest.Run(t, func(t *testing.T) logtest.Subject {
		clock := newWall()
		l := memlog.New("us", memlog.Options{Now: clock.Now})
		t.Cleanup(l.Close)
		return logtest.Subject{
			Log: l, ExpireDuplicates: func() { clock.Add(events.DefaultDuplicateWindow) }, StoreRaw: l.StoreRaw, Close: l.Close,
		}
	})
}

func TestConformanceOverADisorderlyFeed(t *testing.T) {
	logtest.Run(t, func(t *testing.T) logtest.Subject {
		l := memlog.New("us", memlog.Options{})
		t.Cleanup(l.Close)
		l.Disorder(7)
		return logtest.Subject{Log: l, ExpireDuplicates: l.ForgetDuplicates, StoreRaw: l.StoreRaw, Close: l.Close}
	})
}
