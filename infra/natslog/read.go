package natslog

import (
	"context"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsread"
)

// Read yields the records of a range.
func (l *Log) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		ctx, stop := l.within(ctx)
		defer stop()
		if first := l.id.first(); max(r.From, 1) < first {
			yield(nil, events.Errorf(events.ErrHole, "this copy of the log of origin %s was made to begin with sequence %d, so it cannot be read from %d on", l.cfg.Origin, first, max(r.From, 1)).
				Hint("Read what is below from the region that leads the log."))
			return
		}
		for records, err := range l.reader.Read(ctx, r) {
			if !yield(records, err) {
				return
			}
		}
	}
}

// newReader returns what reads the log's stream.
func (l *Log) newReader() *natsread.Reader {
	return natsread.New(natsread.Config{API: l.reading, History: history{l}, Patience: l.options.ReadPatience, Logger: l.logger})
}

// history is the log, for whoever reads its stream.
type history struct{ log *Log }

// Name returns what messages call it.
func (h history) Name() string { return "the log of origin " + h.log.cfg.Origin }

// Identify asks the leader which history the stream holds now.
func (h history) Identify(ctx context.Context) (*jetstream.StreamInfo, events.Lineage, error) {
	info, terms, err := h.log.id.refresh(ctx)
	return info, terms.Lineage, err
}

// Decode reads a stored message.
func (h history) Decode(r *events.Record, seq uint64, stored time.Time, m events.Message) error {
	return events.Decode(r, h.log.cfg.Origin, seq, stored, m)
}

// Observe moves the clock past what was read.
func (h history) Observe(r *events.Record) { h.log.observe(r) }

// Hole is the error of a sequence that is missing.
func (h history) Hole(seq uint64) error {
	return events.Errorf(events.ErrHole, "sequence %d is missing from the log of origin %s, which goes on behind it: it was deleted, or is damaged on disk",
		seq, h.log.cfg.Origin).Hint("Compare it with another region's copy of the log and restore it from there.")
}
