package marks

import (
	"context"
	"errors"
	"fmt"

	"tidemark.dev/events"
)

// place is a place between marks: behind the mark at Sequence, which said Number and Upto. The zero place is the beginning of the log.
type place struct {
	Sequence uint64 `json:"sequence"`
	Number   uint64 `json:"number"`
	Upto     uint64 `json:"upto"`
}

const (
	// stepRecords is about how many records are read before somebody else has a turn.
	stepRecords = 20_000
	// stepMarks bounds the marks of one step.
	stepMarks = 500
)

// seenMark is a mark and where it is.
type seenMark struct {
	events.Mark
	sequence uint64
	print    events.Hash
	chain    events.Hash
}

// walked is what a step came to.
type walked struct {
	at   place
	good []Good
	// end says that no mark follows.
	end bool
}

// step checks the next marks behind a place, of a copy that begins with a sequence. A finding is what is wrong behind walked.at; an error says nothing about the log.
func step(ctx context.Context, log events.Reader, first uint64, from place) (walked, *Finding, error) {
	n, err := following(ctx, log, first, from)
	w := walked{at: n.from, end: len(n.marks) == 0 && n.from == from}
	if err != nil {
		return w, nil, err
	}
	if len(n.marks) > 0 {
		if f, err := w.check(ctx, log, n.marks); f != nil || err != nil {
			return w, f, err
		}
	}
	if n.finding != nil {
		if f, err := readable(ctx, log, first, w.at, n.finding.To); f != nil || err != nil { // that tells the exact place
			return w, f, err
		}
		n.finding.At, n.finding.From, n.finding.First = w.at, max(w.at.Upto+1, first), max(w.at.Upto+1, first)
	}
	return w, n.finding, nil
}

// ahead are the marks behind a place.
type ahead struct {
	from    place // where they begin: behind the marks that say nothing of records
	marks   []seenMark
	finding *Finding // what comes instead of the next one
}

// following returns the next marks that follow each other. After one that says nothing of records they begin anew, from the log's first record on. A copy that begins later than the log cannot be
// held against marks that cover what is below: they are passed over, and the first one that covers only what the copy holds is taken as it is.
func following(ctx context.Context, log events.Reader, first uint64, from place) (ahead, error) {
	n, at := ahead{from: from}, from
	for r, err := range log.Controls(ctx, events.ControlMark, max(from.Sequence+1, first)) {
		switch {
		case errors.Is(err, events.ErrDamaged):
			n.finding = &Finding{Kind: Altered, Text: "a mark cannot be read: " + textOf(err)}
			return n, nil
		case err != nil:
			return n, err
		}
		m, ok := events.MarkOf(&r)
		if !ok || m.Number == 0 {
			if len(n.marks) > 0 {
				return n, nil
			}
			n.from = place{Sequence: r.Sequence}
			at = n.from
			continue
		}
		if at.Upto+1 < first { // the one before is not here, or says nothing of what is
			if m.After+1 < first {
				at = place{r.Sequence, m.Number, m.Upto}
				n.from = at
				continue
			}
			at = place{at.Sequence, m.Number - 1, m.After}
			n.from = at
		}
		chain, covers := m.Covers(r.Sequence)
		if !covers || m.Number != at.Number+1 || m.After != at.Upto {
			n.finding = &Finding{
				Kind: Unordered, To: r.Sequence, Text: fmt.Sprintf("the mark at sequence %d is number %d and covers what is above %d up to %d, and the one before is number %d and ends at %d",
					r.Sequence, m.Number, m.After, m.Upto, at.Number, at.Upto),
			}
			return n, nil
		}
		n.marks = append(n.marks, seenMark{Mark: m, sequence: r.Sequence, print: r.Fingerprint(), chain: chain})
		at = place{r.Sequence, m.Number, m.Upto}
		if len(n.marks) == stepMarks || m.Upto-n.marks[0].After >= stepRecords {
			break
		}
	}
	return n, ctx.Err()
}

// check reads the records that marks cover and compares. The marks follow each other, so it is one reading.
func (w *walked) check(ctx context.Context, log events.Reader, marks []seenMark) (*Finding, error) {
	first, last := marks[0].After, marks[len(marks)-1].Upto
	var chain events.Chain
	seq, at := first, 0
	// passed compares the marks that end here.
	passed := func() *Finding {
		for ; at < len(marks) && marks[at].Upto == seq; at++ {
			m := &marks[at]
			if sum := chain.Sum(); sum != m.chain {
				return &Finding{
					Kind: Altered, From: m.After + 1, To: m.Upto, First: m.After + 1, Exact: m.Upto == m.After+1, At: w.at, Chain: m.Chain,
					Text: fmt.Sprintf("the records %d to %d have the chain %s, and the mark at sequence %d says %s", m.After+1, m.Upto, sum, m.sequence, m.Chain),
				}
			}
			chain = events.Chain{}
			w.at = place{m.sequence, m.Number, m.Upto}
			w.good = append(w.good, Good{Sequence: m.sequence, Number: m.Number, Upto: m.Upto, Print: m.print.String()})
		}
		return nil
	}
	if f := passed(); f != nil || first == last {
		return f, nil
	}
	for records, err := range log.Read(ctx, events.Range{From: first + 1, To: last}) {
		if err != nil {
			f := broken(err, seq+1)
			if f == nil {
				return nil, err
			}
			f.At, f.From = w.at, marks[at].After+1
			if f.Chain = marks[at].Chain; f.To < marks[at].Upto {
				f.To = marks[at].Upto
			}
			return f, nil
		}
		for i := range records {
			chain.Add(&records[i])
			seq = records[i].Sequence
			if f := passed(); f != nil {
				return f, nil
			}
		}
	}
	if at < len(marks) {
		return nil, ended(ctx, "the log of %s ended at %d while it was read up to %d", log.Origin(), seq, last)
	}
	return nil, nil //nolint:nilnil // nothing was found
}

// broken returns the finding that an error of reading is, at a sequence; nil when it says nothing about the log.
func broken(err error, seq uint64) *Finding {
	f := &Finding{From: seq, To: seq, First: seq, Exact: true, Text: textOf(err)}
	switch {
	case errors.Is(err, events.ErrHole):
		f.Kind = Hole
	case errors.Is(err, events.ErrDamaged):
		f.Kind = Altered
	default:
		return nil
	}
	return f
}

// readable reads the records behind a place, up to a sequence (0: the head), whatever marks say. It finds what their reading alone shows. The copy begins with first.
func readable(ctx context.Context, log events.Reader, first uint64, from place, to uint64) (*Finding, error) {
	info, err := log.Info(ctx)
	if err != nil {
		return nil, err
	}
	if to == 0 || to > info.Last {
		to = info.Last
	}
	seq := max(from.Upto, max(first, 1)-1)
	if to <= seq {
		return nil, nil //nolint:nilnil // nothing was found
	}
	for records, err := range log.Read(ctx, events.Range{From: seq + 1, To: to}) {
		if err != nil {
			f := broken(err, seq+1)
			if f == nil {
				return nil, err
			}
			f.At, f.From, f.To = from, max(from.Upto+1, first), to
			return f, nil
		}
		seq = records[len(records)-1].Sequence
	}
	return nil, ctx.Err()
}

// ended returns ctx's cause when it ended, otherwise an error that says nothing about the log.
func ended(ctx context.Context, format string, args ...any) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return events.Errorf(events.ErrUnreachable, format, args...)
}
