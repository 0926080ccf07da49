package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
)

const (
	// heartbeat is how often the leader sends something when there is no record, and how long a floor can stand still after the last of them. The
	// servers make it one second whatever is asked for.
	heartbeat = time.Second
	// maxUnconfirmed bounds the records that were sent and not confirmed.
	maxUnconfirmed = 8_192
)

// consumerConfig is the durable consumer at the leader that feeds the mirror. The mirror confirms through flow control what it has stored. It
// delivers everything, so that it may be set to any sequence: where to begin is decided by the gate each time. It is kept in memory, so that a leader
// which was put back to an older copy of its store has none: there the mirror would go on at once, past records that were replaced meanwhile.
func (c Config) consumerConfig() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Name:           c.consumer(),
		Durable:        c.consumer(),
		Description:    "feeds the copy of origin " + c.Origin + " in region " + c.Region,
		DeliverSubject: natslog.MirrorSubject(c.Region, c.Origin),
		DeliverPolicy:  jetstream.DeliverAllPolicy,
		AckPolicy:      jetstream.AckFlowControlPolicy,
		FlowControl:    true,
		IdleHeartbeat:  heartbeat,
		MemoryStorage:  true,
		MaxDeliver:     -1,
		MaxAckPending:  maxUnconfirmed,
	}
}

// consumerRequest asks for a consumer to be made.
type consumerRequest struct {
	Stream string                   `json:"stream_name"`
	Config jetstream.ConsumerConfig `json:"config"`
}

// consumerAnswer is the answer to a request about a consumer.
type consumerAnswer struct {
	jetstream.ConsumerInfo
}

func (c Config) consumerSubject(operation string) string {
	return "CONSUMER." + operation + "." + c.stream() + "." + c.consumer()
}

// ensureConsumer makes the consumer at the leader unless it exists. One that exists with other settings is left alone: ErrUnsafeLog.
func (c Config) ensureConsumer(ctx context.Context, leader api) (created bool, err error) {
	var found consumerAnswer
	_, err = leader.call(ctx, callTimeout, c.consumerSubject("INFO"), nil, &found)
	if created = hasCode(err, codeNoConsumer); created {
		_, err = leader.call(ctx, createTimeout, c.consumerSubject("CREATE"), consumerRequest{Stream: c.stream(), Config: c.consumerConfig()}, &found)
	}
	if errors.Is(err, nats.ErrNoResponders) {
		// The leader's stream has just been looked at, so the way is open. A message that may not cross the link is dropped without a word.
		return false, events.Errorf(events.ErrUnauthorized, "region %s answers other requests, but not %s or %s", c.Leader, c.consumerSubject("INFO"), c.consumerSubject("CREATE")).
			Hint("Check the rights of the user with which region %s is linked to region %s.", c.Region, c.Leader)
	}
	if err != nil {
		return false, leader.named(c.stream(), err)
	}
	return created, c.auditConsumer(&found.ConsumerInfo)
}

// auditConsumer returns ErrUnsafeLog when the consumer is not one that a mirror can be fed by.
func (c Config) auditConsumer(info *jetstream.ConsumerInfo) error {
	got, want := info.Config, c.consumerConfig()
	for _, s := range []struct {
		setting     string
		found, want any
	}{
		{"deliver_subject", got.DeliverSubject, want.DeliverSubject},
		{"deliver_policy", got.DeliverPolicy, want.DeliverPolicy},
		{"ack_policy", got.AckPolicy, want.AckPolicy},
		{"flow_control", got.FlowControl, want.FlowControl},
		{"filter", got.FilterSubject + fmt.Sprint(len(got.FilterSubjects)), want.FilterSubject + "0"},
		{"mem_storage", got.MemoryStorage, true},
		{"headers_only", got.HeadersOnly, false},
		{"deliver_group", got.DeliverGroup, ""},
		{"paused", info.Paused, false},
	} {
		if s.found != s.want {
			return events.Errorf(events.ErrUnsafeLog, "the consumer %s of stream %s in region %s has %s %v, and must have %v; the mirror was not started",
				c.consumer(), c.stream(), c.Leader, s.setting, s.found, s.want).
				Hint("Remove it there: nats consumer rm %s %s. It is made anew.", c.stream(), c.consumer())
		}
	}
	return nil
}

// resetRequest sets a consumer to a sequence, from which on it delivers.
type resetRequest struct {
	Sequence uint64 `json:"seq"`
}

// resetConsumer sets the consumer to the sequence after the copy's head, and returns the leader's answer as the mirror wants to hear it.
func (c Config) resetConsumer(ctx context.Context, leader api, head uint64) ([]byte, error) {
	var set consumerAnswer
	text, err := leader.call(ctx, callTimeout, c.consumerSubject("RESET"), resetRequest{Sequence: head + 1}, &set)
	if err != nil {
		return nil, leader.named(c.stream(), err)
	}
	if err := c.auditConsumer(&set.ConsumerInfo); err != nil {
		return nil, err
	}
	if at := set.Delivered.Stream; at != head {
		// A mirror that is told of a later sequence records the ones before it as deleted.
		return nil, events.Errorf(events.ErrUnreachable, "region %s was asked to send from sequence %d on, and begins at %d; it is asked again", c.Leader, head+1, at+1)
	}
	return text, nil
}

// deleteConsumer takes the consumer away, so that the leader sends nothing more.
func (c Config) deleteConsumer(ctx context.Context, leader api) error {
	var done struct {
		Success bool `json:"success"`
	}
	_, err := leader.call(ctx, callTimeout, c.consumerSubject("DELETE"), nil, &done)
	if hasCode(err, codeNoConsumer) || hasCode(err, codeNoStream) {
		return nil
	}
	return leader.named(c.stream(), err)
}
