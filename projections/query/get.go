package query

import (
	"context"
	"strconv"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Answer is one document at a position.
type Answer struct {
	Projection string   `json:"projection"`
	Key        string   `json:"key"`
	Region     string   `json:"region"`
	Document   Document `json:"document"`
	Standing
	// Parked says where and why the document's fold stopped; empty when it did not.
	Parked string `json:"parked,omitempty"`

	// Changed is the position of the last record that changed the document: an event, or the skip record that released it.
	Changed string `json:"-"`
}

// AppendJSON appends the answer as JSON, as encoding/json writes it but for HTML's sake: one document is what is asked for most.
func (a Answer) AppendJSON(b []byte) ([]byte, error) {
	var err error
	member := func(name, value string) {
		if err == nil {
			b = append(b, name...)
			b, err = appendText(b, value)
		}
	}
	member(`{"projection":`, a.Projection)
	member(`,"key":`, a.Key)
	member(`,"region":`, a.Region)
	if err != nil {
		return nil, err
	}
	if b, err = a.Document.appendJSON(append(b, `,"document":`...)); err != nil {
		return nil, err
	}
	member(`,"position":`, a.Position.String())
	if b = append(b, `,"lag":`...); a.Lag == nil {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendUint(append(b, `{"events":`...), a.Lag.Events, 10)
		b = a.Lag.At.AppendFormat(append(b, `,"at":"`...), time.RFC3339Nano)
		b = append(b, '"', '}')
	}
	b = strconv.AppendUint(append(b, `,"generation":`...), uint64(a.Generation), 10)
	if a.At != "" {
		member(`,"at":`, a.At)
	}
	if a.ETag != "" {
		member(`,"etag":`, a.ETag)
	}
	if a.Parked != "" {
		member(`,"parked":`, a.Parked)
	}
	return append(b, '}'), err
}

// Get returns a document. Errors: ErrUnknownProjection, ErrUnknownCopy, ErrInvalidKey, ErrNoDocument (with the position at which that is true, see Absence), ErrUnavailable,
// ErrNotReached (with the position that was reached, see Behind), events.ErrLostPosition (the wanted position is of another history), events.ErrForeignHistory (the read
// model is), ErrDocumentDamaged, ErrInvalidQuery, ErrStoreUnreachable, events.ErrUnreachable, what the leader answers to a strong read, or the context's cause. With an error,
// the answer has no document, and its Position is what the read model has reached, or zero when that is not known.
func (r *Reader) Get(ctx context.Context, projection, key string, o Options) (Answer, error) {
	if err := projections.ValidateKey(key); err != nil {
		return Answer{}, err
	}
	var doc *projections.Document
	m, h, err := r.read(ctx, question{
		projection: projection,
		from: func(m *model) (s projections.PartitionSet) {
			s.Add(projections.PartitionOf(key, m.gen.Partitions))
			return s
		},
		do: func(ctx context.Context, m *model) (h projections.Header, err error) {
			ref := projections.Ref{Partition: projections.PartitionOf(key, m.gen.Partitions), Key: key}
			h, doc, err = r.store.Get(ctx, m.gen, &m.def, ref)
			return h, err
		},
	}, o)
	a := Answer{Projection: projection, Key: key, Region: r.region, Standing: m.standing(h.Checkpoint)}
	if err != nil {
		return a, err
	}
	a.Lag = r.headsOf(&m).Lag(ctx, h.Checkpoint)
	if doc == nil {
		return a, &Absence{Answer: a}
	}
	if doc.Values == nil {
		return a, m.damaged(key)
	}
	a.Changed, a.Parked = doc.At, doc.Parked
	a.Document = Document{Fields: m.def.Fields, Values: doc.Values}
	var t tag
	t.document(doc)
	a.ETag = t.of(m.gen.Number)
	return a, nil
}

func (m *model) damaged(key string) error {
	e := events.Errorf(projections.ErrDocumentDamaged, "the document %s of %s lacks fields or has foreign ones, or is missing where the index has it", key, m.said())
	if m.copy != nil {
		return e.Hint("It was changed outside the log. A copy is not repaired: drop it, and make it anew.")
	}
	return e.Hint("It was changed outside the log. tidemark replay %s --from-start builds it anew.", m.def.Name)
}

// Absence is ErrNoDocument: the read model is complete at Answer.Position, and has no document of that key.
type Absence struct{ Answer Answer }

// Error says what is absent, and where that was seen.
func (a *Absence) Error() string {
	whose := a.Answer.Projection
	if a.Answer.At != "" {
		whose = copyOf(a.Answer.At, whose)
	}
	return string(projections.ErrNoDocument) + ": " + whose + " has no document " + a.Answer.Key + " at " + a.Answer.Position.String()
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
