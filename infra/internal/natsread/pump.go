package natsread

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
	"tidemark.dev/infra/internal/natsconn"
)

// Bounds of reading.
const (
	// readAhead is how many batches wait for the reader.
	readAhead = 2
	// MaxBatchBytes hands a batch over before it has its number of records.
	MaxBatchBytes = 16 << 20
	// MaxGaps is how often a consumer may skip the same sequence before the leader is asked for it.
	MaxGaps = 3
	// missingPatience is how long a stream that is being followed may be missing: it may be restored or made anew just now.
	missingPatience = 2 * time.Second
)

// pump reads a range through one consumer after another. A consumer does not acknowledge, and may lose messages, its server or
// its stream. So nothing it delivers is trusted: each sequence must be the next one, and before a new consumer goes on it is proven that the
// stream still holds the history read so far.
type pump struct {
	Config
	next    uint64 // the sequence to be read next
	to      uint64 // the last one; 0: none
	empty   bool   // there is nothing to read
	follow  bool
	batch   int
	lineage events.Lineage
	forget  time.Duration // after which servers remove an idle consumer

	records []events.Record // read and not handed over
	bytes   int
	out     chan []events.Record
	spare   chan []events.Record
	err     error // what ended the reading; set before out is closed

	seen     events.Hash // fingerprint of the record before next, if one was read
	gapAt    uint64
	gaps     int
	failures int // sessions that failed since a record came last
	stuck    time.Time
}

// newPump checks that the range lies on the log.
func (r *Reader) newPump(ctx context.Context, wanted events.Range) (*pump, error) {
	p := &pump{
		Config: r.cfg, next: max(wanted.From, 1), to: wanted.To, follow: wanted.Follow, batch: wanted.Batch, forget: forgetConsumer,
		out: make(chan []events.Record, readAhead-1), spare: make(chan []events.Record, readAhead+1),
	}
	if p.batch <= 0 {
		p.batch = events.DefaultReadBatch
	}
	head, err := p.begin(ctx)
	if err != nil {
		return nil, err
	}
	if p.next > head+1 {
		return nil, p.endsBefore(head)
	}
	if !p.follow && (p.to == 0 || p.to > head) {
		p.to, p.empty = head, head == 0
	}
	return p, nil
}

// begin asks the leader for the history's lineage and head, again and again while it is unreachable.
func (p *pump) begin(ctx context.Context) (head uint64, err error) {
	for begun := time.Now(); ; p.failures++ {
		info, lineage, err := p.History.Identify(ctx)
		if err == nil {
			p.failures, p.lineage = 0, lineage
			if most := info.Config.ConsumerLimits.InactiveThreshold; most > 0 {
				p.forget = min(p.forget, most)
			}
			return info.State.LastSeq, nil
		}
		if !errors.Is(err, events.ErrUnreachable) || !p.follow && time.Since(begun) > p.Patience {
			return 0, err
		}
		if err := p.wait(ctx); err != nil {
			return 0, err
		}
	}
}

func (p *pump) endsBefore(head uint64) error {
	return events.Errorf(events.ErrForeignHistory, "%s ends at sequence %d, before sequence %d where reading should go on",
		p.History.Name(), head, p.next).Hint("It was made anew or cut back, or the position is of another log.")
}

func (p *pump) finished() bool { return p.empty || p.to > 0 && p.next > p.to }

// run reads until the range is read, an error ends it, or ctx ends.
func (p *pump) run(ctx context.Context) {
	defer close(p.out)
	for {
		err := p.session(ctx)
		p.handOver(ctx)
		if err == nil {
			return
		}
		if err = p.recover(ctx, err); err != nil || p.finished() {
			p.err = ended(ctx, err)
			return
		}
	}
}

// handOver gives what was read to the reader, who takes everything until he ends ctx.
func (p *pump) handOver(ctx context.Context) {
	if len(p.records) == 0 {
		return
	}
	select {
	case p.out <- p.records:
		p.handedOver()
	case <-ctx.Done():
	}
}

// handedOver begins a new batch.
func (p *pump) handedOver() {
	p.bytes = 0
	select {
	case p.records = <-p.spare:
	default:
		p.records = nil
	}
}

// giveBack takes a slice that the reader is done with.
func (p *pump) giveBack(records []events.Record) {
	select {
	case p.spare <- records[:0]:
	default:
	}
}

// room returns where the next record goes.
func (p *pump) room() *events.Record {
	n := len(p.records)
	if n < cap(p.records) {
		p.records = p.records[:n+1]
	} else {
		p.records = append(p.records, events.Record{})
	}
	return &p.records[n]
}

// add decodes the next record. It returns the error of Decode.
func (p *pump) add(seq uint64, stored time.Time, m events.Message) error {
	r := p.room()
	if err := p.History.Decode(r, seq, stored, m); err != nil {
		p.records = p.records[:len(p.records)-1]
		return err
	}
	p.next = seq + 1
	p.bytes += len(m.Data)
	return nil
}

// full reports whether the batch must be handed over before more is read.
func (p *pump) full() bool {
	return len(p.records) >= p.batch || p.bytes >= MaxBatchBytes || p.finished()
}

// note remembers the last record of the batch, to prove later that the history is the same.
func (p *pump) note() {
	n := len(p.records)
	if n == 0 {
		return
	}
	last := &p.records[n-1]
	p.seen = last.Fingerprint()
	p.History.Observe(last)
	if p.failures > 0 {
		p.Logger.Info("reading resumed", "sequence", last.Sequence)
		p.failures, p.stuck = 0, time.Time{}
	}
}

// recover decides what an interrupted session means: nil to go on with a new one.
func (p *pump) recover(ctx context.Context, cause error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if code, known := events.CodeOf(cause); known && code != events.ErrUnreachable && code != events.ErrNoLog {
		return cause
	}
	if p.failures == 0 {
		p.stuck = time.Now()
		p.Logger.Warn("reading interrupted", "sequence", p.next, "error", cause)
	}
	var missing time.Time
	for {
		if p.failures++; p.failures > 1 {
			if err := p.wait(ctx); err != nil {
				return err
			}
		}
		err := p.verify(ctx)
		switch {
		case err == nil && errors.Is(cause, errGap):
			return p.gap(ctx)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, events.ErrNoLog):
			if missing.IsZero() {
				missing = time.Now()
			}
			if !p.follow || time.Since(missing) > missingPatience {
				return err
			}
		case err != nil && !errors.Is(err, events.ErrUnreachable):
			return err
		}
		if !p.follow && time.Since(p.stuck) > p.Patience {
			return events.Errorf(events.ErrUnreachable, "reading stopped before sequence %d, since nothing came for %s: %w", p.next, p.Patience, cause)
		}
		if err == nil {
			return nil
		}
	}
}

// wait waits a little longer each time.
func (p *pump) wait(ctx context.Context) error {
	t := time.NewTimer(natsconn.Backoff(max(p.failures-2, 0)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// verify proves that the stream still holds the history read so far.
func (p *pump) verify(ctx context.Context) error {
	info, lineage, err := p.History.Identify(ctx)
	if err != nil {
		return err
	}
	if lineage != p.lineage {
		return events.Errorf(events.ErrForeignHistory, "%s was made anew: its lineage is %s, the one read before %s", p.History.Name(), lineage, p.lineage)
	}
	if p.next > info.State.LastSeq+1 {
		return p.endsBefore(info.State.LastSeq)
	}
	if p.seen.IsZero() {
		return nil
	}
	m, err := p.API.Message(ctx, natsapi.Query{Sequence: p.next - 1})
	missing := errors.Is(err, natsapi.ErrNoMessage)
	switch {
	case missing && p.Gaps != nil:
		return nil // it is not held any more, or never was: only the lineage tells
	case missing:
	case err != nil:
		return err
	default:
		var r events.Record
		if p.decode(&r, m) == nil && r.Fingerprint() == p.seen {
			return nil
		}
	}
	return events.Errorf(events.ErrForeignHistory, "sequence %d of %s is not the record that was read there before", p.next-1, p.History.Name()).
		Hint("The log was replaced by an older or another copy. Compare it with another region's.")
}

// gap deals with a sequence that a consumer skipped. A new consumer usually delivers it; after MaxGaps of them the leader says whether it
// holds the record.
func (p *pump) gap(ctx context.Context) error {
	if p.gapAt != p.next {
		p.gapAt, p.gaps = p.next, 0
	}
	if p.gaps++; p.gaps < MaxGaps {
		return nil
	}
	m, err := p.API.Message(ctx, natsapi.Query{Sequence: p.next})
	switch {
	case errors.Is(err, natsapi.ErrNoMessage):
		return p.missing(ctx)
	case err != nil:
		return nil //nolint:nilerr // the next session finds out
	}
	p.Logger.Warn("a consumer skips a record that the leader holds", "sequence", p.next)
	if err := p.add(m.Sequence, m.Time, stored(m)); err != nil {
		return err
	}
	p.note()
	p.handOver(ctx)
	return nil
}

// missing decides about a sequence that the leader does not hold.
func (p *pump) missing(ctx context.Context) error {
	leapt, err := p.leap(ctx, p.next) // since the last look
	if err != nil {
		return nil //nolint:nilerr // the next session finds out
	}
	if !leapt {
		return p.History.Hole(p.next)
	}
	p.note()
	p.handOver(ctx)
	return nil
}

// leap steps over the next sequences, up to one that is to at most; 0: the last one of the stream. It reports whether it did: the stream itself must say that it does
// not hold any of them.
func (p *pump) leap(ctx context.Context, to uint64) (bool, error) {
	if p.Gaps == nil {
		return false, nil
	}
	if p.to > 0 && (to == 0 || to > p.to) {
		to = p.to
	}
	gone, ok, err := p.Gaps.Gone(ctx, p.next, to)
	if err != nil || !ok || gone.First != p.next || gone.Sequence < gone.First {
		return false, err
	}
	*p.room() = gone
	p.next = gone.Sequence + 1
	return true, nil
}

func (p *pump) decode(r *events.Record, m *natsapi.Message) error {
	return p.History.Decode(r, m.Sequence, m.Time, stored(m))
}

func stored(m *natsapi.Message) events.Message {
	return events.Message{Subject: m.Subject, Header: events.Header(m.Header), Data: m.Data}
}
