package forward

import (
	"errors"
	"slices"
	"strings"

	"tidemark.dev/events"
)

// What an answer holds.
const (
	answerReceipt  = 'r'
	answerError    = 'e'
	answerConflict = 'c'
	answerExpired  = 'x' // the request came after its deadline; it was not begun
	answerHello    = 'h'
	answerFloors   = 'f'
	answerHead     = 'p'
)

const (
	// maxErrorBytes bounds each text of an error on the wire; longer ones are cut.
	maxErrorBytes = 4 << 10
	// maxFloors bounds the regions that one origin can have.
	maxFloors = 1_000
)

// answer is what a writer says.
type answer struct {
	what  byte
	clock int64 // the writer's, in milliseconds since 1970, when it answered

	receipt    events.Receipt
	err        error           // of answerError (*events.Error) and answerConflict (*events.ConflictError)
	leader     string          // of answerHello: the region that answers
	maxPayload int64           // of answerHello: what a message may have there
	floors     []events.Floor  // of answerFloors
	position   events.Position // of answerHead: the log's last record
}

// failed returns the answer that carries an error.
func failed(err error) answer {
	if c, ok := errors.AsType[*events.ConflictError](err); ok {
		return answer{what: answerConflict, err: c}
	}
	if e, ok := errors.AsType[*events.Error](err); ok {
		return answer{what: answerError, err: e}
	}
	code, ok := events.CodeOf(err)
	if !ok {
		code = events.ErrUnknownOutcome // nobody knows what it means for the append
	}
	return answer{what: answerError, err: events.Errorf(code, "%s", err.Error())}
}

func (a *answer) encode() []byte {
	b := append(head(kindAnswer), a.what)
	b = putNumber(b, uint64(a.clock)) //nolint:gosec // after 1970
	switch a.what {
	case answerReceipt:
		b = putText(b, a.receipt.Position.String())
		b = putNumber(putNumber(b, a.receipt.First), a.receipt.Last)
		b = putFlag(b, a.receipt.Duplicate)
	case answerError:
		if e, ok := errors.AsType[*events.Error](a.err); ok {
			b = putText(putText(putText(b, clip(string(e.Code))), clip(e.What)), clip(e.Next))
		}
	case answerConflict:
		if c, ok := errors.AsType[*events.ConflictError](a.err); ok {
			b = putText(putText(putText(b, c.Entity.Type), c.Entity.ID), c.Control)
			b = putNumber(putNumber(b, c.Expected), c.Actual)
		}
	case answerHello:
		b = putNumber(putText(b, a.leader), uint64(a.maxPayload)) //nolint:gosec // a size
	case answerFloors:
		b = putNumber(b, uint64(len(a.floors)))
		for _, f := range a.floors {
			b = putFlag(putNumber(putText(b, f.Region), f.Sequence), f.Connected)
		}
	case answerHead:
		b = putText(b, a.position.String())
	}
	return b
}

// clip cuts a text that is too long for an answer.
func clip(s string) string {
	if len(s) <= maxErrorBytes {
		return s
	}
	return strings.ToValidUTF8(s[:maxErrorBytes-3], "") + "…"
}

// decodeAnswer reads what encode writes.
func decodeAnswer(m []byte) (answer, error) {
	kind, err := kindOf(m)
	if err != nil {
		return answer{}, err
	}
	if kind != kindAnswer || len(m) == headBytes {
		return answer{}, malformed("the message of kind %q and %d bytes is no answer", kind, len(m))
	}
	a := answer{what: m[headBytes]}
	s := &scanner{rest: m[headBytes+1:]}
	a.clock = s.signed()
	switch a.what {
	case answerReceipt:
		a.receipt = events.Receipt{Position: s.position(), First: s.number(), Last: s.number(), Duplicate: s.flag()}
	case answerError:
		e := &events.Error{Code: events.Code(s.text()), What: s.text(), Next: s.text()}
		if e.Code == "" {
			s.fail("an error has no code")
		}
		a.err = e
	case answerConflict:
		c := &events.ConflictError{Entity: events.Entity{Type: s.text(), ID: s.text()}, Control: s.text()}
		c.Expected, c.Actual = s.number(), s.number()
		a.err = c
	case answerExpired:
	case answerHello:
		a.leader, a.maxPayload = s.text(), s.signed()
	case answerFloors:
		for range s.count("floors", maxFloors) {
			a.floors = append(a.floors, events.Floor{Region: s.text(), Sequence: s.number(), Connected: s.flag()})
		}
		if !slices.IsSortedFunc(a.floors, func(x, y events.Floor) int { return strings.Compare(x.Region, y.Region) }) {
			s.fail("the floors are not sorted")
		}
	case answerHead:
		if a.position = s.position(); a.position.IsZero() {
			s.fail("a head is nowhere")
		}
	default:
		s.fail("the answer %q is not known", a.what)
	}
	if err := s.end(); err != nil {
		return answer{}, err
	}
	return a, nil
}

// signed reads a number that fits into 63 bits.
func (s *scanner) signed() int64 {
	n := s.number()
	if n > 1<<63-1 {
		s.fail("a number is too large")
		return 0
	}
	return int64(n) //nolint:gosec // bounded
}
