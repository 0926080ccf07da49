package natskv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
)

const (
	// DefaultLeaseTTL is how long the name of a holder that died stays taken.
	DefaultLeaseTTL = 10 * time.Second
	// MinLeaseTTL is the smallest time to live that the server grants.
	MinLeaseTTL = time.Second
	// markerTTL is how long the server keeps the marker of a key that expired, so that watchers see it.
	markerTTL = time.Minute
)

// Config of a bucket. Bucket is required.
type Config struct {
	Bucket string
	// Create makes the bucket if it does not exist. Without it a missing bucket is ErrNoLog: the region was never set up.
	Create bool
	// Replicas of a new bucket; 0 means 1.
	Replicas int
	// LeaseTTL is how long a lease lasts without renewal; default DefaultLeaseTTL, at least MinLeaseTTL.
	LeaseTTL time.Duration
	// Takeover lets a holder take a lease that is held under its own name, at once. Set it only where something else makes sure that the
	// earlier process of that name is dead, such as the lock of a data directory.
	Takeover bool
	// Logger gets one line per change of state; default: none.
	Logger *slog.Logger
}

// Open opens a bucket. Errors: events.ErrUnreachable, events.ErrUnauthorized, events.ErrNoLog, events.ErrUnsafeLog (a bucket without times to live).
func Open(ctx context.Context, nc *nats.Conn, c Config) (*KV, *Leases, error) {
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = DefaultLeaseTTL
	}
	c.LeaseTTL = max(c.LeaseTTL, MinLeaseTTL)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, fmt.Errorf("natskv: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	b := &bucket{nc: nc, js: js, name: c.Bucket}
	if err := b.open(ctx, c); err != nil {
		return nil, nil, err
	}
	return &KV{bucket: b}, &Leases{bucket: b, config: c}, nil
}

func (b *bucket) open(ctx context.Context, c Config) error {
	what := "open the bucket " + b.name
	var err error
	b.kv, err = b.js.KeyValue(ctx, b.name)
	if errors.Is(err, jetstream.ErrBucketNotFound) && c.Create {
		b.kv, err = b.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: b.name, Description: "tidemark state of a region", History: 1, Storage: jetstream.FileStorage,
			Replicas: c.Replicas, LimitMarkerTTL: markerTTL,
		})
		if errors.Is(err, jetstream.ErrBucketExists) { // somebody else was faster
			b.kv, err = b.js.KeyValue(ctx, b.name)
		}
	}
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return events.Errorf(events.ErrNoLog, "the region's bucket %s does not exist", b.name).
			Hint("Start the region's services once: they set it up.")
	}
	if err != nil {
		return b.failed(ctx, what, err)
	}
	stream, err := b.js.Stream(ctx, streamName(b.name))
	if err != nil {
		return b.failed(ctx, what, err)
	}
	if b.markerTTL = stream.CachedInfo().Config.SubjectDeleteMarkerTTL; b.markerTTL == 0 {
		return events.Errorf(events.ErrUnsafeLog, "the bucket %s grants no times to live, so a lease of a dead process would last for ever", b.name).
			Hint("Allow them: nats kv edit %s --marker-ttl 1m", b.name)
	}
	return nil
}
