package natslog

import (
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

// Error codes of the server that this package tells apart. They are not part of the client library; the tests pin them.
const (
	codeTooLarge         jetstream.ErrorCode = 10054 // message size exceeds maximum
	codeStoreFailed      jetstream.ErrorCode = 10049
	codeNoReplicas       jetstream.ErrorCode = 10074
	codeNameInUse        jetstream.ErrorCode = 10058
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

// apiOf asks the leader of a log's stream.
func apiOf(l *natsapi.Link, cfg Config) natsapi.API {
	return natsapi.API{
		Link: l, Prefix: natsapi.Prefix(cfg.Domain), Stream: StreamName(cfg.Origin),
		Missing: "Create it with natslog.Setup in the region that leads the origin.",
	}
}

// record decodes m as a record of the origin. Errors: ErrDamaged, ErrForeignHistory.
func record(m *natsapi.Message, origin string) (events.Record, error) {
	var r events.Record
	if m.BadHeader != nil {
		return r, events.Errorf(events.ErrDamaged, "the headers of sequence %d cannot be read: %w", m.Sequence, m.BadHeader)
	}
	err := events.Decode(&r, origin, m.Sequence, m.Time, events.Message{Subject: m.Subject, Header: events.Header(m.Header), Data: m.Data})
	return r, err
}
