package replica

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
)

// Error codes of the server that this package tells apart.
const (
	codeNoStream   jetstream.ErrorCode = 10059
	codeNoConsumer jetstream.ErrorCode = 10014
	codeNameInUse  jetstream.ErrorCode = 10058
)

// api asks the JetStream of one region.
type api struct {
	nc     *nats.Conn
	prefix string // $JS.API. or $JS.<domain>.API.
	whom   string // for messages
}

func ownAPI(nc *nats.Conn, region string) api {
	return api{nc: nc, prefix: "$JS.API.", whom: "the servers of region " + region}
}

func remoteAPI(nc *nats.Conn, region string) api {
	return api{nc: nc, prefix: "$JS." + region + ".API.", whom: "region " + region}
}

// apiAnswer is the part that all answers share.
type apiAnswer struct {
	Error *jetstream.APIError `json:"error,omitempty"`
}

// call sends a request and decodes its answer. The error is an *events.Error (ErrUnreachable, ErrUnauthorized), ctx's cause, or the server's
// *jetstream.APIError. It returns the answer's text too.
func (a api) call(ctx context.Context, timeout time.Duration, operation string, request, answer any) ([]byte, error) {
	var payload []byte
	if request != nil {
		var err error
		if payload, err = json.Marshal(request); err != nil {
			return nil, err
		}
	}
	text, err := a.send(ctx, timeout, a.prefix+operation, payload)
	if err != nil {
		return nil, a.unanswered(ctx, operation, err)
	}
	var failed apiAnswer
	if err := errors.Join(json.Unmarshal(text, &failed), json.Unmarshal(text, answer)); err != nil {
		return nil, events.Errorf(events.ErrUnreachable, "the answer of %s to %s cannot be read: %w", a.whom, operation, err)
	}
	if failed.Error != nil {
		return nil, failed.Error
	}
	return text, nil
}

func (a api) send(ctx context.Context, timeout time.Duration, subject string, payload []byte) ([]byte, error) {
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	m, err := a.nc.RequestWithContext(ctx, subject, payload)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

// unanswered names the error of a request without an answer. A missing right shows as silence; the connection remembers what it was refused last.
func (a api) unanswered(ctx context.Context, operation string, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case refused(a.nc, a.prefix+operation):
		return events.Errorf(events.ErrUnauthorized, "the servers refused the right to publish to %q", a.prefix+operation).Hint("Grant it to this user.")
	case errors.Is(err, nats.ErrNoResponders):
		return events.Errorf(events.ErrUnreachable, "%s cannot be reached: nobody answers %s%s: %w", a.whom, a.prefix, operation, err).
			Hint("Check that it runs and, if it is another region, that the link to it is up.")
	case errors.Is(err, context.DeadlineExceeded):
		return events.Errorf(events.ErrUnreachable, "%s did not answer %s in time", a.whom, operation)
	}
	return events.Errorf(events.ErrUnreachable, "%s cannot be asked: %w", a.whom, err)
}

// refused reports whether the violation that the connection saw last was of a subject, or of one that begins so.
func refused(nc *nats.Conn, subject string) bool {
	last := nc.LastError()
	return errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), `"`+subject)
}

func hasCode(err error, code jetstream.ErrorCode) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.ErrorCode == code
}

// named turns what the server said into an error of ours.
func (a api) named(stream string, err error) error {
	e, ok := errors.AsType[*jetstream.APIError](err)
	switch {
	case !ok:
		return err
	case e.ErrorCode == codeNoStream:
		return events.Errorf(events.ErrNoLog, "%s has no stream %s", a.whom, stream)
	}
	return events.Errorf(events.ErrUnreachable, "%s cannot answer now: %w", a.whom, e)
}

// streamInfo returns what the stream's leader says of it. Errors: ErrNoLog, ErrUnreachable, ErrUnauthorized, ctx's cause.
func (a api) streamInfo(ctx context.Context, stream string) (*jetstream.StreamInfo, error) {
	var info jetstream.StreamInfo
	if _, err := a.call(ctx, callTimeout, "STREAM.INFO."+stream, nil, &info); err != nil {
		return nil, a.named(stream, err)
	}
	return &info, nil
}

// createStream makes a stream; one that exists is left alone.
func (a api) createStream(ctx context.Context, cfg jetstream.StreamConfig) error {
	var info jetstream.StreamInfo
	_, err := a.call(ctx, createTimeout, "STREAM.CREATE."+cfg.Name, cfg, &info)
	if hasCode(err, codeNameInUse) {
		return nil // the next look judges it
	}
	return a.named(cfg.Name, err)
}

// deleteStream removes a stream.
func (a api) deleteStream(ctx context.Context, stream string) error {
	var done struct {
		Success bool `json:"success"`
	}
	_, err := a.call(ctx, createTimeout, "STREAM.DELETE."+stream, nil, &done)
	if hasCode(err, codeNoStream) {
		return nil
	}
	return a.named(stream, err)
}
