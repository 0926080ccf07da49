package natsobjects

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
	"tidemark.dev/projections"
)

const (
	// requestTimeout bounds one request.
	requestTimeout = 5 * time.Second
	// storePatience bounds the storing of one part, over elections and restarts of the servers.
	storePatience = 20 * time.Second
	// maxPart is how long a part is, in bytes. It fits into a message of the server's default bound, also as base64. One part is one flush to the disk where every
	// write is flushed.
	maxPart = 512 << 10
	// partOverhead is left of a server's bound for a part's headers, in bytes.
	partOverhead = 4 << 10
	// leftoverAge is after how long parts without a description are taken for those of a writer that died.
	leftoverAge = time.Hour
)

// Config of an object store. Bucket is required.
type Config struct {
	// Bucket is the store's name. The stream is OBJ_<Bucket>.
	Bucket string
	// Create makes the bucket if it does not exist. Without it nothing is asked of the servers until a method is called, and a missing bucket is
	// ErrNoLog then: a region that was set up before there were snapshots has none.
	Create bool
	// Replicas of a new bucket; 0 means 1.
	Replicas int
	// Logger gets one line per change of state of the connection; default: none.
	Logger *slog.Logger
}

// Snapshots implements projections.Snapshots.
type Snapshots struct {
	link   *natsapi.Link
	api    natsapi.API
	bucket string
	part   int           // bytes of a part
	age    time.Duration // leftoverAge, shorter in tests
}

var _ projections.Snapshots = (*Snapshots)(nil)

// Open opens an object store, over a connection of its own with the options of nc. Errors: events.ErrUnreachable, events.ErrUnauthorized.
func Open(ctx context.Context, nc *nats.Conn, c Config) (*Snapshots, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	link, err := natsapi.Connect(nc, "snapshots", c.Logger, requestTimeout)
	if err != nil {
		return nil, err
	}
	s := &Snapshots{link: link, bucket: c.Bucket, part: partSize(link.Conn().MaxPayload()), age: leftoverAge}
	s.api = natsapi.API{Link: link, Prefix: natsapi.Prefix(""), Stream: streamName(c.Bucket), Missing: "Start the region's services once, of this version: they set it up."}
	if c.Create {
		if err := s.create(ctx, c.Replicas); err != nil {
			link.Close()
			return nil, s.failed(ctx, "open the bucket "+c.Bucket, err)
		}
	}
	return s, nil
}

// Close ends the connection. What is being put or read fails.
func (s *Snapshots) Close() { s.link.Close() }

// partSize returns how long a part may be where a message may have so many bytes.
func partSize(maxPayload int64) int {
	return int(max(min(maxPart, maxPayload-partOverhead), 1))
}

func streamName(bucket string) string { return "OBJ_" + bucket }

// create makes the stream if there is none. Its settings are those of every object store.
func (s *Snapshots) create(ctx context.Context, replicas int) error {
	_, err := s.api.StreamInfo(ctx)
	if !errors.Is(err, events.ErrNoLog) {
		return err
	}
	err = s.api.Call(ctx, "STREAM.CREATE."+s.api.Stream, jetstream.StreamConfig{
		Name: s.api.Stream, Description: "tidemark snapshots of read models", Subjects: []string{s.subject("C.>"), s.subject("M.>")},
		Storage: jetstream.FileStorage, Replicas: replicas, Discard: jetstream.DiscardNew, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1,
		AllowRollup: true, AllowDirect: true,
	}, &natsapi.Answer{})
	if natsapi.HasCode(err, jetstream.JSErrCodeStreamNameInUse) { // somebody else was faster, with other settings
		return nil
	}
	return err
}

// subject returns a subject of the bucket: C. and the random name of an object's parts, M. and the encoded name of a description.
func (s *Snapshots) subject(rest string) string { return "$O." + s.bucket + "." + rest }

// failed turns the error of a request into one with a code.
func (s *Snapshots) failed(ctx context.Context, what string, err error) error {
	coded, isCoded := errors.AsType[*events.Error](err)
	switch {
	case ctx.Err() != nil:
		return events.Errorf(events.ErrUnreachable, "%s: %w", what, context.Cause(ctx))
	case isCoded && coded.Code == events.ErrUnauthorized:
		return events.Errorf(events.ErrUnauthorized, "%s: %s: %w", what, coded.What, err).Hint("Compare the NATS user's permissions with those in infra/natsobjects/README.md.")
	case isCoded:
		return &events.Error{Code: coded.Code, What: what + ": " + coded.What, Next: coded.Next, Err: err}
	}
	if api, refused := errors.AsType[*jetstream.APIError](err); refused {
		return events.Errorf(events.ErrUnreachable, "%s: JetStream refused: %s", what, api.Description).
			Hint("Look at the limits and the free space of its disk: nats stream info %s.", s.api.Stream)
	}
	return events.Errorf(events.ErrUnreachable, "%s: %w", what, err).Hint("Is NATS reachable, and does JetStream have a leader?")
}
