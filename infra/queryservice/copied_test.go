package queryservice_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/storetest"
)

func TestACopyIsReadByItsName(t *testing.T) {
	f := newFixture(t)
	f.serve(t, queryservice.Options{})
	nc := f.connect(t)
	f.depart(t, "JFK")
	at := f.depart(t, "ORD")
	ask(t, nc, "list", `{"projection":"airports","at_least":"`+at.String()+`","wait":"20s"}`)
	made := storetest.MakeCopy(t, f.store, f.kv, "airports", "before")
	f.depart(t, "LAX")
	later := f.depart(t, "ORD")

	for members, departures := range map[string]string{`"at_least":"` + later.String() + `","wait":"20s"`: "2", `"at":"before"`: "1", `"at":"before","at_least":"` + at.String() + `"`: "1"} {
		m := ask(t, nc, "get", `{"projection":"airports","key":"ORD",`+members+`}`)
		var a query.Answer
		if err := json.Unmarshal(m.Data, &a); err != nil {
			t.Fatal(err)
		}
		named := ""
		if strings.Contains(members, "before") {
			named = "before"
		}
		if n, _ := a.Document.Field("departures"); n != departures || a.At != named || m.Header.Get(queryservice.HeaderAt) != named || (named != "") != (a.Generation == made.Generation) {
			t.Errorf("with %s the answer is %s with %v", members, m.Data, m.Header)
		}
	}
	var n query.Count
	if m := ask(t, nc, "count", `{"projection":"airports","at":"before"}`); json.Unmarshal(m.Data, &n) != nil || n.Count != 2 || n.At != "before" {
		t.Errorf("the count is %s", m.Data)
	}
	var several query.Documents
	if m := ask(t, nc, "lookup", `{"projection":"airports","keys":["LAX","JFK"],"at":"before"}`); json.Unmarshal(m.Data, &several) != nil || !several.Items[0].Missing || several.Items[1].Missing {
		t.Errorf("the documents are %s", m.Data)
	}
	var page query.Page
	m := ask(t, nc, "list", `{"projection":"airports","limit":1,"at":"before"}`)
	if err := json.Unmarshal(m.Data, &page); err != nil || page.Next == "" || page.Watch != "" || page.At != "before" {
		t.Errorf("the page is %s, %v", m.Data, err)
	}
	if p := wantProblem(t, ask(t, nc, "get", `{"projection":"airports","key":"LAX","at":"before"}`), projections.ErrNoDocument); p.Position.String() != made.Position {
		t.Errorf("the problem is %+v", p)
	}

	for _, c := range []struct {
		operation, body string
		code            events.Code
		says            string
	}{
		{"get", `{"projection":"airports","key":"ORD","at":"after"}`, projections.ErrUnknownCopy, "tidemark replay list airports"},
		{"get", `{"projection":"airports","key":"ORD","at":"../x"}`, projections.ErrUnknownCopy, ""},
		{"get", `{"projection":"airports","key":"ORD","at":""}`, projections.ErrInvalidQuery, "empty"},
		{"get", `{"projection":"airports","key":"ORD","at":7}`, projections.ErrInvalidQuery, "cannot be read"},
		{"get", `{"projection":"airports","key":"ORD","at":"before","consistency":"strong"}`, projections.ErrInvalidQuery, made.Position},
		{"get", `{"projection":"airports","key":"ORD","at":"before","at_least":"` + later.String() + `","wait":"1m"}`, projections.ErrNotReached, "does not move"},
		{"list", `{"projection":"airports","after":"` + page.Next + `"}`, projections.ErrInvalidCursor, "another query"},
		{"marks", `{"projection":"airports","at":"before"}`, projections.ErrInvalidQuery, "cannot be read"},
		{"watch", `{"projection":"airports","at":"before"}`, projections.ErrInvalidQuery, "nothing changes"},
	} {
		if p := wantProblem(t, ask(t, nc, c.operation, c.body), c.code); !strings.Contains(p.Detail+p.Next, c.says) {
			t.Errorf("%s %s: %+v does not say %q", c.operation, c.body, p, c.says)
		}
	}
	storetest.DropCopy(t, f.store, f.kv, "airports", "before")
	wantProblem(t, ask(t, nc, "list", `{"projection":"airports","at":"before","after":"`+page.Next+`"}`), projections.ErrUnknownCopy)
}

func TestARequestSaysWhatItsOptionsSay(t *testing.T) {
	text, err := json.Marshal(queryservice.GetRequest{Reading: queryservice.NewReading("airports", query.Options{At: "before"}), Key: "ORD"})
	if err != nil || string(text) != `{"projection":"airports","at":"before","key":"ORD"}` {
		t.Errorf("the request is %s, %v", text, err)
	}
	f := newFixture(t)
	f.serve(t, queryservice.Options{})
	c := f.caller(t)
	for _, err := range c.Updates(t.Context(), "us", "airports", query.WatchOptions{At: "before"}, patience) {
		if !errors.Is(err, projections.ErrInvalidQuery) {
			t.Errorf("a watch of a copy is answered with %v", err)
		}
		break
	}
}
