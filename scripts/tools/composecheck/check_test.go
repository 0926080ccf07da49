package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const twoLines = `{"date":"2001/01/02 10:00","delay":5,"distance":100,"origin":"AAA","destination":"BBB"}
{"date":"2001/01/01 10:00","delay":-1,"distance":200,"origin":"AAA","destination":"BBB"}
`

func TestTheFoldCountsWhatTheFileSays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.gz")
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, err := w.Write([]byte(twoLines))
	must(t, err)
	must(t, w.Close())
	must(t, os.WriteFile(path, zipped.Bytes(), 0o600))
	x, n, err := foldFile(path)
	must(t, err)
	want := airport{Arrivals: 2, DelayTotal: 4, DelayMax: 5, OnTime: 1, LastLanded: "2001/01/02 10:00"}
	if n != 2 || x.airports["BBB"] != want || x.airports["AAA"] != (airport{Departures: 2}) || x.routes["AAA-BBB"] != (route{2, 300, 4}) {
		t.Errorf("%d lines: %+v", n, x)
	}
	more := x.with([]flight{{Origin: "AAA", Destination: "CCC", Delay: 7}})
	if more.airports["CCC"].Arrivals != 1 || len(x.airports) != 2 || len(x.routes) != 1 {
		t.Errorf("with one more: %+v, and before: %+v", more, x)
	}
	if _, _, err := fold(strings.NewReader(twoLines + "x")); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("a line that is none: %v", err)
	}
}

func TestEachDifferenceIsFound(t *testing.T) {
	want := map[string]route{"a": {Flights: 1}, "b": {Flights: 2}}
	for what, c := range map[string]struct {
		got  map[string]route
		said string
	}{
		"the same": {map[string]route{"a": {Flights: 1}, "b": {Flights: 2}}, ""},
		"lost":     {map[string]route{"a": {Flights: 1}}, "b is missing"},
		"extra":    {map[string]route{"a": {Flights: 1}, "b": {Flights: 2}, "c": {}}, "c should not be there"},
		"doubled":  {map[string]route{"a": {Flights: 2}, "b": {Flights: 2}}, "a is {Flights:2"},
	} {
		if said := differs("routes", c.got, want); (c.said == "") != (said == "") || !strings.Contains(said, c.said) {
			t.Errorf("%s: %q", what, said)
		}
	}
}

// service answers appends as a writer does, and goes wrong as told: by the number of the request.
type service struct {
	mu       sync.Mutex
	requests int
	stored   []string // ids
	wrong    func(n int) string
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	id, expect := r.Header.Get("Ce-Id"), r.Header.Get("Tidemark-Expect")
	how := s.wrong(s.requests)
	if how == "unreachable" {
		s.refuse(w, http.StatusServiceUnavailable, "unreachable")
		return
	}
	at := slices.Index(s.stored, id) + 1
	switch {
	case at > 0 && how == "forgetful":
		w.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprintf(w, `{"code":"conflict","detail":"expected %s","actual":%d}`, expect, len(s.stored))
		return
	case at == 0 || how == "doubles":
		s.stored = append(s.stored, id)
	}
	switch {
	case how == "loses the answer":
		s.refuse(w, http.StatusGatewayTimeout, "unknown-outcome")
	case how == "lies":
		_, _ = fmt.Fprintf(w, `{"first":1,"last":1}`)
	case how == "refuses":
		s.refuse(w, http.StatusBadRequest, "invalid-event")
	case at > 0:
		_, _ = fmt.Fprintf(w, `{"first":%d,"last":%d,"duplicate":true}`, at, at)
	default:
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"first":%d,"last":%d}`, len(s.stored), len(s.stored))
	}
}

func (s *service) refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"code":%q,"detail":"no"}`, code)
}

// publish lets a writer publish until it has so many acknowledgements, or breaks.
func publish(t *testing.T, s *service, expect bool, events int) (*writer, error) {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	w := &writer{name: "X", target: server.URL, expect: expect}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	stop := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- w.run(ctx, stop) }()
	for {
		select {
		case err := <-ended:
			return w, err
		case <-time.After(time.Millisecond):
			if len(w.acknowledged()) >= events {
				close(stop)
				return w, <-ended
			}
		}
	}
}

func TestAWriterRepeatsUntilItIsAcknowledged(t *testing.T) {
	for _, expect := range []bool{false, true} {
		s := &service{wrong: func(n int) string {
			return map[int]string{1: "unreachable", 3: "loses the answer", 6: "loses the answer"}[n]
		}}
		w, err := publish(t, s, expect, 4)
		must(t, err)
		if len(w.landed) != len(s.stored) || w.duplicates != 2 || w.unknown != 2 || w.last != uint64(len(s.stored)) {
			t.Errorf("%d acknowledged, %d stored, %d duplicates, %d unknown", len(w.landed), len(s.stored), w.duplicates, w.unknown)
		}
	}
}

func TestAConflictAfterDoubtIsWithItself(t *testing.T) {
	s := &service{wrong: func(n int) string { return map[int]string{2: "loses the answer", 3: "forgetful"}[n] }}
	w, err := publish(t, s, true, 3)
	must(t, err)
	if len(w.landed) != len(s.stored) || w.duplicates != 1 {
		t.Errorf("%d acknowledged, %d stored, %d duplicates", len(w.landed), len(s.stored), w.duplicates)
	}
}

func TestABrokenPromiseEndsTheWriter(t *testing.T) {
	for _, how := range []string{"lies", "refuses"} {
		if _, err := publish(t, &service{wrong: func(n int) string { return map[int]string{2: how}[n] }}, true, 3); err == nil {
			t.Errorf("%s: nobody noticed", how)
		}
	}
}

func TestAReaderTellsARefusalFromALie(t *testing.T) {
	want := airport{Arrivals: 3}
	answers := []string{`503 {"code":"unavailable"}`, `200 {"document":{"arrivals":3}}`, ""}
	for last, broken := range map[string]bool{
		`200 {"document":{"arrivals":2}}`: true, `404 {"code":"no-document"}`: true, `200 {"document":{"arrivals":3}}`: false, `503 {"code":"not-reached"}`: false,
	} {
		answers[2] = last
		n := 0
		stop := make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			status, body, _ := strings.Cut(answers[min(n, len(answers)-1)], " ")
			if n++; n == len(answers) {
				close(stop)
			}
			w.WriteHeader(map[string]int{"200": 200, "404": 404, "503": 503}[status])
			_, _ = w.Write([]byte(body))
		}))
		r := &reader{region: "eu", target: server.URL, key: "ORD", want: want}
		err := r.run(t.Context(), stop)
		server.Close()
		if (err != nil) != broken {
			t.Errorf("%s: %v", last, err)
		}
	}
}

func TestPagesArePutTogether(t *testing.T) {
	pages := map[string]string{
		"":  `{"items":[{"key":"a","document":{"flights":1}}],"next":"n"}`,
		"n": `{"items":[{"key":"b","document":{"flights":2}}]}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(pages[r.URL.Query().Get("after")]))
	}))
	defer server.Close()
	got, err := model[route](t.Context(), server.URL, "routes")
	must(t, err)
	if len(got) != 2 || got["b"].Flights != 2 {
		t.Errorf("%v", got)
	}
	pages["n"] = `{"items":[{"key":"a","document":{"flights":2}}]}`
	if _, err := model[route](t.Context(), server.URL, "routes"); err == nil {
		t.Error("a key that is listed twice is taken")
	}
}

func TestALagOfNoneIsNotUnknown(t *testing.T) {
	for answer, want := range map[string]string{
		`{"replication":{"state":"unknown","lag":null}}`:                     "unknown, lag unknown",
		`{"replication":{"state":"unknown","lag":{"events":0}}}`:             "unknown, 0 behind",
		`{"replication":{"state":"follows","lag":{"events":7,"seconds":1}}}`: "follows, 7 behind",
		`{"replication":{"state":"leads","lag":null}}`:                       "leads",
		`{"region":"eu"}`: "nothing about its copy",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
		if said := copyState(t.Context(), server.URL); said != want {
			t.Errorf("%s: %s, want %s", answer, said, want)
		}
		server.Close()
	}
}

// fakeDocker puts a program in the place of docker, which does not know what is asked of it.
func fakeDocker(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\necho 'no such command' >&2\nexit 1\n"), 0o700)) //nolint:gosec // a program
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestWhatCannotBeCheckedIsNoPass(t *testing.T) {
	fakeDocker(t)
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"-root", t.TempDir()}, &out, &errs); code != exitCannot || !strings.Contains(errs.String(), "no such command") {
		t.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
	}
	if code := run(t.Context(), []string{"-cut", "xx"}, &out, &errs); code != exitCannot {
		t.Errorf("a region that there is not: exit code %d", code)
	}
	if code := run(t.Context(), []string{"-x"}, &out, &errs); code != exitCannot {
		t.Errorf("a flag that there is not: exit code %d", code)
	}
}

func TestThePortsAreFreeAndDiffer(t *testing.T) {
	e, err := newEngine(".", "x")
	must(t, err)
	seen := make(map[int]bool)
	for _, port := range e.ports {
		seen[port] = true
	}
	if len(seen) != 9 || len(e.ports) != 9 {
		text, _ := json.Marshal(e.ports)
		t.Errorf("ports: %s", text)
	}
}
