package projector

import "tidemark.dev/events"

// whole keeps whole transactions only. A transaction whose end has not been read yet is held back; one that was cut off by a
// promotion is void.
type whole struct {
	held []events.Record  // copies: the reader uses its slice again
	open []*events.Record // the transaction being read
	work []*events.Record
}

// take returns the records of records, and of what was held back before, that belong to complete transactions, and the last record up to which
// everything is decided; nil when everything is held back. The result is valid until the next call.
func (w *whole) take(records []events.Record) (work []*events.Record, upto *events.Record) {
	w.work, w.open = w.work[:0], w.open[:0]
	for i := range w.held {
		w.open = append(w.open, &w.held[i])
	}
	for i := range records {
		r := &records[i]
		tx := r.Stamp.Tx
		if n := len(w.open); n > 0 {
			last := w.open[n-1].Stamp.Tx
			if tx.Count != last.Count || tx.Index != last.Index+1 {
				w.open = w.open[:0] // a fragment
			}
		}
		if tx.Alone() {
			w.work, upto = append(w.work, r), r
			continue
		}
		if len(w.open) == 0 && tx.Index != 1 {
			upto = r // the rest of a fragment
			continue
		}
		if w.open = append(w.open, r); tx.Index == tx.Count {
			w.work, w.open, upto = append(w.work, w.open...), w.open[:0], r
		}
	}
	w.hold()
	return w.work, upto
}

// hold copies the open transaction. Work may still point into the former copies, so they are not overwritten.
func (w *whole) hold() {
	if len(w.open) == 0 {
		w.held = nil
		return
	}
	held := make([]events.Record, len(w.open))
	for i, r := range w.open {
		held[i] = *r
	}
	w.held = held
}

func (w *whole) reset() { w.held = nil }
