package queryservice_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"tidemark.dev/events"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/query"
)

func TestAnyNATSClientGetsAnAnswerWithItsPosition(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{})
	nc := f.connect(t)
	at := f.depart(t, "ORD")
	m := ask(t, nc, "get", `{"projection":"airports","key":"ORD","at_least":"`+at.String()+`","wait":"20s"}`)
	var a query.Answer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		t.Fatal(err)
	}
	departures, _ := a.Document.Field("departures")
	if departures != "1" || a.Region != "us" || !a.Position.Equal(at) || m.Header.Get("Tidemark-Region") != "us" || m.Header.Get("Tidemark-Position") != at.String() ||
		m.Header.Get("Tidemark-Lag") != "0" || m.Header.Get("Tidemark-Generation") != "1" || m.Header.Get(queryservice.HeaderErrorCode) != "" {
		t.Errorf("the answer is %s with %v", m.Data, m.Header)
	}
	m = ask(t, nc, "get", `{"projection":"airports","key":"JFK"}`)
	p := wantProblem(t, m, projections.ErrNoDocument)
	if p.Position.IsZero() || m.Header.Get("Tidemark-Position") != p.Position.String() || m.Header.Get("Tidemark-Lag") == "" {
		t.Errorf("the problem is %+v with %v", p, m.Header)
	}
	f.depart(t, "JFK")
	at = f.depart(t, "LAX")
	m = ask(t, nc, "list", `{"projection":"airports","limit":2,"wait":"20s","at_least":"`+at.String()+`"}`)
	var page query.Page
	if err := json.Unmarshal(m.Data, &page); err != nil || len(page.Items) != 2 || page.Items[0].Key != "JFK" || page.Next == "" || !page.Position.Equal(at) {
		t.Errorf("the page is %s, %v", m.Data, err)
	}
	m = ask(t, nc, "list", `{"projection":"airports","limit":2,"after":"`+page.Next+`"}`)
	if err := json.Unmarshal(m.Data, &page); err != nil || len(page.Items) != 1 || page.Items[0].Key != "ORD" {
		t.Errorf("the page is %s, %v", m.Data, err)
	}
	for _, body := range []string{"", "{}", " { } "} {
		m = ask(t, nc, "status", body)
		var o query.Overview
		if err := json.Unmarshal(m.Data, &o); err != nil || o.Region != "us" || len(o.Projections) != 2 || m.Header.Get("Tidemark-Position") != "" {
			t.Errorf("the status is %s with %v, %v", m.Data, m.Header, err)
		}
	}
}

func TestMarksAreAskedFor(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{})
	nc := f.connect(t)
	f.depart(t, "ORD")
	at, err := marks.New(f.log, marks.Options{}).Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := ask(t, nc, "marks", fmt.Sprintf(`{"projection":"airports","at_least":"%s","wait":"20s","at":%d}`, at, at.Points()[0].Sequence))
	var said query.Marks
	if err := json.Unmarshal(m.Data, &said); err != nil || len(said.Marks) != 1 || said.Marks[0].Documents != 1 || said.At == nil || len(said.At.Partitions) != said.Partitions ||
		!said.Position.Equal(at) || m.Header.Get("Tidemark-Position") != at.String() || m.Header.Get("Tidemark-Generation") != "1" {
		t.Errorf("the marks are %s with %v, %v", m.Data, m.Header, err)
	}
}

func TestARequestThatIsNotUnderstoodIsRefusedWithAReason(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{})
	nc := f.connect(t)
	for _, c := range []struct {
		operation, body string
		code            events.Code
		says            string
	}{
		{"get", ``, projections.ErrInvalidQuery, "not valid JSON"},
		{"get", `null`, projections.ErrInvalidQuery, "object"},
		{"get", `[]`, projections.ErrInvalidQuery, "object"},
		{"get", `{"projection":"airports","key":"ORD"} {}`, projections.ErrInvalidQuery, "follows"},
		{"get", `{"projection":"airports","key":"ORD","key":"JFK"}`, projections.ErrInvalidQuery, "twice"},
		{"get", `{"projection":"airports","key":"ORD","at-least":"us.abcd@1:1"}`, projections.ErrInvalidQuery, `"at-least"`},
		{"get", `{"projection":"airports","Key":"ORD"}`, projections.ErrInvalidQuery, `"Key"`},
		{"get", `{"projection":"airports","key":null}`, projections.ErrInvalidQuery, "null"},
		{"get", `{"projection":"airports","key":7}`, projections.ErrInvalidQuery, "cannot be read"},
		{"get", `{"projection":"airports","key":"ORD","at_least":""}`, events.ErrInvalidPosition, "empty"},
		{"get", `{"projection":"airports","key":"ORD","at_least":"us"}`, events.ErrInvalidPosition, "us"},
		{"get", `{"projection":"airports","key":"ORD","at_least":"us.ffff@1:1"}`, events.ErrLostPosition, "us.ffff"},
		{"get", `{"projection":"airports","key":"ORD","wait":"soon"}`, projections.ErrInvalidQuery, "soon"},
		{"get", `{"projection":"airports","key":"ORD","wait":"-1s"}`, projections.ErrInvalidQuery, "-1s"},
		{"get", `{"projection":"airports","key":"ORD","wait":"2m"}`, projections.ErrInvalidQuery, "2m"},
		{"get", `{"projection":"airports","key":""}`, projections.ErrInvalidKey, ""},
		{"get", `{"projection":"airports"}`, projections.ErrInvalidKey, ""},
		{"get", `{"projection":"ships","key":"ORD"}`, projections.ErrUnknownProjection, "ships"},
		{"get", `{"projection":"*","key":"ORD"}`, projections.ErrUnknownProjection, ""},
		{"get", `{"projection":"airports","key":"ORD","after":"x"}`, projections.ErrInvalidQuery, "after"},
		{"get", `{"projection":"airports","key":"` + strings.Repeat("x", 9<<20) + `"}`, events.ErrTooLarge, ""},
		{"list", `{"projection":"airports","limit":0}`, projections.ErrInvalidQuery, "limit"},
		{"list", `{"projection":"airports","limit":1000000000}`, projections.ErrInvalidQuery, "limit"},
		{"list", `{"projection":"airports","limit":1.5}`, projections.ErrInvalidQuery, "cannot be read"},
		{"list", `{"projection":"airports","after":"*"}`, projections.ErrInvalidCursor, ""},
		{"list", `{"projection":"airports","after":""}`, projections.ErrInvalidCursor, "empty"},
		{"list", `{"projection":"airports","order":"up"}`, projections.ErrInvalidQuery, "asc and desc"},
		{"list", `{"projection":"airports","order":"desc"}`, projections.ErrInvalidQuery, ""},
		{"list", `{"projection":"airports","index":"by_size"}`, projections.ErrUnknownIndex, "by_size"},
		{"list", `{"projection":"airports","eq":["x"]}`, projections.ErrInvalidQuery, "index"},
		{"count", `{"projection":"airports","from":"x"}`, projections.ErrInvalidQuery, "index"},
		{"count", `{"projection":"airports","key":"ORD"}`, projections.ErrInvalidQuery, "key"},
		{"lookup", `{"projection":"airports"}`, projections.ErrInvalidQuery, "keys"},
		{"lookup", `{"projection":"airports","keys":[]}`, projections.ErrInvalidQuery, "keys"},
		{"lookup", `{"projection":"airports","keys":[""]}`, projections.ErrInvalidKey, ""},
		{"lookup", `{"projection":"airports","keys":["a",7]}`, projections.ErrInvalidQuery, "cannot be read"},
		{"get", `{"projection":"airports","key":"ORD","consistency":"some"}`, projections.ErrInvalidQuery, "strong"},
		{"get", `{"projection":"airports","key":"ORD","consistency":"at-least"}`, projections.ErrInvalidQuery, "at_least"},
		{"get", `{"projection":"airports","key":"ORD","consistency":"eventual","at_least":"us.abcd@1:1"}`, projections.ErrInvalidQuery, "one of them"},
		{"get", `{"projection":"airports","key":"ORD","consistency":"strong","at_least":"us.abcd@1:1"}`, projections.ErrInvalidQuery, "one of them"},
		{"marks", `{"projection":"airports","at":0}`, projections.ErrInvalidQuery, "sequence 0"},
		{"marks", `{"projection":"airports","at":-1}`, projections.ErrInvalidQuery, "cannot be read"},
		{"marks", `{"projection":"airports","at":1}`, events.ErrNotFound, "sequence 1"},
		{"marks", `{"projection":"ships"}`, projections.ErrUnknownProjection, "ships"},
		{"status", `{"projection":"airports"}`, projections.ErrInvalidQuery, "takes none"},
	} {
		m := ask(t, nc, c.operation, c.body)
		if p := wantProblem(t, m, c.code); !strings.Contains(p.Detail+p.Next, c.says) || m.Header.Get("Tidemark-Region") != "us" {
			t.Errorf("%s %.80s: %+v does not say %q", c.operation, c.body, p, c.says)
		}
	}
	for header, value := range map[string]string{queryservice.HeaderTimeout: "soon", queryservice.HeaderMaxAnswer: "much"} {
		p := wantProblem(t, ask(t, nc, "get", `{"projection":"airports","key":"ORD"}`, header, value), projections.ErrInvalidQuery)
		if !strings.Contains(p.Detail, header) {
			t.Errorf("%+v does not name %s", p, header)
		}
	}
}

func TestAPositionThatIsNotReachedInTimeSaysWhatIs(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{})
	nc := f.connect(t)
	at := f.depart(t, "ORD")
	ask(t, nc, "get", `{"projection":"airports","key":"ORD","wait":"20s","at_least":"`+at.String()+`"}`)
	m := ask(t, nc, "get", `{"projection":"airports","key":"ORD","wait":"0s","at_least":"us.abcd@1:1000"}`)
	if p := wantProblem(t, m, projections.ErrNotReached); !p.Position.Equal(at) || m.Header.Get("Tidemark-Position") != at.String() || p.Next == "" {
		t.Errorf("the problem is %+v with %v", p, m.Header)
	}
}

func TestTheServiceIsFoundAndShowsWhatItDoes(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{Program: "v1.2.3"})
	nc := f.connect(t)
	ask(t, nc, "get", `{"projection":"airports","key":"JFK"}`)
	ask(t, nc, "get", `{}`)
	var info micro.Info
	found := func(subject string, into any) {
		t.Helper()
		m, err := nc.Request(subject, nil, patience)
		if err == nil {
			err = json.Unmarshal(m.Data, into)
		}
		if err != nil {
			t.Fatal(subject, err)
		}
	}
	found("$SRV.INFO.tidemark-query", &info)
	if info.Metadata["region"] != "us" || info.Metadata["program"] != "v1.2.3" || info.Version != queryservice.Version || len(info.Endpoints) < 3 ||
		info.Endpoints[0].Subject != "q.us.get" || info.Endpoints[0].Metadata["members"] != "projection, consistency, at_least, wait, at, key" {
		t.Errorf("the info is %+v", info)
	}
	var ping micro.Ping
	if found("$SRV.PING.tidemark-query."+info.ID, &ping); ping.Name != queryservice.Name {
		t.Errorf("the ping is %+v", ping)
	}
	eventually(t, "both questions are counted", func() bool {
		var stats micro.Stats
		found("$SRV.STATS.tidemark-query", &stats)
		var count struct{ Answered, Problems int }
		if err := json.Unmarshal(stats.Endpoints[0].Data, &count); err != nil {
			t.Fatal(err)
		}
		return stats.Endpoints[0].NumRequests == 2 && count.Answered == 2 && count.Problems == 2
	})
}

func TestSeveralServersShareTheRequests(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{})
	second := f.serve(t, queryservice.Options{})
	nc := f.connect(t)
	answered := func() (all int) {
		inbox := nats.NewInbox()
		s, err := nc.SubscribeSync(inbox)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Unsubscribe() //nolint:errcheck // the test is over
		if err := nc.PublishRequest("$SRV.PING.tidemark-query", inbox, nil); err != nil {
			t.Fatal(err)
		}
		for { // all answers are there when the answer to a question of our own is, but for a server that is slow
			if _, err := s.NextMsg(200 * time.Millisecond); err != nil {
				return all
			}
			all++
		}
	}
	eventually(t, "two are there", func() bool { return answered() == 2 })
	for range 100 { // a request is answered once: a second answer would be taken for that of the next
		wantProblem(t, ask(t, nc, "get", `{"projection":"airports","key":"JFK"}`), projections.ErrNoDocument)
	}
	if err := second(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one is there", func() bool { return answered() == 1 })
	wantProblem(t, ask(t, nc, "get", `{"projection":"airports","key":"JFK"}`), projections.ErrNoDocument)
}

const forEver = `{"projection":"airports","key":"ORD","wait":"1m","at_least":"us.abcd@1:1000"}`

func TestWhatIsBeyondTheBoundIsRefusedAtOnceAndTheRestAnswered(t *testing.T) {
	f := newFixture(t)
	stop := f.serve(t, queryservice.Options{MaxWaits: 2})
	nc := f.connect(t)
	inbox := nats.NewInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := nc.PublishRequest("q.us.get", inbox, []byte(forEver)); err != nil {
			t.Fatal(err)
		}
	}
	next := func(code events.Code) {
		t.Helper()
		m, err := answers.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		wantProblem(t, m, code)
	}
	for range 3 {
		next(events.ErrOverloaded)
	}
	wantProblem(t, ask(t, nc, "get", `{"projection":"airports","key":"JFK"}`), projections.ErrNoDocument) // who does not wait is not in their way
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		next("stopping")
	}
}

func TestAnAskersDeadlineEndsTheWork(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{MaxWaits: 1})
	nc := f.connect(t)
	wantProblem(t, ask(t, nc, "get", forEver, queryservice.HeaderTimeout, "50ms"), "timed-out")
	eventually(t, "the place is free again", func() bool {
		return ask(t, nc, "get", `{"projection":"airports","key":"ORD","wait":"0s","at_least":"us.abcd@1:1000"}`).Header.Get(queryservice.HeaderErrorCode) == string(projections.ErrNotReached)
	})
}

func TestAnAnswerThatDoesNotFitIsRefusedAndNotSent(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{})
	nc := f.connect(t)
	var at events.Position
	for _, airport := range []string{"ORD", "JFK", "LAX", "DTW", "ATL", "SFO", "SEA", "BOS"} {
		at = f.depart(t, airport)
	}
	list := `{"projection":"airports","wait":"20s","at_least":"` + at.String() + `"}`
	p := wantProblem(t, ask(t, nc, "list", list, queryservice.HeaderMaxAnswer, "1500"), events.ErrTooLarge)
	if !strings.Contains(p.Next, "fewer") {
		t.Errorf("the problem is %+v", p)
	}
	if m := ask(t, nc, "list", list); m.Header.Get(queryservice.HeaderErrorCode) != "" {
		t.Errorf("the answer is %s", m.Data)
	}
}

// TestAServiceThatStopsAnswersWhatItHasTaken stops a service while many ask: each request has an answer, or found nobody.
func TestAServiceThatStopsAnswersWhatItHasTaken(t *testing.T) {
	f := newFixture(t)
	stop := f.serve(t, queryservice.Options{})
	var askers sync.WaitGroup
	begun := make(chan struct{}, 8)
	for range cap(begun) {
		nc := f.connect(t)
		askers.Go(func() {
			for i := 0; ; i++ {
				m, err := nc.Request("q.us.get", []byte(`{"projection":"airports","key":"JFK"}`), patience)
				if errors.Is(err, nats.ErrNoResponders) {
					return
				}
				if err != nil || m.Header.Get(queryservice.HeaderErrorCode) != string(projections.ErrNoDocument) {
					t.Errorf("request %d: %v, %v", i, m, err)
					return
				}
				if i == 20 {
					begun <- struct{}{}
				}
			}
		})
	}
	for range cap(begun) {
		<-begun
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	askers.Wait()
}

func TestServersThatAreGoneAreWaitedForAndServedAgain(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{}, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	f.nats.Restart()
	nc := f.connect(t)
	eventually(t, "it answers again", func() bool {
		m, err := nc.Request("q.us.status", nil, time.Second)
		return err == nil && m.Header.Get(queryservice.HeaderErrorCode) == ""
	})
}

func TestAMalformedRegionIsRefused(t *testing.T) {
	f := newFixture(t)
	if _, err := queryservice.New(f.connect(t), "u.s", f.reader, queryservice.Options{}); !errors.Is(err, events.ErrInvalidEvent) {
		t.Errorf("got %v", err)
	}
	s, err := queryservice.New(f.connect(t), "us", f.reader, queryservice.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ended); err != nil {
		t.Errorf("one that is told to end before it began says %v", err)
	}
}
