package importer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"

	"tidemark.dev/events"
)

const (
	// MaxEvents is how many events travel in one batch: one place is the cursor's.
	MaxEvents = events.MaxBatch - 1
	// maxBytes bounds the data of one batch, with room for the cursor.
	maxBytes = events.MaxBatchBytes - maxCursorBytes
)

// batch is whole lines as events, and the cursor after them.
type batch struct {
	events []events.Event
	after  Cursor
	read   int64 // bytes of the input
}

// batcher makes batches of the lines that follow a cursor.
type batcher struct {
	m     *Map
	lines *lines
	limit int // events in one batch
	hash  hash.Hash
	at    Cursor

	next     []events.Event // of a line that did not fit into the batch before
	deferred Cursor         // after that line
}

// newBatcher reads over the lines that the cursor says are imported. It returns ErrChanged when they are not the same, and the errors of
// reading.
func newBatcher(m *Map, input *lines, from Cursor, limit int) (*batcher, error) {
	b := &batcher{m: m, lines: input, limit: limit, hash: sha256.New(), at: from}
	for range from.Lines {
		line, err := input.next()
		if errors.Is(err, io.EOF) {
			return nil, changed(m, "the input ends after line %d, and %d lines of it are imported already", input.number, from.Lines)
		}
		if err != nil {
			return nil, err
		}
		b.add(line)
	}
	if from.Lines > 0 && b.prefix() != from.Prefix {
		return nil, changed(m, "the first %d lines are imported already, and they are not what they were", from.Lines)
	}
	return b, nil
}

func changed(m *Map, format string, args ...any) error {
	return events.Errorf(ErrChanged, format+"; nothing was imported", args...).
		Hint("Import the same input again, or give the map another name than %q to import it as a new one.", m.name)
}

// add counts a line into the prefix. Every line counts as if it ended with a newline, so that a file may grow after a last line without one.
func (b *batcher) add(line []byte) {
	b.hash.Write(line)
	b.hash.Write([]byte{'\n'})
}

func (b *batcher) prefix() string { return hex.EncodeToString(b.hash.Sum(nil)) }

// batch returns the next batch: as many whole lines as fit. It returns io.EOF when there is none, and every other error after the batch of
// the lines before it.
func (b *batcher) batch() (batch, error) {
	out := batch{events: b.next}
	b.next = nil
	size := sizeOf(out.events)
	if len(out.events) > 0 {
		b.at = b.deferred
	}
	for {
		line, err := b.lines.next()
		var made []events.Event
		if err == nil {
			made, err = b.m.events(b.lines.number, line)
		}
		if err != nil {
			return b.end(out), err
		}
		b.add(line)
		after := b.at
		after.Lines, after.Bytes = b.lines.number, after.Bytes+uint64(len(line))+1
		after.Events += uint64(len(made))
		after.Prefix = b.prefix()
		more := sizeOf(made)
		if n := len(out.events); n > 0 && (n+len(made) > b.limit || size+more > maxBytes) {
			b.next, b.deferred = made, after
			return b.end(out), nil
		}
		if more > maxBytes {
			return b.end(out), badLine(b.lines.number, "its %d events have %d bytes of data together, over the bound of %d", len(made), more, maxBytes)
		}
		out.events, size, b.at = append(out.events, made...), size+more, after
	}
}

func (b *batcher) end(out batch) batch {
	out.after, out.read = b.at, b.lines.source.n
	return out
}

func sizeOf(list []events.Event) (bytes int) {
	for i := range list {
		bytes += len(list[i].Data)
	}
	return bytes
}

// events returns what a line becomes: nothing, when it is blank. It returns ErrInvalidLine.
func (m *Map) events(number uint64, line []byte) ([]events.Event, error) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return nil, nil
	}
	if err := events.CheckJSON(line); err != nil {
		return nil, badLine(number, "%s", err)
	}
	var r record
	if err := json.Unmarshal(line, &r); err != nil || r == nil {
		return nil, badLine(number, "it is not a JSON object")
	}
	out := make([]events.Event, len(m.rules))
	for i := range m.rules {
		e, err := m.event(i, number, r, line)
		if err == nil {
			err = e.Validate()
		}
		if err != nil {
			return nil, badLine(number, "event %d: %s", i+1, err)
		}
		out[i] = e
	}
	return out, nil
}

func (m *Map) event(i int, number uint64, r record, line []byte) (e events.Event, err error) {
	rule := &m.rules[i]
	e = events.Event{Source: m.source, Data: line}
	if e.Type, err = rule.typ.fill(r); err != nil {
		return e, fmt.Errorf("type: %w", err)
	}
	entity, err := rule.entity.fill(r)
	if err != nil {
		return e, fmt.Errorf("entity: %w", err)
	}
	if e.Entity, err = events.ParseEntity(entity); err != nil {
		return e, err
	}
	e.ID = m.name + "-" + strconv.FormatUint(number, 10) + "-" + strconv.Itoa(i+1)
	if rule.id != nil {
		if e.ID, err = rule.id.fill(r); err != nil {
			return e, fmt.Errorf("id: %w", err)
		}
	}
	if rule.time != nil {
		if e.Time, err = rule.time.read(r); err != nil {
			return e, fmt.Errorf("time: %w", err)
		}
	}
	if rule.data != nil {
		if e.Data, err = selection(rule.data, r); err != nil {
			return e, fmt.Errorf("data: %w", err)
		}
	}
	return e, nil
}

func (t *timeRule) read(r record) (time.Time, error) {
	text, err := r.text(t.field)
	if err != nil {
		return time.Time{}, err
	}
	at, err := time.ParseInLocation(t.layout, text, time.UTC)
	if err != nil {
		return at, fmt.Errorf("the field %s is %q, not a time of the layout %q", t.field, text, t.layout)
	}
	return at, nil
}

// selection returns an object of the selected fields, in the order of the map, each value as it is written in the line.
func selection(fields []field, r record) ([]byte, error) {
	out := []byte{'{'}
	for i, f := range fields {
		raw, err := r.raw(f.from)
		if err != nil {
			return nil, err
		}
		name, err := json.Marshal(f.name)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, name...), ':'), bytes.TrimSpace(raw)...)
	}
	return append(out, '}'), nil
}
