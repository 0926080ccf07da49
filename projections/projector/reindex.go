package projector

import "tidemark.dev/projections"

// indexed is where a document is in the indexes, as the store has it: under which value in each of the definition's, in that of the parked
// ones, and in that of those that expire. An empty value means that it is not there.
type indexed struct {
	values  []string
	parked  string
	expires string
}

// placed remembers where a stored document is indexed: where it was put when it was written.
func (e *engine) placed(d *entry, parked string, values []string) error {
	d.indexed.parked, _ = projections.ParkedValue(parked)
	d.indexed.expires, _ = e.def.ExpiryValue(parked, values)
	if e.indexer == nil {
		return nil
	}
	d.indexed.values = make([]string, e.indexer.Indexes())
	for i := range d.indexed.values {
		value, err := e.indexer.Value(i, values)
		if err != nil {
			return err
		}
		d.indexed.values[i] = string(value)
	}
	return nil
}

// reindex adds to a document's write the entries of indexes that it leaves and those that it gets. A document whose values in an index stay
// the same stays there untouched, unless what is stored cannot be trusted.
func (e *engine) reindex(d *entry, w *projections.Write) error {
	if e.indexer == nil && e.def.Expires == "" && d.indexed.parked == "" && w.Parked == "" {
		return nil
	}
	m := moving{gone: e.batch.gone[:0], come: e.batch.come[:0], again: d.repaired}
	if e.indexer != nil {
		if d.indexed.values == nil {
			d.indexed.values = make([]string, e.indexer.Indexes())
		}
		for i, was := range d.indexed.values {
			var now []byte
			if !w.Remove {
				var err error
				if now, err = e.indexer.Value(i, w.Values); err != nil {
					return err
				}
			}
			d.indexed.values[i] = m.move(i, was, now)
		}
	}
	parked, expires := "", ""
	if !w.Remove {
		parked, _ = projections.ParkedValue(w.Parked)
		expires, _ = e.def.ExpiryValue(w.Parked, w.Values)
	}
	d.indexed.parked = m.move(projections.ParkedIndex, d.indexed.parked, []byte(parked))
	d.indexed.expires = m.move(projections.ExpiryIndex, d.indexed.expires, []byte(expires))
	e.batch.gone, e.batch.come = m.gone, m.come
	w.Unindex, w.Index = e.batch.keep(m.gone), e.batch.keep(m.come)
	return nil
}

// moving collects what changes for one document.
type moving struct {
	gone, come []projections.IndexEntry
	again      bool // entries that stay are written again
}

// move notes that a document is to be under another value of an index, and returns that.
func (m *moving) move(index int, was string, now []byte) string {
	same := string(now) == was
	if same && !m.again {
		return was
	}
	value := was
	if !same {
		value = string(now)
		if was != "" {
			m.gone = append(m.gone, projections.IndexEntry{Index: index, Value: was})
		}
	}
	if value != "" {
		m.come = append(m.come, projections.IndexEntry{Index: index, Value: value})
	}
	return value
}

// keep copies entries into the batch's memory.
func (b *batch) keep(list []projections.IndexEntry) []projections.IndexEntry {
	if len(list) == 0 {
		return nil
	}
	from := len(b.entries)
	b.entries = append(b.entries, list...)
	return b.entries[from:len(b.entries):len(b.entries)]
}
