package natsconn

import (
	"errors"
	"fmt"
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
