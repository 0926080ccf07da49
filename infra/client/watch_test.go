package client_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/query"
)

// mirror holds what a watch tells.
type mirror struct {
	t    *testing.T
	stop context.CancelFunc
	all  sync.WaitGroup

	mu     sync.Mutex
	held   map[string]flights.Airport
	at     events.Position
	region string
	resets []error // why
	steps  int
	level  bool
	last   client.Step[flights.Airport]
	wrong  []string
	err    error
}

func follow(t *testing.T, s client.Source, o client.WatchOptions) *mirror {
	t.Helper()
	m := &mirror{t: t, held: map[string]flights.Airport{}}
	ctx, stop := context.WithCancel(t.Context())
	m.stop = stop
	if o.Heartbeat == 0 {
		o.Heartbeat = 200 * time.Millisecond
	}
	m.all.Go(func() {
		for step, err := range client.Watch[flights.Airport](ctx, s, "airports", o) {
			m.take(step, err)
		}
	})
	t.Cleanup(m.end)
	return m
}

func (m *mirror) end() {
	m.stop()
	m.all.Wait()
}

func (m *mirror) take(s client.Step[flights.Airport], err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.err = err
		return
	}
	before, _ := m.at.Point("us")
	now, _ := s.Position.Point("us")
	if now.Sequence < before.Sequence {
		m.wrong = append(m.wrong, fmt.Sprintf("%s tells %s after %s", s.Region, s.Position, m.at))
	}
	if s.Region != m.region && !s.Reset {
		m.wrong = append(m.wrong, fmt.Sprintf("it went from %s to %s without a word", m.region, s.Region))
	}
	if s.Reset {
		clear(m.held)
		m.resets = append(m.resets, s.Why)
	}
	for _, c := range s.Changes {
		if c.Deleted {
			delete(m.held, c.Key)
			continue
		}
		if c.Document.Departures < m.held[c.Key].Departures {
			m.wrong = append(m.wrong, fmt.Sprintf("%s tells %+v after %+v", s.Region, c, m.held[c.Key]))
		}
		m.held[c.Key] = c.Document
	}
	m.at, m.region, m.level, m.last = s.Position, s.Region, s.Level, s
	m.steps++
}

// reach waits until a region tells everything up to a position.
func (m *mirror) reach(region string, p events.Position) {
	m.t.Helper()
	want, _ := p.Point("us")
	eventually(m.t, "the watch in "+region+" comes to "+p.String(), func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		at, _ := m.at.Point("us")
		return m.err != nil || m.level && m.region == region && at.Sequence >= want.Sequence
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		m.t.Fatal(m.err)
	}
}

// same compares what was told with what a region has.
func (m *mirror) same(s client.Source) {
	m.t.Helper()
	want := map[string]flights.Airport{}
	for d, err := range client.All[flights.Airport](m.t.Context(), s, "airports", query.ListOptions{Limit: 7}) {
		if err != nil {
			m.t.Fatal(err)
		}
		want[d.Key] = d.Document
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !maps.Equal(m.held, want) {
		m.t.Errorf("it holds %v, want %v", m.held, want)
	}
	for _, wrong := range m.wrong {
		m.t.Error(wrong)
	}
	m.wrong = nil
}

// departs publishes departures at n airports and returns the last position.
func (m *mesh) departs(t *testing.T, n int) (at events.Position) {
	t.Helper()
	for i := range n {
		e := departed(fmt.Sprintf("A%02d", i))
		e.ID = events.NewID()
		receipt, err := m.at["us"].region.Log().Append(t.Context(), events.One(e, events.ExpectAny()))
		if err != nil {
			t.Fatal(err)
		}
		at = receipt.Position
	}
	return at
}

// TestAWatchOutlastsWhateverBreaks lets a client keep a copy of a read model by watching, and breaks what it watches.
func TestAWatchOutlastsWhateverBreaks(t *testing.T) {
	m := newMesh(t)
	c := dialAt(t, client.Config{Patience: 3 * time.Second, AttemptTimeout: patience}, m.address("eu", true), m.address("us", true), m.address("ap", true))
	eu := m.at["eu"]
	at := m.departs(t, 30)
	eventually(t, "eu has it", func() bool {
		_, err := eu.reader.List(t.Context(), "airports", query.ListOptions{Options: query.Options{AtLeast: at}})
		return err == nil
	})
	w := follow(t, c, client.WatchOptions{})
	resets := func(n int, codes ...events.Code) {
		t.Helper()
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.resets) != n {
			t.Fatalf("it began %d times: %v", len(w.resets), w.resets)
		}
		if code, _ := events.CodeOf(w.resets[n-1]); len(codes) > 0 && !slices.Contains(codes, code) {
			t.Errorf("it began again because of %v", w.resets[n-1])
		}
	}
	w.reach("eu", m.departs(t, 20))
	w.same(c)
	resets(1)

	t.Log("the query service is restarted, and the watch goes on from its token")
	eu.stop()
	at = m.departs(t, 25)
	eu.serve()
	w.reach("eu", at)
	w.same(c)
	resets(1)

	t.Log("the client's connection is cut for a moment")
	eu.front.Break()
	w.reach("eu", m.departs(t, 25))
	resets(1)

	t.Log("the read model is replaced")
	if _, err := projections.RequestReplay(t.Context(), eu.region.KV(), "airports", "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it begins again", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.resets) == 2
	})
	w.reach("eu", m.departs(t, 25))
	w.same(c)
	resets(2, projections.ErrResync)

	t.Log("the query service is gone, and another region tells everything")
	eu.stop()
	w.reach("us", m.departs(t, 35))
	w.same(c)
	resets(3, events.ErrUnreachable, "stopping")

	t.Log("what is watched now is gone, too")
	eu.serve()
	eventually(t, "eu answers again", func() bool {
		_, err := c.Get(t.Context(), "airports", "A01", query.Options{})
		return err == nil && slices.Contains(c.Well(), "eu")
	})
	m.at["us"].stop()
	w.reach("eu", m.departs(t, 35))
	w.same(c)
	resets(4, events.ErrUnreachable, "stopping")

	t.Log("its Redis is emptied")
	if err := eu.region.Wipe(t.Context()); err != nil {
		t.Fatal(err)
	}
	at = m.departs(t, 35)
	eventually(t, "it comes to what there is", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		here, _ := w.at.Point("us")
		want, _ := at.Point("us")
		return w.level && here.Sequence >= want.Sequence
	})
	w.same(c)
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Logf("%d steps, it began %d times: %v", w.steps, len(w.resets), w.resets)
}

// TestAWatchOfOnesOwnReadModels is the same over a client that has NATS and Redis.
func TestAWatchOfOnesOwnReadModels(t *testing.T) {
	c, err := client.Open(t.Context(), client.Options{Source: "urn:test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	publish := func(n int) (at events.Position) {
		for range n {
			receipt, err := c.Publish(t.Context(), departed("watched-"+events.NewID()), events.ExpectAny())
			if err != nil {
				t.Fatal(err)
			}
			at = receipt.Position
		}
		return at
	}
	publish(3)
	w := follow(t, c, client.WatchOptions{})
	w.reach("us", publish(3))
	some := follow(t, c, client.WatchOptions{Prefix: "watched-"})
	some.reach("us", publish(1))
	w.same(c)
	some.mu.Lock()
	for key := range some.held {
		if key[:8] != "watched-" {
			t.Errorf("it tells %s", key)
		}
	}
	if len(some.held) < 7 {
		t.Errorf("it told %v", some.held)
	}
	token := some.last
	some.mu.Unlock()
	some.end()

	key := "watched-" + events.NewID()
	receipt, err := c.Publish(t.Context(), departed(key), events.ExpectAny())
	if err != nil {
		t.Fatal(err)
	}
	rest := follow(t, c, client.WatchOptions{From: token.Token, Region: token.Region})
	rest.mu.Lock()
	rest.region = "us"
	rest.mu.Unlock()
	rest.reach("us", receipt.Position)
	rest.mu.Lock()
	if len(rest.held) != 1 || rest.held[key].Departures != 1 || len(rest.resets) != 0 {
		t.Errorf("it goes on with %v after %v", rest.held, rest.resets)
	}
	rest.mu.Unlock()
	if _, err := projections.RequestReplay(t.Context(), c.Region().KV(), "airports", "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it begins again", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.resets) == 2 && errors.Is(w.resets[1], projections.ErrResync)
	})
	w.reach("us", publish(1))
	w.same(c)
	type other struct{ Name string }
	for _, err := range client.Watch[other](t.Context(), c, "airports", client.WatchOptions{}) {
		if !errors.Is(err, projections.ErrInvalidQuery) {
			t.Errorf("documents of another type: %v", err)
		}
	}
	for _, err := range client.Watch[flights.Airport](t.Context(), c, "ships", client.WatchOptions{}) {
		if !errors.Is(err, projections.ErrUnknownProjection) {
			t.Errorf("got %v", err)
		}
	}
}

func TestAWatchThatNobodyAnswersOrThatIsWrongEndsWithAReason(t *testing.T) {
	s := newScript(t, "eu", "us")
	r := s.dial(t, client.Config{Patience: 200 * time.Millisecond, AttemptTimeout: 50 * time.Millisecond}, "eu", "us")
	watch := func(r *client.Regions, ctx context.Context) (steps int, last error) {
		for _, err := range r.Watch(ctx, "airports", client.WatchOptions{}) {
			if last = err; err == nil {
				steps++
			}
		}
		return steps, last
	}
	s.tell("eu", silent)
	s.tell("us", silent)
	if steps, err := watch(r, t.Context()); steps > 0 || !errors.Is(err, events.ErrUnreachable) {
		t.Errorf("%d steps, %v", steps, err)
	}
	s.tell("eu", fails(projections.ErrUnknownProjection))
	s.tell("us", fails(projections.ErrUnknownProjection))
	if steps, err := watch(r, t.Context()); steps > 0 || !errors.Is(err, projections.ErrUnknownProjection) {
		t.Errorf("%d steps, %v", steps, err)
	}
	s.tell("eu", silent)
	s.tell("us", silent)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if steps, err := watch(s.dial(t, client.Config{}, "eu", "us"), ctx); steps > 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%d steps, %v", steps, err)
	}
	closed := s.dial(t, client.Config{}, "eu", "us")
	time.AfterFunc(20*time.Millisecond, func() { _ = closed.Close() })
	if steps, err := watch(closed, t.Context()); steps > 0 || !errors.Is(err, events.ErrClosed) {
		t.Errorf("%d steps, %v", steps, err)
	}
}
