// Package query answers from the read models of a region.
//
// Every answer says at which position it was true. A document and its partition's header come from one atomic read, so a read model that is
// missing, building or retired is never mistaken for one without the document.
package query

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// DefaultWait is how long a read with a position waits for it.
	DefaultWait = 5 * time.Second
	// MaxWait bounds it.
	MaxWait = time.Minute
	// DefaultLimit is the number of documents of a page that asks for no other.
	DefaultLimit = 50
	// MaxLimit is the largest number of documents of one page.
	MaxLimit = 1_000

	firstPoll = time.Millisecond
	lastPoll  = 25 * time.Millisecond
	// switches bounds how often one request follows a generation that is being replaced.
	switches = 5
)

// Reader answers queries in one region. It is safe for concurrent use.
type Reader struct {
	region string
	store  projections.Store
	kv     projections.KV
	heads  *Heads
	models models
	heard  heard
}

// New returns a Reader.
func New(region string, store projections.Store, kv projections.KV, heads *Heads) *Reader {
	return &Reader{region: region, store: store, kv: kv, heads: heads, models: models{kv: kv, known: make(map[string]model)}, heard: heard{last: make(map[string]sound)}}
}

// Options of a read.
type Options struct {
	// AtLeast is the position from which on to answer; zero: whatever is there.
	AtLeast events.Position
	// Wait is how long to wait for AtLeast; 0 means DefaultWait, a negative one not at all. At most MaxWait.
	Wait time.Duration
}

// Lag says how far an answer is behind the log.
type Lag struct {
	Events uint64 `json:"events"`
}

// Answer is one document at a position.
type Answer struct {
	Projection string          `json:"projection"`
	Key        string          `json:"key"`
	Region     string          `json:"region"`
	Document   Document        `json:"document"`
	Position   events.Position `json:"position"`
	// Lag is nil when it is not known.
	Lag *Lag `json:"lag"`

	// Changed is the position of the last event that changed the document.
	Changed string `json:"-"`
	// Generation of the read model.
	Generation uint32 `json:"-"`
	// Parked says where and why the document's fold stopped; empty when it did not.
	Parked string `json:"parked,omitempty"`
}

// Get returns a document. Errors: ErrUnknownProjection, ErrInvalidKey, ErrNoDocument (with the position at which that is true, see Absence), ErrUnavailable,
// ErrNotReached, events.ErrLostPosition (the wanted position is of another history), events.ErrForeignHistory (the read model is),
// ErrDocumentDamaged, ErrInvalidQuery, ErrStoreUnreachable, events.ErrUnreachable, or the context's cause. With an error, the answer has
// no document, and its Position is what the read model has reached, or zero when that is not known.
func (r *Reader) Get(ctx context.Context, projection, key string, o Options) (Answer, error) {
	if err := projections.ValidateKey(key); err != nil {
		return Answer{}, err
	}
	var doc *projections.Document
	m, h, err := r.read(ctx, projection, o, func(ctx context.Context, m model) (h projections.Header, err error) {
		ref := projections.Ref{Partition: projections.PartitionOf(key, m.gen.Partitions), Key: key}
		h, doc, err = r.store.Get(ctx, m.gen, &m.def, ref)
		return h, err
	})
	a := Answer{Projection: projection, Key: key, Region: r.region, Position: h.Checkpoint, Generation: m.gen.Number}
	if err != nil {
		return a, err
	}
	a.Lag = r.heads.Lag(ctx, h.Checkpoint)
	if doc == nil {
		return a, &Absence{Answer: a}
	}
	if doc.Values == nil {
		return a, damaged(projection, key)
	}
	a.Changed, a.Parked = doc.At, doc.Parked
	a.Document = Document{Fields: m.def.Fields, Values: doc.Values}
	return a, nil
}

func damaged(projection, key string) error {
	return events.Errorf(projections.ErrDocumentDamaged, "the document %s of %s lacks fields or has foreign ones, or is missing where the index has it", key, projection).
		Hint("It was changed outside the log. tidemark replay %s --from-start builds it anew.", projection)
}

// Absence is ErrNoDocument: the read model is complete at Answer.Position, and has no document of that key.
type Absence struct{ Answer Answer }

// Error says what is absent, and where that was seen.
func (a *Absence) Error() string {
	return string(projections.ErrNoDocument) + ": " + a.Answer.Projection + " has no document " + a.Answer.Key + " at " + a.Answer.Position.String()
}

// Is reports whether target is ErrNoDocument.
func (a *Absence) Is(target error) bool { return target == projections.ErrNoDocument }

// As lets the code of an Absence be found.
func (a *Absence) As(target any) bool {
	if c, ok := target.(*events.Code); ok {
		*c = projections.ErrNoDocument
		return true
	}
	return false
}

// read calls do with the live generation until its header may answer and covers the wanted position.
func (r *Reader) read(ctx context.Context, projection string, o Options, do func(context.Context, model) (projections.Header, error)) (model, projections.Header, error) {
	wait, err := o.wait()
	if err != nil {
		return model{}, projections.Header{}, err
	}
	if err := r.acceptable(ctx, o.AtLeast); err != nil {
		return model{}, projections.Header{}, err
	}
	deadline := time.Now().Add(wait)
	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		m, h, err := r.look(ctx, projection, do)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return m, h, err
		}
		verdict := r.judge(ctx, projection, h, o.AtLeast)
		helps := errors.Is(verdict, projections.ErrNotReached) || errors.Is(verdict, projections.ErrUnavailable)
		if verdict == nil || !helps || o.AtLeast.IsZero() || !time.Now().Before(deadline) {
			return m, h, verdict
		}
		if err := pause(ctx, min(poll, time.Until(deadline))); err != nil {
			return m, h, err
		}
	}
}

// look calls do with the live generation. When that turns out to be replaced or missing, it looks whether another one is live now.
func (r *Reader) look(ctx context.Context, projection string, do func(context.Context, model) (projections.Header, error)) (model, projections.Header, error) {
	m, err := r.models.get(ctx, projection, false)
	for range switches {
		if err != nil {
			break
		}
		h, err := do(ctx, m)
		if err != nil || h.State != projections.Retired && h.State != projections.Absent {
			return m, h, err
		}
		now, err := r.models.get(ctx, projection, true)
		if err != nil || now.gen == m.gen {
			return m, h, err
		}
		m = now
	}
	if err == nil {
		err = events.Errorf(projections.ErrUnavailable, "the read model %s is being replaced again and again", projection).Hint("Ask again in a moment.")
	}
	return m, projections.Header{}, err
}

// judge says whether a partition with this header may answer.
func (r *Reader) judge(ctx context.Context, projection string, h projections.Header, atLeast events.Position) error {
	switch h.State {
	case projections.Live:
	case projections.Building:
		return events.Errorf(projections.ErrUnavailable, "the read model %s is being built: it is at %s of %s", projection, h.Checkpoint, h.Target).
			Hint("Ask again in a moment; tidemark status shows the progress.")
	case projections.Retired:
		return events.Errorf(projections.ErrUnavailable, "the read model %s was replaced by one that is not known here yet", projection).
			Hint("Ask again in a moment.")
	default:
		return events.Errorf(projections.ErrUnavailable, "the read model %s is empty and is not being built yet", projection).
			Hint("Ask again in a moment. If it stays so, no projector is running: tidemark status.")
	}
	histories, err := r.heads.Contains(ctx, h.Checkpoint)
	if err != nil {
		return err
	}
	if atLeast.IsZero() {
		return nil
	}
	if histories == nil {
		return events.Errorf(events.ErrUnreachable, "the log does not answer, so it cannot be said whether %s is reached", atLeast).
			Hint("Ask again, or read without a position.")
	}
	switch histories.Covers(h.Checkpoint, atLeast) {
	case events.Yes:
		return nil
	case events.Lost:
		return lost(atLeast, h.Checkpoint)
	case events.No:
	}
	return events.Errorf(projections.ErrNotReached, "the read model %s is at %s and did not reach %s in time", projection, h.Checkpoint, atLeast).
		Hint("Ask again, wait longer, or read without a position.")
}

// acceptable refuses a position that no read model of this region can ever cover.
func (r *Reader) acceptable(ctx context.Context, p events.Position) error {
	if p.IsZero() {
		return nil
	}
	info, err := r.heads.Info(ctx)
	if err == nil && (events.Histories{info.Origin: info.Terms}).Covers(info.Head(), p) != events.Lost {
		return nil // it is in the log, or may still come
	}
	histories, head, err := r.heads.Fresh(ctx) // what was known may be of before the log was recreated
	if err != nil {
		return err
	}
	if histories.Covers(head, p) == events.Lost {
		return lost(p, head)
	}
	return nil
}

func lost(p, at events.Position) error {
	return events.Errorf(events.ErrLostPosition, "the position %s is not of this region's history, which is at %s", p, at).
		Hint("It was made by another installation, or lost in a failover. Read without a position, or publish again.")
}

func (o Options) wait() (time.Duration, error) {
	switch {
	case o.Wait == 0:
		return DefaultWait, nil
	case o.Wait < 0:
		return 0, nil
	case o.Wait > MaxWait:
		return 0, events.Errorf(projections.ErrInvalidQuery, "a wait of %s is over the bound of %s", o.Wait, MaxWait)
	}
	return o.Wait, nil
}

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
