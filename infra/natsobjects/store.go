package natsobjects

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/infra/internal/natsapi"
)

const (
	// undecidedWait is the pause before a write is tried again that met another one under way.
	undecidedWait = 5 * time.Millisecond
	// unansweredWait is the pause before a write is tried again that nobody answered: an election takes about so long.
	unansweredWait = 200 * time.Millisecond
)

// storePart stores a part behind the one at last, and returns where it is.
func (s *Snapshots) storePart(ctx context.Context, subject string, part []byte, last uint64) (uint64, error) {
	m := nats.NewMsg(subject)
	m.Data = part
	next, err := s.store(ctx, m, last, func(stored *natsapi.Message) bool { return bytes.Equal(stored.Data, part) })
	if errors.Is(err, errTaken) { // nobody else knows the subject, but whoever removes what is left over
		err = gone()
	}
	return next, err
}

// store stores a message if the last one of its subject is at a sequence. It is sent again while no answer comes: mine says whether what is found then at another sequence is the
// message itself, whose acknowledgement was lost. If it is not, store returns errTaken.
func (s *Snapshots) store(ctx context.Context, m *nats.Msg, expected uint64, mine func(*natsapi.Message) bool) (uint64, error) {
	ctx, stop := context.WithTimeoutCause(ctx, storePatience, natsapi.ErrNoAnswer)
	defer stop()
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(expected, 10))
	for {
		at, err := s.publish(ctx, m)
		switch {
		case err == nil:
			return at, nil
		case natsapi.HasCode(err, jetstream.JSErrCodeStreamWrongLastSequence):
			last, err := s.api.Message(ctx, natsapi.Query{LastOf: m.Subject})
			switch {
			case err == nil && last.Sequence != expected && mine(last):
				return last.Sequence, nil
			case err == nil, errors.Is(err, natsapi.ErrNoMessage):
				return 0, errTaken
			}
			return 0, err
		case natsapi.HasCode(err, jetstream.JSErrCodeStreamWrongLastSequenceConstant): // another write of the subject is under way: one of ours, or somebody else's
			err = pause(ctx, undecidedWait)
		case errors.Is(err, natsapi.ErrNoAnswer), errors.Is(err, natsapi.ErrDisconnected), errors.Is(err, nats.ErrNoResponders):
			if err = pause(ctx, unansweredWait); err == nil {
				err = s.link.Wait(ctx)
			}
		}
		if err != nil {
			return 0, s.unstored(ctx, m, err)
		}
	}
}

// unstored names the error of a message that was not acknowledged. A stream that is not there has nobody who answers.
func (s *Snapshots) unstored(ctx context.Context, m *nats.Msg, err error) error {
	if errors.Is(err, natsapi.ErrNoAnswer) || errors.Is(err, natsapi.ErrDisconnected) {
		return s.api.Failure("to the message for "+m.Subject, err)
	}
	return err
}

// publish sends a message once and returns the sequence at which it is stored.
func (s *Snapshots) publish(ctx context.Context, m *nats.Msg) (uint64, error) {
	answer, _, err := s.link.Request(ctx, m)
	if err != nil {
		return 0, err
	}
	var ack struct {
		natsapi.Answer
		Sequence uint64 `json:"seq"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, err
	}
	if e := ack.Failure(); e != nil {
		return 0, e
	}
	return ack.Sequence, nil
}

// pause waits, and returns the cause of ctx's end.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
