package natslog

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
)

// beginningKey is the key of a stream's metadata that says where a copy begins. The servers keep it with the stream and look at nothing of it.
const beginningKey = "tidemark.beginning"

// Beginning says of a region's copy of a log with which sequence it was made to begin, and what the history below that is. It is part of the stream's own settings: whoever opens the copy knows it,
// also without the leader, and a copy that lost its beginning otherwise is told from one that never had it. The zero Beginning is that of a copy of the whole log.
type Beginning struct {
	// From is the first sequence that the copy was made to hold.
	From uint64 `json:"from"`
	// Lineage of the log, and Starts of the terms that began below From, as the leader told them when the copy was made.
	Lineage events.Lineage `json:"lineage"`
	Starts  []uint64       `json:"starts"`
}

// BeginAt returns the beginning of a copy that is to begin with a sequence, of a log with these terms.
func BeginAt(from uint64, terms events.Terms) Beginning {
	if from <= 1 {
		return Beginning{}
	}
	b := Beginning{From: from, Lineage: terms.Lineage}
	for _, start := range terms.Starts {
		if start < from {
			b.Starts = append(b.Starts, start)
		}
	}
	return b
}

// First returns the first sequence that the copy was made to hold: 1 unless it begins later.
func (b Beginning) First() uint64 { return max(b.From, 1) }

// terms returns the terms that began below the copy.
func (b Beginning) terms() events.Terms { return events.Terms{Lineage: b.Lineage, Starts: b.Starts} }

// In returns the settings of a stream that is a copy with this beginning.
func (b Beginning) In(s jetstream.StreamConfig) jetstream.StreamConfig {
	if b.From <= 1 {
		return s
	}
	text, err := json.Marshal(b)
	if err != nil {
		panic(err) // numbers and a string always marshal
	}
	meta := maps.Clone(s.Metadata)
	if meta == nil {
		meta = map[string]string{}
	}
	meta[beginningKey] = string(text)
	s.Metadata = meta
	return s
}

// BeginningOf returns with which sequence a stream was made to begin: the zero Beginning when nothing is said. It returns ErrForeignHistory when what is said cannot be.
func BeginningOf(s jetstream.StreamConfig) (Beginning, error) {
	text, ok := s.Metadata[beginningKey]
	if !ok {
		return Beginning{}, nil
	}
	var b Beginning
	err := json.Unmarshal([]byte(text), &b)
	switch {
	case err != nil:
	case b.From < 2 || !b.Lineage.Valid() || len(b.Starts) == 0 || b.Starts[0] != 1:
		err = fmt.Errorf("it begins at %d, with %d terms of lineage %q", b.From, len(b.Starts), b.Lineage)
	default:
		for i, start := range b.Starts[1:] {
			if start < b.Starts[i] || start >= b.From {
				err = fmt.Errorf("term %d begins at %d", i+2, start)
			}
		}
	}
	if err != nil {
		return Beginning{}, events.Errorf(events.ErrForeignHistory, "what stream %s says of its beginning, in the metadata %s, cannot be: %w", s.Name, beginningKey, err).
			Hint("Nothing of ours changes it. Delete the stream in the region that mirrors the log, and it is copied anew.")
	}
	return b, nil
}
