package forward

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"tidemark.dev/events"
)

// deadlineAt is where an append's deadline stands: eight bytes that differ from attempt to attempt.
const (
	deadlineAt    = headBytes
	deadlineBytes = 8
)

// encodeAppend returns the request of a valid batch, with room for its deadline.
func encodeAppend(b *events.Batch) []byte {
	size := 64
	for i := range b.Events {
		size += 256 + len(b.Events[i].Data)
	}
	for i := range b.Controls {
		size += 64 + len(b.Controls[i].Data)
	}
	out := append(make([]byte, 0, size), head(kindAppend)...)
	out = append(out, make([]byte, deadlineBytes)...)
	out = putNumber(out, uint64(len(b.Events)))
	for i := range b.Events {
		out = putEvent(out, &b.Events[i])
	}
	out = putExpect(out, b.Expect)
	out = putNumber(out, uint64(len(b.Controls)))
	for i := range b.Controls {
		c := &b.Controls[i]
		out = putText(putText(out, c.Name), c.Data)
		seq, exact := c.Expect.Sequence()
		if out = putFlag(out, exact); exact {
			out = putNumber(out, seq)
		}
	}
	return out
}

// withDeadline writes into the request that it must not be begun once the leader's clock shows so many milliseconds since 1970.
func withDeadline(request []byte, unixMillis int64) []byte {
	binary.BigEndian.PutUint64(request[deadlineAt:], uint64(unixMillis)) //nolint:gosec // after 1970
	return request
}

func putEvent(b []byte, e *events.Event) []byte {
	for _, s := range [...]string{e.ID, e.Source, e.Type, e.Entity.Type, e.Entity.ID, e.ContentType, e.Schema} {
		b = putText(b, s)
	}
	b = putTime(b, e.Time)
	b = putText(b, e.Observed.String())
	b = putNumber(b, uint64(len(e.Extensions)))
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		b = putText(putText(b, name), e.Extensions[name])
	}
	return putText(b, e.Data)
}

// putExpect writes what is expected exactly; an entity that may be anywhere needs no mention.
func putExpect(b []byte, expect map[events.Entity]events.Expectation) []byte {
	exact := make([]events.Entity, 0, len(expect))
	for entity, x := range expect {
		if _, is := x.Sequence(); is {
			exact = append(exact, entity)
		}
	}
	slices.SortFunc(exact, compareEntities)
	b = putNumber(b, uint64(len(exact)))
	for _, entity := range exact {
		seq, _ := expect[entity].Sequence()
		b = putNumber(putText(putText(b, entity.Type), entity.ID), seq)
	}
	return b
}

func compareEntities(a, b events.Entity) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID))
}

// decodeAppend reads what encodeAppend writes. Data of the batch shares memory with the message. The batch is well formed, which does not make it
// valid: the log judges that.
func decodeAppend(m []byte) (b events.Batch, deadline int64, err error) {
	kind, err := kindOf(m)
	if err != nil {
		return b, 0, err
	}
	if kind != kindAppend || len(m) < headBytes+deadlineBytes {
		return b, 0, malformed("the message of kind %q and %d bytes is no append", kind, len(m))
	}
	deadline = int64(binary.BigEndian.Uint64(m[deadlineAt:])) //nolint:gosec // the bits
	s := &scanner{rest: m[headBytes+deadlineBytes:]}
	for range s.count("events", events.MaxBatch) {
		b.Events = append(b.Events, s.event())
	}
	b.Expect = s.expect()
	for range s.count("control records", events.MaxBatch) {
		c := events.ControlWrite{Control: events.Control{Name: s.text(), Data: s.data()}}
		if s.flag() {
			c.Expect = events.ExpectExactly(s.number())
		}
		b.Controls = append(b.Controls, c)
	}
	if err := s.end(); err != nil {
		return events.Batch{}, 0, err
	}
	return b, deadline, nil
}

func (s *scanner) event() events.Event {
	var e events.Event
	for _, p := range [...]*string{&e.ID, &e.Source, &e.Type, &e.Entity.Type, &e.Entity.ID, &e.ContentType, &e.Schema} {
		*p = s.text()
	}
	e.Time = s.time()
	e.Observed = s.position()
	last := ""
	for i := range s.count("extensions", events.MaxExtensions) {
		name, value := s.text(), s.text()
		if i == 0 {
			e.Extensions = map[string]string{}
		} else if name <= last {
			s.fail("the extensions are not sorted")
		}
		e.Extensions[name], last = value, name
	}
	e.Data = s.data()
	return e
}

func (s *scanner) expect() map[events.Entity]events.Expectation {
	var out map[events.Entity]events.Expectation
	var last events.Entity
	for i := range s.count("expectations", events.MaxBatch) {
		entity := events.Entity{Type: s.text(), ID: s.text()}
		if i == 0 {
			out = map[events.Entity]events.Expectation{}
		} else if compareEntities(entity, last) <= 0 {
			s.fail("the expectations are not sorted")
		}
		out[entity], last = events.ExpectExactly(s.number()), entity
	}
	return out
}
