package natsapi

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrNoMessage is what the leader answers for a sequence or subject it holds nothing of.
var ErrNoMessage = errors.New("no such message")

// Message is a stored message as the leader returns it.
type Message struct {
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"seq"`
	Headers  []byte    `json:"hdrs"`
	Data     []byte    `json:"data"`
	Time     time.Time `json:"time"`

	// Header is Headers, decoded; nil when they cannot be, and BadHeader says why. A consumer delivers such a message without headers.
	Header    nats.Header `json:"-"`
	BadHeader error       `json:"-"`
}

// Query asks for one message: by sequence, the last of a subject, or the next of a subject from a sequence on.
type Query struct {
	Sequence uint64 `json:"seq,omitempty"`
	LastOf   string `json:"last_by_subj,omitempty"`
	NextOf   string `json:"next_by_subj,omitempty"`
}

// Message returns the leader's own copy of a message. Never a direct get: that may come from a replica that lags. Beside the
// errors of Call: ErrNoMessage, ErrNoLog.
func (a API) Message(ctx context.Context, q Query) (*Message, error) {
	var answer struct {
		Answer
		Message *Message `json:"message"`
	}
	switch err := a.Call(ctx, "STREAM.MSG.GET."+a.Stream, q, &answer); {
	case HasCode(err, codeNoMessage):
		return nil, ErrNoMessage
	case err != nil:
		return nil, a.Unanswered(err)
	case answer.Message == nil:
		return nil, ErrNoMessage
	}
	m := answer.Message
	if len(m.Headers) > 0 {
		m.Header, m.BadHeader = nats.DecodeHeadersMsg(m.Headers)
	}
	return m, nil
}
