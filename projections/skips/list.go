package skips

import (
	"context"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// List is what a projection's skip records up to some sequence come to. The zero List is that of no record. It is a function of the records
// alone: whoever adds the same ones has the same list.
type List struct {
	skips []Skip // every At is set

	last    uint64   // sequence of the newest record, whether it is obeyed or not
	ignored *Ignored // the newest that is not obeyed
}

// Ignored is a record under the name of skip records that nobody obeys.
type Ignored struct {
	Sequence uint64 `json:"sequence"`
	Reason   string `json:"reason"`
}

// Read returns the list of the records up to a sequence. It returns the log's errors.
func Read(ctx context.Context, log events.Reader, projection string, upto uint64) (*List, error) {
	l := &List{}
	for r, err := range log.Controls(ctx, Name(projection), 1) {
		if err != nil {
			return nil, err
		}
		if r.Sequence > upto {
			break
		}
		_, _ = l.Add(&r) // what is not obeyed is remembered as such
	}
	return l, nil
}

// Skips returns every skip, in the order in which they were added. The caller must not change it.
func (l *List) Skips() []Skip { return l.skips }

// Last returns the sequence of the newest record under the name, obeyed or not; 0 when there is none. The next one expects it.
func (l *List) Last() uint64 { return l.last }

// Ignored returns the newest record that is not obeyed; nil when all are.
func (l *List) Ignored() *Ignored { return l.ignored }

// Find returns the sequence of the record that added the skip of an event for a document, if one up to the sequence upto did.
func (l *List) Find(key string, sequence, upto uint64) (at uint64, ok bool) {
	for i := range l.skips {
		if s := &l.skips[i]; s.Sequence == sequence && s.Key == key && s.At <= upto {
			return s.At, true
		}
	}
	return 0, false
}

// Add takes the next record under the name, and returns what it adds. Records must come in order. It returns ErrInvalidSkip, with the reason, when
// the record is not obeyed; then it adds nothing, and the next one is measured by what was there before.
//
// A record is obeyed when it stands alone (not beside events, so that a checkpoint can stand before it), can be read, repeats all skips that
// are in force, unchanged and in order, and adds others of events before it.
func (l *List) Add(r *events.Record) ([]Skip, error) {
	l.last = r.Sequence
	added, err := l.judge(r)
	if err != nil {
		l.ignored = &Ignored{Sequence: r.Sequence, Reason: err.What}
		return nil, err
	}
	l.skips = append(l.skips, added...)
	return slices.Clip(l.skips)[len(l.skips)-len(added):], nil
}

// judge returns what a record adds, or why it is not obeyed.
func (l *List) judge(r *events.Record) ([]Skip, *events.Error) {
	if r.Kind != events.KindControl {
		return nil, invalid("it is malformed: %s", r.Reason)
	}
	if !r.Stamp.Tx.Alone() {
		return nil, invalid("it is part of a transaction")
	}
	c, err := decode(r.Control.Data)
	if err != nil {
		told, _ := err.(*events.Error) //nolint:errorlint // decode returns no other
		return nil, told
	}
	n := len(l.skips)
	switch {
	case len(c.Skips) > MaxSkips:
		return nil, invalid("it has %d skips, over the bound of %d", len(c.Skips), MaxSkips)
	case len(c.Skips) < n || !slices.Equal(c.Skips[:n], l.skips):
		return nil, invalid("it forgets or changes skips that are in force")
	case len(c.Skips) == n:
		return nil, invalid("it adds nothing")
	}
	seen := make(map[Skip]bool, len(c.Skips))
	for _, s := range l.skips {
		seen[Skip{Key: s.Key, Sequence: s.Sequence}] = true
	}
	for i := n; i < len(c.Skips); i++ {
		s := &c.Skips[i]
		switch {
		case s.At != 0:
			return nil, invalid("it names a record before it for a skip that it adds itself")
		case projections.ValidateKey(s.Key) != nil:
			return nil, invalid("it has a skip of a document that cannot exist")
		case s.Sequence == 0 || s.Sequence >= r.Sequence:
			return nil, invalid("it skips sequence %d, which was not in the log before it", s.Sequence)
		case seen[*s]:
			return nil, invalid("it has the skip of sequence %d for one document twice", s.Sequence)
		}
		seen[*s] = true
		s.At = r.Sequence
	}
	return c.Skips[n:], nil
}
