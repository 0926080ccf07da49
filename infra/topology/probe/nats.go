package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/topology"
	"tidemark.dev/infra/topology/dial"
)

// tryNATS logs in to one server and asks it for JetStream. It returns what answered.
func tryNATS(ctx context.Context, n topology.NATS, url, origin string, env topology.Environment, timeout time.Duration) (string, error) {
	options, err := dial.NATS(n, env)
	if err != nil {
		return "", err
	}
	denied := make(chan error, 1)
	options = append(options, nats.Name("tidemark config check"), nats.Timeout(timeout), nats.NoReconnect(), nats.IgnoreDiscoveredServers(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			select {
			case denied <- err:
			default: // one is enough
			}
		}))
	nc, err := nats.Connect(url, options...)
	if err != nil {
		return "", natsError(n, url, err)
	}
	defer nc.Close()
	found := "nats-server " + nc.ConnectedServerVersion()
	// A user with few rights may ask for its own stream only. That answer names the domain too, once the stream is there.
	var told answer
	for _, subject := range []string{"$JS.API.INFO", "$JS.API.STREAM.INFO.EVT_" + origin} {
		if told, err = ask(ctx, nc, subject, denied); !errors.Is(err, nats.ErrPermissionViolation) {
			break
		}
	}
	return judge(n, url, found, told, err)
}

// judge compares what a server told about JetStream with what the file says.
func judge(n topology.NATS, url, found string, told answer, err error) (string, error) {
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		return found, events.Errorf(events.ErrUnauthorized, "NATS at %s lets %s in, and not ask for JetStream; whether it is on, and in which domain, is not known",
			url, login(n)).Hint("Let this user publish to $JS.API.INFO, or ask for its stream, and subscribe to _INBOX.>.")
	case errors.Is(err, nats.ErrNoResponders), told.Error.Number == notEnabled, told.Error.Number == notEnabledForAccount:
		return found, events.Errorf(ErrNotAsWritten, "NATS at %s has no JetStream for %s", url, login(n)).
			Hint("Turn it on: jetstream {domain: %s, store_dir: …}, and jetstream: enabled in the account.", n.Domain)
	case err != nil:
		return found, events.Errorf(events.ErrUnreachable, "NATS at %s lets %s in, and JetStream does not answer: %w", url, login(n), err).
			Hint("Its log may say why; a cluster without a majority does not answer.")
	case told.Error.Number == streamNotFound:
		return found + ", JetStream on; its domain is not known, since this user may not ask $JS.API.INFO", nil
	case told.Error.Number != 0:
		return found, events.Errorf(events.ErrUnreachable, "JetStream at %s cannot serve: %s", url, told.Error.Description).Hint("Its log may say why.")
	case told.Domain != n.Domain:
		domain := fmt.Sprintf("the domain %q", told.Domain)
		if told.Domain == "" {
			domain = "no domain"
		}
		return found, events.Errorf(ErrNotAsWritten, "JetStream at %s has %s, and the topology file says %q", url, domain, n.Domain).
			Hint("Correct nats.domain, or the address, or jetstream {domain: %s} of the server.", n.Domain)
	}
	return found + ", domain " + told.Domain, nil
}

// Error numbers of JetStream. Source: server/errors.json of nats-server.
const (
	notEnabled           = 10076
	notEnabledForAccount = 10039
	streamNotFound       = 10059
)

// answer is what we read of an answer of the JetStream API.
type answer struct {
	Domain string `json:"domain"`
	Error  struct {
		Number      int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// ask sends one request to the JetStream API. It returns nats.ErrPermissionViolation as soon as the server refuses it, nats.ErrNoResponders, or
// the context's cause.
func ask(ctx context.Context, nc *nats.Conn, subject string, denied <-chan error) (a answer, err error) {
	inbox := nc.NewRespInbox()
	replies := make(chan *nats.Msg, 1)
	sub, err := nc.ChanSubscribe(inbox, replies)
	if err != nil {
		return a, err
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closed next
	if err := nc.PublishRequest(subject, inbox, nil); err != nil {
		return a, err
	}
	select {
	case m := <-replies:
		if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
			return a, nats.ErrNoResponders
		}
		return a, json.Unmarshal(m.Data, &a)
	case err := <-denied:
		return a, err
	case <-ctx.Done():
		return a, context.Cause(ctx)
	}
}

// natsError says why no connection came about.
func natsError(n topology.NATS, url string, err error) error {
	var unknownAuthority x509.UnknownAuthorityError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked),
		errors.Is(err, nats.ErrAccountAuthExpired):
		return events.Errorf(events.ErrUnauthorized, "NATS at %s refused %s", url, login(n)).Hint("Check the user, and what is there.")
	case errors.Is(err, nats.ErrSecureConnWanted), errors.Is(err, nats.ErrSecureConnRequired):
		return events.Errorf(events.ErrUnreachable, "NATS at %s: one end wants TLS and the other has none", url).
			Hint("Use tls:// with nats.tls where the server has TLS, and nats:// without it where it has none.")
	case errors.As(err, &verification), errors.As(err, &unknownAuthority):
		return events.Errorf(events.ErrUnreachable, "NATS at %s has a certificate that is not believed: %w", url, err).
			Hint("Name the authority that signed it: nats.tls.ca.")
	}
	return events.Errorf(events.ErrUnreachable, "NATS at %s cannot be reached: %w", url, err).Hint("Check that it runs, and that address and port are right.")
}

// login says who logs in, and where the secret is from.
func login(n topology.NATS) string {
	switch {
	case n.User != "":
		return fmt.Sprintf("user %s with the password from %s", n.User, n.Password)
	case !n.Creds.IsZero():
		return fmt.Sprintf("the credentials from %s", n.Creds)
	}
	return "a client without credentials"
}
