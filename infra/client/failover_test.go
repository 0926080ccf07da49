package client_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// once is a client that asks every region once, and waits for its answer.
var once = client.Config{Patience: -1, AttemptTimeout: 5 * time.Second}

func TestItsOwnRegionIsAskedWhileItAnswers(t *testing.T) {
	s := newScript(t, "eu", "us", "ap")
	r := s.dial(t, once, "eu", "us", "ap")
	for range 10 {
		a, counts, err := s.get(t, r, query.Options{})
		if n, _ := a.Document.Field("n"); err != nil || n != "1" || !maps.Equal(counts, map[string]int{"eu": 1}) {
			t.Fatalf("%+v with %v: %v", a, counts, err)
		}
	}
	if names := r.Names(); strings.Join(names, " ") != "eu us ap" || strings.Join(r.Well(), " ") != "eu us ap" {
		t.Errorf("the regions are %v", names)
	}
}

// TestWhatARegionSaysDecidesWhetherOthersAreAsked has one row for each kind of answer.
func TestWhatARegionSaysDecidesWhetherOthersAreAsked(t *testing.T) {
	for _, c := range []struct {
		code  events.Code
		elses bool
	}{
		{projections.ErrNoDocument, false}, {projections.ErrUnknownProjection, false}, {projections.ErrInvalidKey, false}, {projections.ErrInvalidQuery, false},
		{projections.ErrInvalidCursor, false}, {projections.ErrResync, false}, {events.ErrInvalidPosition, false}, {events.ErrLostPosition, false}, {events.ErrTooLarge, false},
		{projections.ErrUnavailable, true}, {projections.ErrStoreUnreachable, true}, {events.ErrUnreachable, true}, {events.ErrOverloaded, true}, {events.ErrForeignHistory, true},
		{projections.ErrDocumentDamaged, true}, {"stopping", true}, {"timed-out", true}, {"internal", true}, {"something-new", true}, {projections.ErrNotReached, true},
	} {
		t.Run(string(c.code), func(t *testing.T) {
			s := newScript(t, "eu", "us", "ap")
			r := s.dial(t, once, "eu", "us", "ap")
			s.tell("eu", fails(c.code, 7))
			a, counts, err := s.get(t, r, query.Options{})
			if c.elses {
				if err != nil || a.Position.String() != position(1).String() || !maps.Equal(counts, map[string]int{"eu": 1, "us": 1}) {
					t.Fatalf("%+v with %v: %v", a, counts, err)
				}
				s.tell("us", fails(c.code, 8))
				s.tell("ap", fails(c.code, 9))
				_, _, err = s.get(t, r, query.Options{})
				if got, _ := events.CodeOf(err); got != c.code {
					t.Errorf("when all say it, it is %v", err)
				}
				return
			}
			if got, _ := events.CodeOf(err); got != c.code || !maps.Equal(counts, map[string]int{"eu": 1}) || !a.Position.Equal(position(7)) || a.Region != "eu" {
				t.Fatalf("%+v with %v: %v", a, counts, err)
			}
			if absence, is := errors.AsType[*query.Absence](err); is != (c.code == projections.ErrNoDocument) || is && !absence.Answer.Position.Equal(position(7)) {
				t.Errorf("the error is %+v", err)
			}
		})
	}
}

func TestARegionThatIsNotThereOrSilentIsPassedOver(t *testing.T) {
	const attempt = 2 * time.Second // far more than an answer takes, and not long for the silent region's
	for name, absent := range map[string]bool{"not there": true, "silent": false} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, "us", "ap")
			if !absent {
				s.start(t, "eu")
				s.tell("eu", silent)
			}
			r := s.dial(t, client.Config{AttemptTimeout: attempt}, "eu", "us", "ap")
			a, counts, err := s.get(t, r, query.Options{})
			delete(counts, "eu")
			if err != nil || !maps.Equal(counts, map[string]int{"us": 1}) || a.Document.Values == nil {
				t.Fatalf("%+v with %v: %v", a, counts, err)
			}
			if strings.Join(r.Well(), " ") != "us ap" {
				t.Errorf("well are %v", r.Well())
			}
			if !absent {
				for _, q := range s.questions("eu") {
					if q.timeout <= 0 || q.timeout > attempt {
						t.Errorf("the region was told that the asker waits %s", q.timeout)
					}
				}
			}
			// While it does not answer nobody waits for it: it is looked at beside the reads.
			for range 20 {
				if _, counts, err = s.get(t, r, query.Options{}); err != nil || counts["us"] != 1 || counts["eu"] > 1 {
					t.Fatalf("%v: %v", counts, err)
				}
			}
			// And when it is back, it is the one that is asked.
			if absent {
				s.start(t, "eu")
			}
			s.tell("eu", at(1))
			eventually(t, "reads are at home", func() bool {
				_, counts, err := s.get(t, r, query.Options{})
				return err == nil && maps.Equal(counts, map[string]int{"eu": 1})
			})
		})
	}
}

func TestAReadModelThatIsBeingBuiltSendsItsOwnReadsElsewhereAndNoOthers(t *testing.T) {
	s := newScript(t, "eu", "us")
	r := s.dial(t, once, "eu", "us")
	s.tell("eu", func(a asked) *nats.Msg {
		if a.Projection == "airports" {
			return fails(projections.ErrUnavailable)(a)
		}
		return at(1)(a)
	})
	for range 10 {
		if _, counts, err := s.get(t, r, query.Options{}); err != nil || counts["us"] != 1 {
			t.Fatalf("%v: %v", counts, err)
		}
		s.questions("us")
		if _, err := r.Get(t.Context(), "routes", "ORD", query.Options{}); err != nil || len(s.questions("us")) != 0 {
			t.Fatalf("another read model is read elsewhere, too: %v", err)
		}
	}
}

func TestWhenNobodyAnswersEveryRegionsWordIsTold(t *testing.T) {
	s := newScript(t, "us", "ap")
	s.tell("us", fails(projections.ErrUnavailable))
	s.tell("ap", fails(events.ErrOverloaded))
	r := s.dial(t, client.Config{Patience: 3 * time.Second}, "eu", "us", "ap")
	_, counts, err := s.get(t, r, query.Options{})
	if code, _ := events.CodeOf(err); code != events.ErrUnreachable || counts["us"] < 2 || counts["ap"] < 2 {
		t.Errorf("after %v: %v", counts, err)
	}
	for _, part := range []string{"eu: ", "nobody there answers", "us: it was told to", "ap: it was told to"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	if _, counts, err = s.get(t, s.dial(t, once, "eu", "us", "ap"), query.Options{}); err == nil || counts["us"] != 1 || counts["ap"] != 1 {
		t.Errorf("without patience: %v: %v", counts, err)
	}
	time.AfterFunc(100*time.Millisecond, func() { s.tell("ap", at(1)) })
	if _, _, err = s.get(t, s.dial(t, client.Config{Patience: patience}, "eu", "us", "ap"), query.Options{}); err != nil {
		t.Errorf("with patience: %v", err)
	}
}

func TestTheCallersTimeIsKeptAndSaysNothingAboutTheRegion(t *testing.T) {
	s := newScript(t, "eu", "us")
	s.tell("eu", silent)
	r := s.dial(t, client.Config{AttemptTimeout: patience}, "eu", "us")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Get(ctx, "airports", "ORD", query.Options{}); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, events.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	gone, leave := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, leave)
	if _, err := r.Get(gone, "airports", "ORD", query.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if strings.Join(r.Well(), " ") != "eu us" {
		t.Errorf("well are %v", r.Well())
	}
}

func TestAPositionThatOneRegionDoesNotReachIsLookedForInTheOthersWithoutWaitingAgain(t *testing.T) {
	s := newScript(t, "eu", "us", "ap")
	s.tell("eu", from(5))
	s.tell("us", from(6))
	s.tell("ap", from(9))
	r := s.dial(t, client.Config{}, "eu", "us", "ap")
	a, err := r.Get(t.Context(), "airports", "ORD", query.Options{AtLeast: position(8), Wait: 3 * time.Second})
	if err != nil || !a.Position.Equal(position(9)) {
		t.Fatalf("%+v, %v", a, err)
	}
	for name, wait := range map[string]string{"eu": "3s", "us": "0s", "ap": "0s"} {
		if q := s.questions(name); len(q) != 1 || q[0].Wait != wait || q[0].AtLeast != position(8).String() {
			t.Errorf("%s was asked %+v", name, q)
		}
	}
	a, err = r.Get(t.Context(), "airports", "ORD", query.Options{AtLeast: position(99)})
	behind, is := errors.AsType[*query.Behind](err)
	if !is || !behind.Position.Equal(position(5)) || !errors.Is(err, projections.ErrNotReached) || !a.Position.Equal(position(5)) {
		t.Errorf("%+v, %v", a, err)
	}
	for name := range s.say {
		if q := s.questions(name); len(q) != 1 {
			t.Errorf("%s was asked %d times", name, len(q))
		}
	}
	if strings.Join(r.Well(), " ") != "eu us ap" {
		t.Errorf("well are %v", r.Well())
	}
}

func TestAClosedClientSaysSoAndLeavesNobodyWaiting(t *testing.T) {
	s := newScript(t, "eu")
	s.tell("eu", silent)
	r := s.dial(t, client.Config{AttemptTimeout: patience}, "eu")
	var reads sync.WaitGroup
	for range 10 {
		reads.Go(func() {
			if _, err := r.Get(context.Background(), "airports", "ORD", query.Options{}); err == nil {
				t.Error("it was answered")
			}
		})
	}
	eventually(t, "all are under way", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.heard["eu"]) >= 10
	})
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	reads.Wait()
	if _, err := r.Get(t.Context(), "airports", "ORD", query.Options{}); !errors.Is(err, events.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Publish(t.Context(), events.Event{}, events.ExpectAny()); !errors.Is(err, events.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestAnAnswerThatCannotBeReadIsNoAnswer(t *testing.T) {
	for name, change := range map[string]func(*nats.Msg){
		"no JSON":       func(m *nats.Msg) { m.Data = []byte("{") },
		"no position":   func(m *nats.Msg) { m.Header.Set(queryservice.HeaderPosition, "there") },
		"no generation": func(m *nats.Msg) { m.Header.Set(queryservice.HeaderGeneration, "x") },
		"no lag":        func(m *nats.Msg) { m.Header.Set(queryservice.HeaderLag, "much") },
		"no document":   func(m *nats.Msg) { m.Data = []byte(`{"document":7}`) },
		"another problem": func(m *nats.Msg) {
			m.Header.Set(queryservice.HeaderErrorCode, "no-document")
			m.Data = []byte(`{"code":"unavailable"}`)
		},
		"a problem of nobody": func(m *nats.Msg) { m.Header.Set(queryservice.HeaderErrorCode, "no-document"); m.Data = nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, "eu", "us")
			r := s.dial(t, once, "eu", "us")
			s.tell("eu", func(a asked) *nats.Msg { m := at(1)(a); change(m); return m })
			if _, counts, err := s.get(t, r, query.Options{}); err != nil || counts["us"] != 1 {
				t.Errorf("%v: %v", counts, err)
			}
			s.tell("us", s.say["eu"])
			_, _, err := s.get(t, r, query.Options{})
			if code, _ := events.CodeOf(err); code != queryservice.ErrProtocol {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAClientThatCannotBeIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		regions []region.Config
		code    events.Code
	}{
		"no region":    {nil, projections.ErrInvalidQuery},
		"no address":   {[]region.Config{{Name: "us"}}, projections.ErrInvalidQuery},
		"a name twice": {[]region.Config{{Name: "us", NATS: "nats://127.0.0.1:1"}, {Name: "us"}}, projections.ErrInvalidQuery},
		"a bad name":   {[]region.Config{{Name: "u.s", NATS: "nats://127.0.0.1:1"}}, events.ErrInvalidEvent},
		"a bad URL":    {[]region.Config{{Name: "us", NATS: "nats://127.0.0.1:x"}}, events.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := client.Dial(t.Context(), client.Config{Regions: c.regions})
			if code, _ := events.CodeOf(err); code != c.code {
				t.Errorf("got %v", err)
			}
			if err == nil {
				_ = r.Close()
			}
		})
	}
}

func TestServersThatAreNotThereYetAreWaitedFor(t *testing.T) {
	s := newScript(t, "eu", "us")
	s.server.Stop()
	r := s.dial(t, once, "eu", "us")
	if _, err := r.Get(t.Context(), "airports", "ORD", query.Options{}); !errors.Is(err, events.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Log(t.Context()); !errors.Is(err, events.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	s.server.Restart()
	s.nc = natstest.Dial(t, s.server.ClientURL())
	s.start(t, "eu")
	eventually(t, "it answers", func() bool {
		_, err := r.Get(t.Context(), "airports", "ORD", query.Options{})
		return err == nil
	})
}

func TestRefusedCredentialsAndRightsAreToldAndNotWaitedFor(t *testing.T) {
	s := newScript(t, "eu")
	with := startServer(t, func(o *serverOptions) { o.Username, o.Password = "somebody", "secret" })
	r := dialAt(t, client.Config{AttemptTimeout: patience}, region.Config{Name: "eu", NATS: with.ClientURL()})
	eventually(t, "the credentials are said to be refused", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.Get(ctx, "airports", "ORD", query.Options{})
		return errors.Is(err, events.ErrUnauthorized)
	})
	// One of several regions that does not let us in is passed over.
	r = dialAt(t, once, region.Config{Name: "ap", NATS: with.ClientURL()}, region.Config{Name: "eu", NATS: s.server.ClientURL()})
	if a, err := r.Get(t.Context(), "airports", "ORD", query.Options{}); err != nil || !a.Position.Equal(position(1)) {
		t.Errorf("%+v, %v", a, err)
	}
}
