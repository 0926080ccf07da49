package natsconn

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
)

func TestTheWaitBetweenTwoAttemptsGrowsAndIsBounded(t *testing.T) {
	for attempts, most := range map[int]time.Duration{0: reconnectFrom, 1: 2 * reconnectFrom, 5: 32 * reconnectFrom, 6: reconnectTo, 1 << 20: reconnectTo} {
		for range 100 {
			if d := Backoff(attempts); d < most/2 || d >= most {
				t.Errorf("attempt %d waits %s, expected %s to %s", attempts, d, most/2, most)
			}
		}
	}
}

func TestAViolationIsReadFromTheServersWords(t *testing.T) {
	for text, want := range map[string][2]string{
		`Permissions Violation for Publish to "evt.us.a.1"`:    {"Publish", "evt.us.a.1"},
		`Permissions Violation for Subscription to "_INBOX.>"`: {"Subscription", "_INBOX.>"},
	} {
		operation, subject, ok := Violation(fmt.Errorf("%w: %s", nats.ErrPermissionViolation, text))
		if !ok || operation != want[0] || subject != want[1] {
			t.Errorf("%s was read as %q, %q, %t", text, operation, subject, ok)
		}
		if _, _, ok := Violation(errors.New(text)); ok {
			t.Errorf("an error of something else was read as a violation")
		}
	}
}

func TestRefusedCredentialsAreToldFromSilence(t *testing.T) {
	for cause, want := range map[error]events.Code{
		nats.ErrAuthorization: events.ErrUnauthorized, nats.ErrAccountAuthExpired: events.ErrUnauthorized, nats.ErrNoServers: events.ErrUnreachable,
	} {
		if err := DialError("the servers", cause); !errors.Is(err, want) || !errors.Is(err, cause) {
			t.Errorf("%v became %v", cause, err)
		}
	}
}

// greeter listens as a server that answers the greeting of its first connections with what each of them is given, and every later one as it should.
func greeter(t *testing.T, first ...string) (url string, greeted *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	greeted = new(atomic.Int64)
	var open sync.WaitGroup
	greet := func(c net.Conn) {
		defer func() { _ = c.Close() }()
		answer := "PONG"
		if n := int(greeted.Add(1)); n <= len(first) {
			answer = first[n-1]
		}
		_, _ = io.WriteString(c, `INFO {"server_id":"test","version":"2.15.0","proto":1,"max_payload":1048576}`+"\r\n")
		for lines := bufio.NewScanner(c); lines.Scan(); {
			if lines.Text() == "PING" {
				_, _ = io.WriteString(c, answer+"\r\n")
			}
		}
	}
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { greet(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		open.Wait()
	})
	return "nats://" + l.Addr().String(), greeted
}

func TestAGreetingThatWasDisturbedIsRepeated(t *testing.T) {
	for name, c := range map[string]struct {
		first []string
		tries int64
		fails string
	}{
		"not disturbed":         {nil, 1, ""},
		"pinged in between":     {[]string{"PING"}, 2, ""},
		"twice":                 {[]string{"PING", "PING"}, 3, ""},
		"again and again":       {[]string{"PING", "PING", "PING"}, 3, "PING"},
		"refused":               {[]string{"-ERR 'Authorization Violation'"}, 1, "Authorization"},
		"that is another thing": {[]string{"+OK", "what"}, 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, greeted := greeter(t, c.first...)
			nc, err := Establish(func() (*nats.Conn, error) { return nats.Connect(url, nats.Timeout(30*time.Second)) })
			if nc != nil {
				defer nc.Close()
			}
			if (err != nil) != (c.fails != "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("got %v, expected %q", err, c.fails)
			}
			if n := greeted.Load(); n != c.tries {
				t.Errorf("greeted %d times, expected %d", n, c.tries)
			}
		})
	}
}

func TestWhoIsNotThereIsNotAskedAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	silent := "nats://" + l.Addr().String()
	for _, url := range []string{"nats://127.0.0.1:1", silent, "nats://\x7f", "nats://user:secret@127.0.0.1:port"} {
		tries := 0
		_, err := Establish(func() (*nats.Conn, error) {
			tries++
			return nats.Connect(url, nats.Timeout(100*time.Millisecond))
		})
		if err == nil || tries != 1 {
			t.Errorf("%q: %d attempts: %v", url, tries, err)
		}
	}
}
