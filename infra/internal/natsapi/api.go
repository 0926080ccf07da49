package natsapi

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
)

// Error codes of the server that this package tells apart. They are not part of the client library; tests pin them.
const (
	codeNoMessage jetstream.ErrorCode = 10037
	codeNoStream  jetstream.ErrorCode = 10059
)

// API asks the leader of one stream.
type API struct {
	Link   *Link
	Prefix string // Prefix of a domain
	Stream string
	// Missing says what to do about a stream that is not there.
	Missing string
}

// Prefix begins the subjects of a domain's JetStream API: $JS.API. or $JS.<domain>.API.
func Prefix(domain string) string {
	if domain == "" {
		return "$JS.API."
	}
	return "$JS." + domain + ".API."
}

// Call sends a request of the JetStream API and decodes its answer, which must begin with an error field. The error is an *events.Error
// (ErrUnreachable, ErrUnauthorized), ctx's cause, or the server's *jetstream.APIError.
func (a API) Call(ctx context.Context, operation string, request any, answer Failing) error {
	var payload []byte
	if request != nil {
		var err error
		if payload, err = json.Marshal(request); err != nil {
			return err
		}
	}
	m, err := a.ask(ctx, &nats.Msg{Subject: a.Prefix + operation, Data: payload})
	if err != nil {
		return a.Failure(operation, err)
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return events.Errorf(events.ErrUnreachable, "the servers' answer to %s cannot be read: %w", operation, err)
	}
	if e := answer.Failure(); e != nil {
		return e
	}
	return nil
}

// asks is how often a request is sent while no answer comes: a cluster drops those that arrive while it elects a leader. All requests of this
// package may be repeated.
const asks = 4

// ask sends a request until it is answered, within the link's time for one attempt.
func (a API) ask(ctx context.Context, m *nats.Msg) (answer *nats.Msg, err error) {
	for range asks {
		part, stop := context.WithTimeoutCause(ctx, a.Link.timeout/asks, ErrNoAnswer)
		answer, _, err = a.Link.Request(part, m)
		stop()
		if err == nil || !errors.Is(err, ErrNoAnswer) || ctx.Err() != nil {
			return answer, ended(ctx, err)
		}
	}
	return nil, err
}

// Failure names the error of a request that got no answer.
func (a API) Failure(operation string, err error) error {
	switch {
	case errors.Is(err, events.ErrUnauthorized):
		return err
	case errors.Is(err, nats.ErrNoResponders):
		return events.Errorf(events.ErrUnreachable, "no JetStream answers %s%s: %w", a.Prefix, operation, err).
			Hint("Check that JetStream is enabled for this account and, with a domain, that its region is connected.")
	case errors.Is(err, ErrNoAnswer), errors.Is(err, ErrDisconnected):
		return events.Errorf(events.ErrUnreachable, "the log's servers did not answer %s: %w", operation, err)
	}
	return err
}

// Failing is an answer that may be an error.
type Failing interface{ Failure() *jetstream.APIError }

// Answer is the part that all answers share.
type Answer struct {
	Error *jetstream.APIError `json:"error,omitempty"`
}

// Failure returns the error in the answer; nil when there is none.
func (a *Answer) Failure() *jetstream.APIError { return a.Error }

// HasCode reports whether an error is the server's with a code.
func HasCode(err error, code jetstream.ErrorCode) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.ErrorCode == code
}

// StreamInfo returns what the leader says of the stream. Beside the errors of Call: ErrNoLog.
func (a API) StreamInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	var answer struct {
		Answer
		jetstream.StreamInfo
	}
	err := a.Call(ctx, "STREAM.INFO."+a.Stream, nil, &answer)
	if err != nil {
		return nil, a.Unanswered(err)
	}
	return &answer.StreamInfo, nil
}

// StreamDetails returns the same, with every sequence that the stream holds no more though it lies between its first and last.
func (a API) StreamDetails(ctx context.Context) (*jetstream.StreamInfo, error) {
	var answer struct {
		Answer
		jetstream.StreamInfo
	}
	request := struct {
		Deleted bool `json:"deleted_details"`
	}{true}
	if err := a.Call(ctx, "STREAM.INFO."+a.Stream, request, &answer); err != nil {
		return nil, a.Unanswered(err)
	}
	return &answer.StreamInfo, nil
}

// Unanswered names the server's error: a missing stream is ErrNoLog, all others (no leader, offline, overloaded) are ErrUnreachable.
func (a API) Unanswered(err error) error {
	e, ok := errors.AsType[*jetstream.APIError](err)
	switch {
	case !ok:
		return err
	case e.ErrorCode != codeNoStream:
		return events.Errorf(events.ErrUnreachable, "the log's servers cannot answer now: %w", e)
	case a.Link.Fresh():
		return events.Errorf(events.ErrUnreachable, "the servers have just come back, without stream %s so far: %w", a.Stream, e)
	}
	return events.Errorf(events.ErrNoLog, "the servers have no stream %s: %w", a.Stream, e).
		Hint("%s", a.Missing)
}

// ended returns ctx's cause when it ended, otherwise err.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
