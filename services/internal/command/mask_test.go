package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/services/internal/failure"
)

func TestMaskedJSONKeepsStructureAndTypesAndNothingElse(t *testing.T) {
	for data, want := range map[string]string{
		`{"b":"secret","a":4711,"ok":true,"no":false,"x":null}`: `{"b":"<string>","a":"<number>","ok":"<boolean>","no":"<boolean>","x":null}`,
		`[1,"two",[3.5e7,{}],[],{"a":{"b":[{"c":"d"}]}}]`:       `["<number>","<string>",["<number>",{}],[],{"a":{"b":[{"c":"<string>"}]}}]`,
		`"secret"`:                `"<string>"`,
		`4711`:                    `"<number>"`,
		`null`:                    `null`,
		`{ "odd \" name" : "x" }`: `{"odd \" name":"<string>"}`,
	} {
		got, err := maskJSON([]byte(data))
		if err != nil || string(got) != want || !json.Valid(got) {
			t.Errorf("%s is masked as %s, %v; want %s", data, got, err, want)
		}
	}
	if _, err := maskJSON([]byte(`{"a":`)); err == nil {
		t.Error("half of an object was masked")
	}
}

func FuzzMaskJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,"2",null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if events.CheckJSON(data) != nil {
			return
		}
		masked, err := maskJSON(data)
		if err != nil || events.CheckJSON(masked) != nil {
			t.Fatalf("%s is masked as %s: %v", data, masked, err)
		}
	})
}

func TestDataThatIsNotJSONIsMaskedToItsSize(t *testing.T) {
	r := &events.Record{Kind: events.KindEvent, Event: events.Event{Type: "T", Entity: events.Entity{Type: "a", ID: "b"}, ContentType: "text/plain", Data: []byte("secret")}}
	e := newPast(r, &events.Info{Origin: "us"})
	e.mask()
	if text, err := json.Marshal(e); err != nil || bytes.Contains(text, []byte("secret")) || bytes.Contains(text, []byte("c2VjcmV0")) || e.Hidden != "6 bytes of text/plain" || shown(&e) != "(6 bytes of text/plain)" {
		t.Errorf("%s, %v", text, err)
	}
}

func TestAMaskedDocumentShowsItsFieldsAndTheirKinds(t *testing.T) {
	m := maskedDocument{[]projections.Field{{Name: "n", Kind: projections.KindInt}, {Name: "s", Kind: projections.KindString}, {Name: "b", Kind: projections.KindBool}}}
	if text, err := json.Marshal(m); err != nil || string(text) != `{"n":"\u003cint\u003e","s":"\u003cstring\u003e","b":"\u003cbool\u003e"}` {
		t.Errorf("%s, %v", text, err)
	}
}

func TestOnlyAYesIsAYes(t *testing.T) {
	for said, yes := range map[string]bool{"y\n": true, "Yes\n": true, "y": true, "n\n": false, "\n": false, "": false, "yeah\n": false} {
		var out bytes.Buffer
		p := &program{in: strings.NewReader(said), err: &out}
		err := p.ask(context.Background(), "it cannot be brought back. Skip it?", "nothing was written")
		if yes != (err == nil) || !yes && !errors.Is(err, failure.ErrDeclined) {
			t.Errorf("%q: %v", said, err)
		}
		if out.String() != "It cannot be brought back. Skip it? [y/N] " {
			t.Errorf("asked %q", out.String())
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	in, stop := io.Pipe()
	defer stop.Close()
	p := &program{in: in, err: io.Discard}
	if err := p.ask(ctx, "it?", "nothing was written"); !errors.Is(err, failure.ErrInterrupted) {
		t.Errorf("interrupted it returned %v", err)
	}
	stop.Close()
}
