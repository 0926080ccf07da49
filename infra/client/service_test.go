package client_test

import (
	"encoding/json"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// patience bounds every wait of these tests; nothing waits that long when all is well.
const patience = time.Minute

// script is the query services of regions that answer as they are told, on one server.
type script struct {
	server *natstest.Server
	nc     *nats.Conn

	mu    sync.Mutex
	say   map[string]func(asked) *nats.Msg // by region; nil: nobody is there
	heard map[string][]asked
}

// asked is what a region was asked.
type asked struct {
	Projection, Key, Consistency string
	AtLeast                      string `json:"at_least"`
	Wait                         string
	Limit                        int
	After                        string
	At                           any // the sequence of a mark, or the name of a copy
	timeout                      time.Duration
}

func startServer(t testing.TB, change ...func(*server.Options)) *natstest.Server {
	t.Helper()
	return natstest.Start(t, append(change, func(o *server.Options) { o.JetStream = false })...)
}

func newScript(t testing.TB, regions ...string) *script {
	t.Helper()
	s := &script{server: startServer(t), say: map[string]func(asked) *nats.Msg{}, heard: map[string][]asked{}}
	s.nc = natstest.Dial(t, s.server.ClientURL())
	for _, name := range regions {
		s.start(t, name)
	}
	return s
}

// start lets a region be there. What it says is at(1), until it is told otherwise.
func (s *script) start(t testing.TB, name string) (stop func()) {
	t.Helper()
	s.tell(name, at(1))
	sub, err := s.nc.Subscribe("q."+name+".*", func(m *nats.Msg) {
		var a asked
		_ = json.Unmarshal(m.Data, &a)
		a.timeout, _ = time.ParseDuration(m.Header.Get(queryservice.HeaderTimeout))
		s.mu.Lock()
		s.heard[name] = append(s.heard[name], a)
		say := s.say[name]
		s.mu.Unlock()
		if answer := say(a); answer != nil {
			answer.Header.Set(queryservice.HeaderRegion, name)
			_ = m.RespondMsg(answer)
		}
	})
	if err == nil {
		err = s.nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = sub.Unsubscribe()
		_ = s.nc.Flush()
	}
}

func (s *script) tell(name string, say func(asked) *nats.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say[name] = say
}

// questions returns what a region was asked since the last look.
func (s *script) questions(name string) []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.heard[name]
	delete(s.heard, name)
	return out
}

func position(sequence uint64) events.Position {
	return events.At(events.Point{Origin: "us", Lineage: "abcd", Term: 1, Sequence: sequence})
}

// at answers with a document at a position.
func at(sequence uint64) func(asked) *nats.Msg {
	return func(a asked) *nats.Msg {
		answer := query.Answer{Projection: a.Projection, Key: a.Key, Region: "?", Standing: query.Standing{Position: position(sequence), Generation: 1}}
		answer.At, _ = a.At.(string)
		answer.Document = query.Document{Fields: []projections.Field{{Name: "n", Kind: projections.KindInt}}, Values: []string{"1"}}
		text, _ := json.Marshal(answer)
		return &nats.Msg{Header: nats.Header{queryservice.HeaderPosition: {position(sequence).String()}, queryservice.HeaderGeneration: {"1"}}, Data: text}
	}
}

// from answers as a read model that is at a position: it does not reach later ones.
func from(sequence uint64) func(asked) *nats.Msg {
	return func(a asked) *nats.Msg {
		if p, err := events.ParsePosition(a.AtLeast); err != nil || !p.IsZero() && p.Points()[0].Sequence > sequence {
			return fails(projections.ErrNotReached, sequence)(a)
		}
		return at(sequence)(a)
	}
}

// fails answers with a problem.
func fails(code events.Code, sequence ...uint64) func(asked) *nats.Msg {
	return func(asked) *nats.Msg {
		p := queryservice.Problem{Code: string(code), Detail: "it was told to", Next: "Tell it otherwise."}
		m := &nats.Msg{Header: nats.Header{queryservice.HeaderErrorCode: {string(code)}, queryservice.HeaderError: {p.Detail}}}
		if len(sequence) > 0 {
			p.Position = position(sequence[0])
			m.Header.Set(queryservice.HeaderPosition, p.Position.String())
		}
		m.Data, _ = json.Marshal(p)
		return m
	}
}

// silent says nothing.
func silent(asked) *nats.Msg { return nil }

// dial returns a client of the script's regions, in their order.
func (s *script) dial(t testing.TB, c client.Config, names ...string) *client.Regions {
	t.Helper()
	for i, name := range names {
		at := region.Config{Name: name}
		if i == 0 {
			at.NATS = s.server.ClientURL()
		}
		c.Regions = append(c.Regions, at)
	}
	r, err := client.Dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// get reads a document, and returns which regions were asked how often.
func (s *script) get(t testing.TB, r *client.Regions, o query.Options) (query.Answer, map[string]int, error) {
	t.Helper()
	s.mu.Lock()
	clear(s.heard)
	s.mu.Unlock()
	a, err := r.Get(t.Context(), "airports", "ORD", o)
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for name := range maps.Keys(s.heard) {
		counts[name] = len(s.heard[name])
	}
	return a, counts, err
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come true in time that %s", what)
		}
	}
}

type (
	serverOptions = server.Options
	msg           = nats.Msg
)

func dialAt(t testing.TB, c client.Config, regions ...region.Config) *client.Regions {
	t.Helper()
	c.Regions = regions
	r, err := client.Dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}
