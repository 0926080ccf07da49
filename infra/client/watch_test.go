package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/infra/queryservice"
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

// watched waits until a region's read model has a position.
func (s *side) watched(at events.Position) {
	s.t.Helper()
	eventually(s.t, s.config.Region+" has it", func() bool {
		_, err := s.reader.List(s.t.Context(), "airports", query.ListOptions{Options: query.Options{AtLeast: at}})
		return err == nil
	})
}

// began waits until the watch began so often, and expects one of the codes as the reason for the last time.
func (m *mirror) began(n int, codes ...events.Code) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("it began %d times", n), func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.resets) >= n
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.resets) > n {
		m.t.Fatalf("it began %d times: %v", len(m.resets), m.resets)
	}
	if code, _ := events.CodeOf(m.resets[n-1]); len(codes) > 0 && !slices.Contains(codes, code) {
		m.t.Errorf("it began again because of %v", m.resets[n-1])
	}
}

// TestAWatchGoesOnFromItsTokenOrSaysThatItBegins has a client that is patient with its region, and breaks things there.
func TestAWatchGoesOnFromItsTokenOrSaysThatItBegins(t *testing.T) {
	m := newMesh(t)
	c := dialAt(t, client.Config{Patience: patience, AttemptTimeout: patience}, m.address("eu", true), m.address("us", true))
	eu := m.at["eu"]
	eu.watched(m.departs(t, 30))
	w := follow(t, c, client.WatchOptions{})
	w.reach("eu", m.departs(t, 20))
	w.same(c)
	w.began(1)

	t.Log("the query service is restarted")
	eu.stop()
	at := m.departs(t, 25)
	eu.serve()
	w.reach("eu", at)
	w.same(c)
	w.began(1)

	t.Log("the client's connection breaks")
	eu.front.Break()
	w.reach("eu", m.departs(t, 25))
	w.began(1)

	t.Log("the read model is replaced")
	if _, err := projections.RequestReplay(t.Context(), eu.region.KV(), "airports", "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	w.began(2, projections.ErrResync)
	w.reach("eu", m.departs(t, 25))
	w.same(c)

	t.Log("its Redis is emptied")
	if err := eu.region.Wipe(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.reach("eu", m.departs(t, 35))
	w.same(c)
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Logf("%d steps, it began %d times: %v", w.steps, len(w.resets), w.resets)
}

// TestAWatchGoesToAnotherRegion has a client that is not patient, and lets one region after the other end.
func TestAWatchGoesToAnotherRegion(t *testing.T) {
	m := newMesh(t)
	// A request that is on its way over another region's servers while the service ends is lost, so one attempt must not take all the time that there is.
	c := dialAt(t, client.Config{Patience: 500 * time.Millisecond, AttemptTimeout: 5 * time.Second}, m.address("eu", true), m.address("us", true))
	at := m.departs(t, 30)
	for _, s := range m.at {
		s.watched(at)
	}
	w := follow(t, c, client.WatchOptions{})
	w.reach("eu", at)
	m.at["eu"].stop()
	w.began(2, events.ErrUnreachable, "stopping")
	w.reach("us", m.departs(t, 35))
	w.same(c)
	m.at["eu"].serve()
	eventually(t, "eu answers again", func() bool {
		_, err := c.Get(t.Context(), "airports", "A01", query.Options{})
		return err == nil && slices.Contains(c.Well(), "eu")
	})
	w.began(2) // it stays
	m.at["us"].stop()
	w.began(3, events.ErrUnreachable, "stopping")
	w.reach("eu", m.departs(t, 35))
	w.same(c)
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

// TestThePagesThatAWatchBeginsWithAreMadeToFit: the first one does not fit.
func TestThePagesThatAWatchBeginsWithAreMadeToFit(t *testing.T) {
	s := newScript(t, "eu")
	r := s.dial(t, client.Config{}, "eu")
	p := &pages{fail: func(o query.ListOptions) error {
		if o.Limit > 60 {
			return events.Errorf(events.ErrTooLarge, "it does not fit")
		}
		return nil
	}}
	s.tell("eu", func(a asked) *msg {
		if a.Limit == 0 { // the watch
			return fails("stopping")(a)
		}
		page, err := p.List(t.Context(), "numbers", query.ListOptions{Limit: a.Limit, After: a.After})
		if err != nil {
			return fails(events.ErrTooLarge)(a)
		}
		page.Standing, page.Watch = query.Standing{Position: position(7), Generation: 1}, "token"
		text, _ := json.Marshal(page)
		return &msg{Header: nats.Header{queryservice.HeaderPosition: {position(7).String()}, queryservice.HeaderGeneration: {"1"}}, Data: text}
	})
	var keys []string
	for step, err := range client.Watch[number](t.Context(), r, "numbers", client.WatchOptions{}) {
		if err != nil || step.Reset != (len(keys) == 0) || !step.Position.Equal(position(7)) || step.Region != "eu" {
			t.Fatalf("%+v, %v", step, err)
		}
		for _, c := range step.Changes {
			keys = append(keys, c.Key)
		}
		if step.Level {
			if step.Token != "token" || !slices.Equal(keys, everyNumber()) {
				t.Errorf("%v, %s", keys, step.Token)
			}
			return
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
	r = s.dial(t, client.Config{Patience: patience, AttemptTimeout: patience}, "eu", "us")
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
