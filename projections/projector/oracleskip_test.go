package projector_test

import (
	"bytes"
	"encoding/json"

	"tidemark.dev/events"
)

// skipped is a skip that the log has recorded.
type skipped struct {
	Key      string `json:"key"`
	Sequence uint64 `json:"sequence"`
	At       uint64 `json:"at"`
}

// skip takes in a record under the name of skip records. It means nothing unless it repeats all skips so far, exactly, and adds others of earlier sequences.
func (o *oracle) skip(r *events.Record) {
	before := len(o.skips)
	list, ok := readSkips(r.Control.Data)
	ok = ok && r.Stamp.Tx.Count <= 1 && len(list) > before && len(list) <= 1000
	known := map[skipped]bool{}
	for i := 0; ok && i < len(list); i++ {
		if i < before {
			ok = list[i] == o.skips[i]
		} else {
			ok = list[i].At == 0 && list[i].Key != "" && list[i].Sequence > 0 && list[i].Sequence < r.Sequence
		}
		name := skipped{Key: list[i].Key, Sequence: list[i].Sequence}
		ok = ok && !known[name]
		known[name] = true
	}
	if !ok {
		o.ignored++
		return
	}
	for _, s := range list[before:] {
		s.At = r.Sequence
		o.skips = append(o.skips, s)
	}
	for _, s := range list[before:] {
		if d := o.last(s.Key); d.exists && d.parked == o.position(s.Sequence).String() {
			o.release(s.Key, r)
		}
	}
}

func readSkips(data []byte) ([]skipped, bool) {
	var content struct {
		Skips  []skipped `json:"skips"`
		Reason string    `json:"reason"`
	}
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	return content.Skips, json.Valid(data) && strict.Decode(&content) == nil
}

// release folds a document from the beginning of the log, passing over what may be, and makes that its version at a record.
func (o *oracle) release(key string, at *events.Record) {
	var d expected
	for _, r := range o.folded {
		effects, _ := o.effects(&r.Event)
		if touched := (len(effects) > 0 && r.Kind == events.KindEvent); !touched || d.exists && d.parked != "" {
			continue
		}
		next, ok := o.change(key, d, r)
		switch {
		case ok:
			d = next
		case !o.passes(key, r.Sequence):
			d = o.park(d, r)
		}
	}
	o.released++
	if d.exists && d.parked != "" {
		o.again++
	}
	d.seq, d.at = at.Sequence, o.position(at.Sequence).String()
	o.docs[key] = append(o.docs[key], d)
}

func (o *oracle) passes(key string, seq uint64) bool {
	for _, s := range o.skips {
		if s.Key == key && s.Sequence == seq {
			return true
		}
	}
	return false
}
