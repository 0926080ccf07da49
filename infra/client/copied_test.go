package client_test

import (
	"errors"
	"maps"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/storetest"
)

// TestTypedReadsOfACopy goes through Redis and NATS of a region, once with a client of the region and once over its query service.
func TestTypedReadsOfACopy(t *testing.T) {
	ctx := t.Context()
	c, err := client.Open(ctx, client.Options{Source: "urn:test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	depart := func(airport string) events.Position {
		t.Helper()
		e := events.Event{Type: flights.Departed, Entity: events.Entity{Type: flights.AirportType, ID: airport}, Data: []byte(`{}`)}
		receipt, err := c.Publish(ctx, e, events.ExpectAny())
		if err != nil {
			t.Fatal(err)
		}
		return receipt.Position
	}
	at := depart("copied")
	if _, err := c.List(ctx, "airports", query.ListOptions{Options: query.Options{AtLeast: at}}); err != nil {
		t.Fatal(err)
	}
	made := storetest.MakeCopy(t, c.Region().Store(), c.Region().KV(), "airports", "before")
	later := depart("copied")
	regions, err := client.Running("", "us")
	if err != nil {
		t.Fatal(err)
	}
	far := dialAt(t, client.Config{}, regions...)
	for name, source := range map[string]client.Source{"of the region": c, "over its query service": far} {
		t.Run(name, func(t *testing.T) {
			now, _, err := client.Get[flights.Airport](ctx, source, "airports", "copied", query.Options{AtLeast: later})
			if err != nil || now.Departures != 2 {
				t.Errorf("live: %+v, %v", now, err)
			}
			then, answer, err := client.Get[flights.Airport](ctx, source, "airports", "copied", query.Options{At: "before", AtLeast: at})
			if err != nil || then.Departures != 1 || answer.At != "before" || answer.Position.String() != made.Position || answer.Generation != made.Generation {
				t.Errorf("the copy: %+v in %+v, %v", then, answer, err)
			}
			listed := uint64(0)
			for d, err := range client.All[flights.Airport](ctx, source, "airports", query.ListOptions{Options: query.Options{At: "before"}, Limit: 1}) {
				if listed++; err != nil || d.Key == "copied" && d.Document.Departures != 1 {
					t.Errorf("listed: %+v, %v", d, err)
				}
			}
			if n, err := source.Count(ctx, "airports", query.CountOptions{Options: query.Options{At: "before"}}); err != nil || n.At != "before" || n.Count != listed || n.Count != made.Documents {
				t.Errorf("counted: %+v, listed %d, %v", n, listed, err)
			}
			absent, err := source.Get(ctx, "airports", "never", query.Options{At: "before"})
			if absence, is := errors.AsType[*query.Absence](err); !is || absence.Answer.At != "before" || absent.At != "before" {
				t.Errorf("absent: %+v, %v", absent, err)
			}
			if _, err := source.Get(ctx, "airports", "copied", query.Options{At: "none"}); !errors.Is(err, projections.ErrUnknownCopy) {
				t.Errorf("of another name: %v", err)
			}
			if _, err := source.Get(ctx, "airports", "copied", query.Options{At: "before", Strong: true}); !errors.Is(err, projections.ErrInvalidQuery) {
				t.Errorf("a strong read: %v", err)
			}
			_, err = source.Get(ctx, "airports", "copied", query.Options{At: "before", AtLeast: later})
			if behind, is := errors.AsType[*query.Behind](err); !is || behind.Position.String() != made.Position {
				t.Errorf("later than the copy: %v", err)
			}
		})
	}
	storetest.DropCopy(t, c.Region().Store(), c.Region().KV(), "airports", "before")
	for _, source := range []client.Source{c, far} {
		if _, err := source.Get(ctx, "airports", "copied", query.Options{At: "before"}); !errors.Is(err, projections.ErrUnknownCopy) {
			t.Errorf("a copy that was dropped: %v", err)
		}
	}
}

func TestACopyIsLookedForInEveryRegionAndNobodyIsIllWithoutIt(t *testing.T) {
	s := newScript(t, "eu", "us")
	r := s.dial(t, client.Config{}, "eu", "us")
	s.tell("eu", fails(projections.ErrUnknownCopy))
	for range 3 {
		a, counts, err := s.get(t, r, query.Options{At: "before"})
		if err != nil || a.At != "before" || !maps.Equal(counts, map[string]int{"eu": 1, "us": 1}) {
			t.Fatalf("%+v with %v: %v", a, counts, err)
		}
	}
	s.tell("us", fails(projections.ErrUnknownCopy))
	_, counts, err := s.get(t, r, query.Options{At: "before"})
	if !errors.Is(err, projections.ErrUnknownCopy) || !maps.Equal(counts, map[string]int{"eu": 1, "us": 1}) || len(r.Well()) != 2 {
		t.Errorf("asked were %v, well are %v: %v", counts, r.Well(), err)
	}
}

// TestASessionIsNotAboutCopies: what was seen elsewhere is later than the copy, and what the copy shows is no step back.
func TestASessionIsNotAboutCopies(t *testing.T) {
	s := newScript(t, "eu", "us")
	r := s.dial(t, client.Config{Session: client.SessionStrict}, "eu", "us")
	s.tell("eu", at(9))
	if _, _, err := s.get(t, r, query.Options{}); err != nil {
		t.Fatal(err)
	}
	s.tell("eu", at(3))
	a, _, err := s.get(t, r, query.Options{At: "before"})
	if asked := s.questions("eu"); err != nil || !a.Position.Equal(position(3)) || len(asked) != 1 || asked[0].AtLeast != "" || asked[0].At != "before" {
		t.Fatalf("%+v after %+v: %v", a, asked, err)
	}
	s.tell("eu", at(99))
	if _, _, err := s.get(t, r, query.Options{At: "before"}); err != nil {
		t.Fatal(err)
	}
	s.tell("eu", from(9)) // 99 is the copy's, and nobody is asked for it
	if _, counts, err := s.get(t, r, query.Options{}); err != nil || counts["eu"] != 1 {
		t.Errorf("asked were %v: %v", counts, err)
	}
}

// TestAServiceThatKnowsNoCopiesIsNotBelieved: an answer of the live read model is none.
func TestAServiceThatKnowsNoCopiesIsNotBelieved(t *testing.T) {
	s := newScript(t, "eu")
	r := s.dial(t, once, "eu")
	s.tell("eu", func(a asked) *msg {
		a.At = nil
		return at(3)(a)
	})
	if a, _, err := s.get(t, r, query.Options{At: "before"}); !errors.Is(err, queryservice.ErrProtocol) || a.Document.Values != nil {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestAListingOfACopyIsNotBegunAnew(t *testing.T) {
	asked := 0
	p := &pages{fail: func(query.ListOptions) error {
		if asked++; asked == 3 {
			return events.Errorf(projections.ErrResync, "another copy has the name")
		}
		return nil
	}}
	if keys, err := collect(p, query.ListOptions{Options: query.Options{At: "before"}, Limit: 20}); !errors.Is(err, projections.ErrResync) || len(keys) != 40 || asked != 3 {
		t.Errorf("after %d questions: %v, %v", asked, keys, err)
	}
}
