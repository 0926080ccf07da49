package projector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections/skips"
)

// skip writes something under the name of the projection's skip records.
func (s *simulation) skip() {
	if s.holes {
		s.log.Heal() // what cannot be read now would be written over
	}
	o := s.oracle(s.version)
	switch s.random.IntN(12) {
	case 0:
		s.junk(o)
	case 1:
		s.skipInside(o)
	case 2:
		s.writeSkip(o)
	case 3: // of another projection
		s.storeSkips("skip."+s.kind+"-2", append(slices.Clone(o.skips), s.someSkip(o)))
	default:
		list := slices.Clone(o.skips)
		for range 1 + s.random.IntN(3) {
			if one := s.someSkip(o); !o.passes(one.Key, one.Sequence) && !slices.Contains(list, one) {
				list = append(list, one)
			}
		}
		s.storeSkips("skip."+s.kind, list)
	}
	s.counts["skip records"]++
}

// someSkip returns the skip of an event that a document is parked at, mostly, or of any event.
func (s *simulation) someSkip(o *oracle) skipped {
	var parked []skipped
	keys := slices.Sorted(maps.Keys(o.docs))
	for _, key := range keys {
		if d := o.last(key); d.exists && d.parked != "" {
			parked = append(parked, skipped{Key: key, Sequence: d.parkedAt(s.t)})
		}
	}
	if len(parked) > 0 && s.random.IntN(4) > 0 {
		return parked[s.random.IntN(len(parked))]
	}
	other := skipped{Key: "never", Sequence: 1 + uint64(s.random.IntN(len(o.records)))} //nolint:gosec // not negative
	if len(keys) > 0 {
		other.Key = keys[s.random.IntN(len(keys))]
	}
	// Mostly of an event of the document, which may come to be one that cannot be applied.
	if versions := o.docs[other.Key]; len(versions) > 0 && s.random.IntN(4) > 0 {
		other.Sequence = versions[s.random.IntN(len(versions))].seq
	}
	s.counts["skips of what is not parked"]++
	return other
}

// parkedAt returns the sequence of the event that a document is parked at.
func (d *expected) parkedAt(t testing.TB) uint64 {
	p, err := events.ParsePosition(d.parked)
	if err != nil {
		t.Fatal(err)
	}
	return sequence(p)
}

// storeSkips stores a record, as any client of the broker could.
func (w *world) storeSkips(name string, list []skipped) uint64 {
	type member struct {
		Key      string `json:"key"`
		Sequence uint64 `json:"sequence"`
		At       uint64 `json:"at,omitempty"`
	}
	members := make([]member, len(list))
	for i, one := range list {
		members[i] = member(one)
	}
	data, err := json.Marshal(map[string]any{"skips": members})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.log.StoreRaw("ctl.us."+name, nil, data)
}

// junk stores a record that means nothing.
func (s *simulation) junk(o *oracle) {
	name, list := "skip."+s.kind, append(slices.Clone(o.skips), s.someSkip(o))
	switch last := len(list) - 1; s.random.IntN(7) {
	case 0:
		s.log.StoreRaw("ctl.us."+name, nil, []byte("skip it, please"))
	case 1:
		s.storeSkips(name, list[:last]) // nothing new
	case 2:
		s.storeSkips(name, list[min(1, last):]) // one forgotten, if there was one
	case 3:
		list[0].At++
		s.storeSkips(name, list)
	case 4:
		list[last].Sequence = uint64(len(o.records)) + 2
		s.storeSkips(name, list)
	case 5:
		list[0].Key += "x"
		s.storeSkips(name, append(list, list[last]))
	case 6:
		s.log.StoreRaw("ctl.us."+name, map[string][]string{"tm": {"2;what is this"}}, []byte("{}"))
	}
}

// skipInside stores a record beside an event, in one transaction, where it means nothing.
func (s *simulation) skipInside(o *oracle) {
	list := append(slices.Clone(o.skips), s.someSkip(o))
	data, err := json.Marshal(map[string]any{"skips": []map[string]any{{"key": list[0].Key, "sequence": list[0].Sequence}}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.log.Unreachable(0)
	_, err = s.log.Append(context.Background(), events.Batch{
		Events:   []events.Event{s.randomEvent()},
		Controls: []events.ControlWrite{{Control: events.Control{Name: "skip." + s.kind, Data: data}}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// writeSkip has a record written as the command does.
func (s *simulation) writeSkip(o *oracle) {
	one := s.someSkip(o)
	s.log.Unreachable(0)
	written, err := skips.Write(context.Background(), s.log, s.kind, skips.Skip{Key: one.Key, Sequence: one.Sequence}, "a simulation")
	if err != nil || written.Already != o.passes(one.Key, one.Sequence) {
		s.failure = fmt.Errorf("writing the skip %+v: %+v, %w", one, written, err)
		return
	}
	if now := s.oracle(s.version); !now.passes(one.Key, one.Sequence) {
		s.failure = fmt.Errorf("the skip %+v was written, and is not obeyed", one)
	}
}
