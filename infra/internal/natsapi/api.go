package natslog

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
)

// Error codes of the server that this package tells apart. They are not part of the client library; the tests pin them.
const (
	codeTooLarge         jetstream.ErrorCode = 10054 // message size exceeds maximum
	codeNoMessage        jetstream.ErrorCode = 10037
	codeStoreFailed      jetstream.ErrorCode = 10049
	codeNoReplicas       jetstream.ErrorCode = 10074
	codeNameInUse        jetstream.ErrorCode = 10058
	codeNoStream         jetstream.ErrorCode = 10059
	codeWrongLast        jetstream.ErrorCode = 10071 // an expectation does not hold; certain
	codeWrongLastMsgID   jetstream.ErrorCode = 10070
	codeSealed           jetstream.ErrorCode = 10109
	codeRollup           jetstream.ErrorCode = 10111 // a roll-up header that is not allowed
	codeIDInProcess      jetstream.ErrorCode = 10158 // replicated: a message with this id is under way
	codeUndecided        jetstream.ErrorCode = 10164 // replicated: a message of this subject is under way
	codeBatchesOff       jetstream.ErrorCode = 10174
	codeBatchIncomplete  jetstream.ErrorCode = 10176
	codeBatchTooLarge    jetstream.ErrorCode = 10199
	codeBatchDuplicateID jetstream.ErrorCode = 10201
	codeTooManyBatches   jetstream.ErrorCode = 10210
)

// errNoMessage is what the leader answers for a sequence or subject it holds nothing of.
var errNoMessage = errors.New("no such message")

// api asks the stream's leader.
type api struct {
	link   *link
	prefix string // $JS.API. or $JS.<domain>.API.
	stream string
}

func newAPI(l *link, cfg Config) api {
	prefix := "$JS.API."
	if cfg.Domain != "" {
		prefix = "$JS." + cfg.Domain + ".API."
	}
	return api{link: l, prefix: prefix, stream: StreamName(cfg.Origin)}
}

// call sends a request of the JetStream API and decodes its answer, which must begin with an error field. The error is an *events.Error
// (ErrUnreachable, ErrUnauthorized), ctx's cause, or the server's *jetstream.APIError.
func (a api) call(ctx context.Context, operation string, request any, answer failing) error {
	var payload []byte
	if request != nil {
		var err error
		if payload, err = json.Marshal(request); err != nil {
			return err
		}
	}
	m, err := a.ask(ctx, &nats.Msg{Subject: a.prefix + operation, Data: payload})
	if err != nil {
		return a.failure(operation, err)
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return events.Errorf(events.ErrUnreachable, "the servers' answer to %s cannot be read: %w", operation, err)
	}
	if e := answer.failure(); e != nil {
		return e
	}
	return nil
}

// asks is how often a request is sent while no answer comes: a cluster drops those that arrive while it elects a leader. All requests of this
// package may be repeated.
const asks = 4

// ask sends a request until it is answered, within the link's time for one attempt.
func (a api) ask(ctx context.Context, m *nats.Msg) (answer *nats.Msg, err error) {
	for range asks {
		part, stop := context.WithTimeoutCause(ctx, a.link.timeout/asks, errNoAnswer)
		answer, _, err = a.link.request(part, m)
		stop()
		if err == nil || !errors.Is(err, errNoAnswer) || ctx.Err() != nil {
			return answer, ended(ctx, err)
		}
	}
	return nil, err
}

// failure names the error of a request that got no answer.
func (a api) failure(operation string, err error) error {
	switch {
	case errors.Is(err, events.ErrUnauthorized):
		return err
	case errors.Is(err, nats.ErrNoResponders):
		return events.Errorf(events.ErrUnreachable, "no JetStream answers %s%s: %w", a.prefix, operation, err).
			Hint("Check that JetStream is enabled for this account and, with a domain, that its region is connected.")
	case errors.Is(err, errNoAnswer), errors.Is(err, errDisconnected):
		return events.Errorf(events.ErrUnreachable, "the log's servers did not answer %s: %w", operation, err)
	}
	return err
}

// failing is an answer that may be an error.
type failing interface{ failure() *jetstream.APIError }

// apiAnswer is the part that all answers share.
type apiAnswer struct {
	Error *jetstream.APIError `json:"error,omitempty"`
}

func (a *apiAnswer) failure() *jetstream.APIError { return a.Error }

func hasCode(err error, code jetstream.ErrorCode) bool {
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.ErrorCode == code
}

// streamInfo returns what the leader says of the stream. Beside the errors of call: ErrNoLog.
func (a api) streamInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	var answer struct {
		apiAnswer
		jetstream.StreamInfo
	}
	err := a.call(ctx, "STREAM.INFO."+a.stream, nil, &answer)
	if err != nil {
		return nil, a.unanswered(err)
	}
	return &answer.StreamInfo, nil
}

// unanswered names the server's error: a missing stream is ErrNoLog, all others (no leader, offline, overloaded) are ErrUnreachable.
func (a api) unanswered(err error) error {
	e, ok := errors.AsType[*jetstream.APIError](err)
	switch {
	case !ok:
		return err
	case e.ErrorCode != codeNoStream:
		return events.Errorf(events.ErrUnreachable, "the log's servers cannot answer now: %w", e)
	case a.link.fresh():
		return events.Errorf(events.ErrUnreachable, "the servers have just come back, without stream %s so far: %w", a.stream, e)
	}
	return events.Errorf(events.ErrNoLog, "the servers have no stream %s: %w", a.stream, e).
		Hint("Create it with natslog.Setup in the region that leads the origin.")
}

// message is a stored message as the leader returns it.
type message struct {
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"seq"`
	Headers  []byte    `json:"hdrs"`
	Data     []byte    `json:"data"`
	Time     time.Time `json:"time"`
	header   nats.Header
}

// query asks for one message: by sequence, the last of a subject, or the next of a subject from a sequence on.
type query struct {
	Sequence uint64 `json:"seq,omitempty"`
	LastOf   string `json:"last_by_subj,omitempty"`
	NextOf   string `json:"next_by_subj,omitempty"`
}

// message returns the leader's own copy of a message. Never a direct get: that may come from a replica that lags. Beside the
// errors of call: errNoMessage, ErrNoLog.
func (a api) message(ctx context.Context, q query) (*message, error) {
	var answer struct {
		apiAnswer
		Message *message `json:"message"`
	}
	switch err := a.call(ctx, "STREAM.MSG.GET."+a.stream, q, &answer); {
	case hasCode(err, codeNoMessage):
		return nil, errNoMessage
	case err != nil:
		return nil, a.unanswered(err)
	case answer.Message == nil:
		return nil, errNoMessage
	}
	m := answer.Message
	if len(m.Headers) > 0 {
		var err error
		if m.header, err = nats.DecodeHeadersMsg(m.Headers); err != nil {
			return nil, events.Errorf(events.ErrDamaged, "the headers of sequence %d cannot be read: %w", m.Sequence, err)
		}
	}
	return m, nil
}

// record decodes m as a record of the origin. Errors: ErrDamaged, ErrForeignHistory.
func (m *message) record(origin string) (events.Record, error) {
	var r events.Record
	err := events.Decode(&r, origin, m.Sequence, m.Time, events.Message{Subject: m.Subject, Header: events.Header(m.header), Data: m.Data})
	return r, err
}
