package client_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// TestASessionDoesNotGoBackWhenItChangesRegions lets a client read at 9 in another region, and its own come back at 5.
func TestASessionDoesNotGoBackWhenItChangesRegions(t *testing.T) {
	for _, c := range []struct {
		kind client.Session
		back bool
	}{{client.SessionRegions, false}, {client.SessionStrict, false}, {client.SessionNone, true}} {
		s := newScript(t, "eu", "us")
		r := s.dial(t, client.Config{Session: c.kind}, "eu", "us")
		s.tell("eu", fails(projections.ErrUnavailable))
		s.tell("us", from(9))
		if a, _, err := s.get(t, r, query.Options{}); err != nil || !a.Position.Equal(position(9)) {
			t.Fatalf("%+v, %v", a, err)
		}
		s.tell("eu", from(5))
		if c.back {
			eventually(t, "a session that remembers nothing goes back", func() bool {
				a, _, err := s.get(t, r, query.Options{})
				return err == nil && a.Position.Equal(position(5))
			})
			continue
		}
		looked := 0
		eventually(t, "it was looked at twice, and is not there yet", func() bool {
			a, counts, err := s.get(t, r, query.Options{})
			if err != nil || !a.Position.Equal(position(9)) {
				t.Fatalf("session %d: %+v, %v", c.kind, a, err)
			}
			looked += counts["eu"]
			return looked >= 2
		})
		for _, q := range s.questions("eu") {
			if q.AtLeast != position(9).String() {
				t.Errorf("eu was asked %+v", q)
			}
		}
		s.tell("eu", from(12))
		eventually(t, "it is at home again", func() bool {
			a, _, err := s.get(t, r, query.Options{})
			return err == nil && a.Position.Equal(position(12))
		})
		// What was seen in the other region is asked for from now on, and what was seen here only by a strict one.
		s.questions("eu")
		s.tell("eu", at(13))
		_, _, err := s.get(t, r, query.Options{})
		want := map[client.Session]events.Position{client.SessionRegions: position(9), client.SessionStrict: position(12)}[c.kind]
		if q := s.questions("eu"); err != nil || len(q) != 1 || q[0].AtLeast != want.String() {
			t.Errorf("session %d: eu was asked %+v, %v", c.kind, q, err)
		}
		r.Forget()
		_, _, err = s.get(t, r, query.Options{})
		if q := s.questions("eu"); err != nil || len(q) != 1 || q[0].AtLeast != "" {
			t.Errorf("session %d: afterwards eu was asked %+v, %v", c.kind, q, err)
		}
	}
}

func TestAServiceThatAnswersFromBeforeWhatWasSeenIsNotBelieved(t *testing.T) {
	s := newScript(t, "eu", "us")
	r := s.dial(t, once, "eu", "us")
	s.tell("eu", fails(projections.ErrUnavailable))
	s.tell("us", at(9))
	if _, _, err := s.get(t, r, query.Options{}); err != nil {
		t.Fatal(err)
	}
	s.tell("us", fails(projections.ErrUnavailable))
	s.tell("eu", at(5)) // whatever it is asked for
	if a, _, err := s.get(t, r, query.Options{}); err == nil {
		t.Errorf("%+v", a)
	}
}

func TestThatADocumentIsNotThereIsAlsoSomethingThatWasSeen(t *testing.T) {
	s := newScript(t, "eu", "us")
	r := s.dial(t, once, "eu", "us")
	s.tell("eu", fails(projections.ErrUnavailable))
	s.tell("us", fails(projections.ErrNoDocument, 9))
	if _, _, err := s.get(t, r, query.Options{}); !errors.Is(err, projections.ErrNoDocument) {
		t.Fatal(err)
	}
	s.tell("us", silent)
	s.tell("eu", from(5))
	eventually(t, "eu is asked for what was seen", func() bool {
		_, _, err := s.get(t, r, query.Options{})
		q := s.questions("eu")
		return err != nil && len(q) > 0 && q[len(q)-1].AtLeast == position(9).String()
	})
}

func TestTheLaterOfTwoPositionsIsAskedFor(t *testing.T) {
	s := newScript(t, "eu", "us")
	r := s.dial(t, once, "eu", "us")
	s.tell("eu", fails(projections.ErrUnavailable))
	s.tell("us", at(9))
	if _, _, err := s.get(t, r, query.Options{}); err != nil {
		t.Fatal(err)
	}
	s.tell("us", fails(projections.ErrUnavailable))
	s.tell("eu", at(20))
	other, err := events.ParsePosition("us.ffff@1:3")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ given, want events.Position }{{position(4), position(9)}, {position(15), position(15)}, {other, other}} {
		if _, _, err := s.get(t, r, query.Options{AtLeast: c.given}); err != nil {
			t.Error(err)
		}
		if q := s.questions("eu"); len(q) == 0 || q[len(q)-1].AtLeast != c.want.String() {
			t.Errorf("with %s eu was asked %+v", c.given, q)
		}
	}
	if _, _, err := s.get(t, r, query.Options{Strong: true}); err != nil {
		t.Error(err)
	}
	if q := s.questions("eu"); len(q) == 0 || q[len(q)-1].AtLeast != "" || q[len(q)-1].Consistency != "strong" {
		t.Errorf("for a strong read eu was asked %+v", q)
	}
}

// TestAHistoryThatIsLostIsToldOnceAndBeginsANewSession: the log of the installation was recreated.
func TestAHistoryThatIsLostIsToldOnceAndBeginsANewSession(t *testing.T) {
	s := newScript(t, "eu", "us")
	r := s.dial(t, once, "eu", "us")
	s.tell("eu", fails(projections.ErrUnavailable))
	if _, _, err := s.get(t, r, query.Options{}); err != nil {
		t.Fatal(err)
	}
	lost := func(a asked) *msg {
		if a.AtLeast != "" {
			return fails(events.ErrLostPosition)(a)
		}
		return at(1)(a)
	}
	s.tell("eu", lost)
	s.tell("us", silent)
	told := 0
	eventually(t, "it is told", func() bool {
		_, _, err := s.get(t, r, query.Options{})
		if errors.Is(err, events.ErrLostPosition) {
			told++
		}
		return err == nil
	})
	if told != 1 {
		t.Errorf("it was told %d times", told)
	}
}

// TestAHomeThatFollowsAfterAWhileIsReturnedToWhileOthersWrite: each answer of us is of a later position than the one before, and eu comes to any position 200 ms after it was stored. A look that does
// not wait would find it behind for ever.
func TestAHomeThatFollowsAfterAWhileIsReturnedToWhileOthersWrite(t *testing.T) {
	for _, kind := range []client.Session{client.SessionRegions, client.SessionStrict} {
		s := newScript(t, "eu", "us")
		r := s.dial(t, client.Config{Session: kind}, "eu", "us")
		var head atomic.Uint64
		s.tell("eu", fails(projections.ErrUnavailable))
		s.tell("us", func(a asked) *msg { return at(head.Add(1))(a) })
		if _, _, err := s.get(t, r, query.Options{}); err != nil {
			t.Fatal(err)
		}
		s.tell("eu", func(a asked) *msg {
			p, err := events.ParsePosition(a.AtLeast)
			if err != nil || p.IsZero() {
				return at(1)(a)
			}
			if wait, err := time.ParseDuration(a.Wait); err != nil || wait < 200*time.Millisecond {
				return fails(projections.ErrNotReached, 1)(a)
			}
			return at(p.Points()[0].Sequence)(a)
		})
		eventually(t, "reads are at home", func() bool {
			_, counts, err := s.get(t, r, query.Options{})
			return err == nil && counts["us"] == 0
		})
	}
}
