package natslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

// verdict is what one attempt to store an append came to.
type verdict uint8

const (
	// stored: written now; the last record has the answer's sequence.
	stored verdict = iota + 1
	// duplicate: the servers know the message id, at the answer's sequence. Whether the content is the same is to be compared.
	duplicate
	// known: the servers know one of the batch's ids. Nothing was written.
	known
	// conflicting: an expectation does not hold. Nothing was written. It does not say that the append is not stored: an unreplicated
	// server looks at the expectation first, so that is also its answer to an append it has stored already.
	conflicting
	// undecided: the servers are busy with the same subject or id, or lost part of the batch. Nothing was written; ask again.
	undecided
	// unavailable: nothing was written, since no stream is listening or it cannot store now.
	unavailable
	// refused: nothing was written, and trying again is of no use. The answer's error says why.
	refused
	// doubtful: no answer came. It may be stored.
	doubtful
)

// answer is the outcome of one attempt.
type answer struct {
	verdict  verdict
	sequence uint64
	err      error
}

// pubAck is the servers' answer to a publish or to the commit of a batch.
type pubAck struct {
	natsapi.Answer
	Stream    string `json:"stream"`
	Domain    string `json:"domain"`
	Sequence  uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
	Count     int    `json:"count"`
}

// errElsewhere: a stream that is not this log's acknowledged the append.
var errElsewhere = errors.New("another stream acknowledged it")

// acks reads answers. Nearly all of them differ only in the sequence, so what stands before it is learned from the first.
type acks struct {
	stream string
	domain atomic.Pointer[string] // nil: not known yet
	plain  atomic.Pointer[[]byte]
}

// read returns what an answer to n records says.
func (a *acks) read(m *nats.Msg, n int) answer {
	if plain := a.plain.Load(); plain != nil && n == 1 && bytes.HasPrefix(m.Data, *plain) {
		if seq, ok := digitsThenBrace(m.Data[len(*plain):]); ok {
			return answer{verdict: stored, sequence: seq}
		}
	}
	if len(m.Data) == 0 && headerOf(m.Header, "Status") == "503" {
		return answer{verdict: unavailable, err: nats.ErrNoResponders}
	}
	var ack pubAck
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return answer{verdict: doubtful, err: fmt.Errorf("the servers' answer cannot be read: %w", err)}
	}
	if e := ack.Failure(); e != nil {
		return answer{verdict: verdictOf(e.ErrorCode), err: refusal(e)}
	}
	if domain := a.domain.Load(); ack.Stream != a.stream || domain != nil && ack.Domain != *domain {
		return answer{verdict: doubtful, err: fmt.Errorf("%w: stream %q of domain %q", errElsewhere, ack.Stream, ack.Domain)}
	}
	if ack.Duplicate {
		return answer{verdict: duplicate, sequence: ack.Sequence}
	}
	if n > 1 && ack.Count != n {
		return answer{verdict: doubtful, err: fmt.Errorf("the servers acknowledged %d of %d records", ack.Count, n)}
	}
	if n == 1 && ack.Count == 0 {
		if i := bytes.LastIndexByte(m.Data, ':'); i > 0 {
			if _, ok := digitsThenBrace(m.Data[i+1:]); ok {
				plain := bytes.Clone(m.Data[:i+1])
				a.plain.Store(&plain)
			}
		}
	}
	return answer{verdict: stored, sequence: ack.Sequence}
}

// digitsThenBrace reads 1042}.
func digitsThenBrace(b []byte) (uint64, bool) {
	n := len(b) - 1
	if n < 1 || n > 19 || b[n] != '}' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(b[:n]), 10, 64)
	return v, err == nil
}

func verdictOf(code jetstream.ErrorCode) verdict {
	switch code {
	case codeWrongLast:
		return conflicting
	case codeBatchDuplicateID:
		return known
	case codeUndecided, codeIDInProcess, codeBatchIncomplete, codeTooManyBatches:
		return undecided
	case codeTooLarge, codeBatchTooLarge, codeBatchesOff, codeSealed, codeRollup, codeWrongLastMsgID:
		return refused
	default:
		return unavailable
	}
}

func refusal(e *jetstream.APIError) error {
	switch e.ErrorCode {
	case codeTooLarge, codeBatchTooLarge:
		return events.Errorf(events.ErrTooLarge, "the servers refused the append for its size; nothing was written: %w", e)
	case codeBatchesOff, codeSealed:
		return events.Errorf(events.ErrUnsafeLog, "the stream's settings were changed under way; nothing was written: %w", e).
			Hint("Run the audit of the log.")
	}
	return e
}
