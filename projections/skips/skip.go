package skips

import (
	"bytes"
	"encoding/json"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// MaxSkips bounds the skips of a projection. They are kept for ever, in each record anew: a projection that needs more of them needs
	// a new version that can read its events.
	MaxSkips = 1_000
	// MaxBytes bounds a record: long keys reach it before MaxSkips.
	MaxBytes = 512 << 10
	// MaxReason bounds the reason that a person gives.
	MaxReason = 500
)

// Skip says that an event is passed over for one document, should it come to be one that cannot be applied.
type Skip struct {
	// Key of the document.
	Key string `json:"key"`
	// Sequence of the event.
	Sequence uint64 `json:"sequence"`
	// At is the sequence of the record that added it. In a record, it is absent from what that very record adds.
	At uint64 `json:"at,omitempty"`
}

// content is the data of a record.
type content struct {
	Skips  []Skip `json:"skips"`
	Reason string `json:"reason,omitempty"` // why the record adds what it adds
}

// prefix of the records' names.
const prefix = "skip."

// Name returns the name of a projection's skip records.
func Name(projection string) string { return prefix + projection }

// encode returns the data of a record. The keys must be UTF-8, or they would be changed.
func (c *content) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(c)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

// decode reads the data of a record, and refuses whatever could be read in two ways.
func decode(data []byte) (c content, err error) {
	if len(data) > MaxBytes {
		return c, invalid("it has %d bytes, over the bound of %d", len(data), MaxBytes)
	}
	if err := events.CheckJSON(data); err != nil {
		return c, invalid("it is not JSON")
	}
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if strict.Decode(&c) != nil {
		return c, invalid(`it is not {"skips":[{"key":…,"sequence":…,"at":…}],"reason":…}`)
	}
	return c, nil
}

func invalid(format string, args ...any) *events.Error {
	return events.Errorf(projections.ErrInvalidSkip, format, args...)
}
