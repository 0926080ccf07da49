package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/httpapi"
)

func reader(f *fixture) *query.Reader { return query.New("us", f.store, f.kv, query.NewHeads(f.log)) }

func TestAServerServesUntilItIsToldToStop(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	l, err := httpapi.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if !httpapi.Local(l.Addr()) {
		t.Errorf("%s is not local", l.Addr())
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- httpapi.Serve(ctx, l, f.api, slog.New(slog.DiscardHandler)) }()
	base := "http://" + l.Addr().String()
	response, err := http.Get(base + "/v1/status") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("the status is %d", response.StatusCode)
	}
	waiting := make(chan int, 1)
	go func() {
		response, err := http.Get(base + "/v1/models/airports/ORD?at-least=us.abcd@1:50&wait=1m") //nolint:noctx // a test
		if err != nil {
			waiting <- 0
			return
		}
		_ = response.Body.Close()
		waiting <- response.StatusCode
	}()
	eventually(t, "the wait has begun", func() bool { return httpapi.Waiting(f.api) == 1 })
	stop()
	if err := <-served; err != nil {
		t.Errorf("serving ended with %v", err)
	}
	if got := <-waiting; got != http.StatusServiceUnavailable {
		t.Errorf("the wait ended with the status %d", got)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil { //nolint:noctx // a test
		t.Error("the server still listens")
	}
}

func TestHostsThatAreNotThisMachineAreRefusedOnlyOnLoopback(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	for _, local := range []string{"localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]:7070", "[::1]", "[::ffff:127.0.0.1]:1"} {
		status(t, f.get(t, "/healthz", "Host", local), http.StatusOK)
	}
	for _, foreign := range []string{"evil.example", "localhost.evil.example", "10.0.0.1:7070", "127.0.0.1.evil.example", "", "0.0.0.0"} {
		problem(t, f.get(t, "/healthz", "Host", foreign), http.StatusMisdirectedRequest, failure.ErrUnknownHost)
	}
	open := newFixture(t, httpapi.Options{Address: &net.TCPAddr{IP: net.IPv4zero, Port: 7070}})
	status(t, open.get(t, "/healthz", "Host", "tidemark.example"), http.StatusOK)
}

func TestBrowsersOfOtherSitesAreRefused(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	for _, refused := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "null"}, {"Origin", "https://evil.example"},
		{"Origin", "http://127.0.0.1:9999"}, {"Origin", "%zz"},
	} {
		problem(t, f.post(t, flight, departed("1", refused...)...), http.StatusForbidden, failure.ErrCrossSite)
		problem(t, f.get(t, "/v1/status", refused...), http.StatusForbidden, failure.ErrCrossSite)
	}
	if f.head(t) != 1 {
		t.Errorf("the head is %d", f.head(t))
	}
	status(t, f.get(t, "/v1/status", "Sec-Fetch-Site", "none"), http.StatusOK)
	status(t, f.post(t, flight, departed("1", "Sec-Fetch-Site", "same-origin", "Origin", "http://"+host)...), http.StatusCreated)
}

func TestAnAddressThatCannotBeUsedIsNamed(t *testing.T) {
	taken, err := httpapi.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, address := range []string{taken.Addr().String(), "nowhere", "127.0.0.1:99999", "256.0.0.1:80"} {
		if l, err := httpapi.Listen(t.Context(), address); failure.Code(err) != failure.ErrCannotListen || !strings.Contains(err.Error(), address) {
			t.Errorf("listening on %s gives %v, %v", address, l, err)
		}
	}
}

func TestABodyThatBreaksOffWritesNothing(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	l, err := httpapi.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- httpapi.Serve(ctx, l, f.api, slog.New(slog.DiscardHandler)) }()
	conn, err := net.Dial("tcp", l.Addr().String()) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	headers := departed("1")
	_, _ = fmt.Fprintf(conn, "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n")
	for i := 0; i < len(headers); i += 2 {
		_, _ = fmt.Fprintf(conn, "%s: %s\r\n", headers[i], headers[i+1])
	}
	_, _ = io.WriteString(conn, "\r\n"+flight)
	_ = conn.(*net.TCPConn).CloseWrite()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	_ = conn.Close()
	if response.StatusCode != http.StatusBadRequest || f.head(t) != 1 {
		t.Errorf("the status is %d and the head %d", response.StatusCode, f.head(t))
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
