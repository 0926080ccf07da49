package redisstore

import (
	"tidemark.dev/projections"
)

// Every document has these two fields beside its own, and a third one while it is parked.
const (
	fieldAt     = "_at"
	fieldDigest = "_digest"
	fieldParked = "_parked"
	ownFields   = 2
)

// parseDocument reads a document from its hash, as names and values in turn; nil when there are none. Its Values are nil unless its
// fields are exactly those of the definition.
func parseDocument(def *projections.Definition, key string, pairs []string) *projections.Document {
	if len(pairs) == 0 {
		return nil
	}
	d := &projections.Document{}
	readDocument(d, def, key, pairs, make([]string, len(def.Fields)))
	return d
}

// readDocument is parseDocument into d, with room for its values. It returns false when there are no names and values.
func readDocument(d *projections.Document, def *projections.Definition, key string, pairs, values []string) bool {
	if len(pairs) == 0 {
		return false
	}
	*d = projections.Document{Key: key}
	n := len(def.Fields)
	var own, at, digest, parked int
	for i := 0; i+1 < len(pairs); i += 2 {
		name, value := pairs[i], pairs[i+1]
		// A small hash keeps the order in which it was written, so the next field is nearly always the right one.
		if own < n && def.Fields[own].Name == name {
			values[own] = value
			own++
			continue
		}
		switch name {
		case fieldAt:
			d.At, at = value, 1
		case fieldDigest:
			var ok bool
			if d.Digest, ok = projections.ParseDigest(value); ok {
				digest = 1
			}
		case fieldParked:
			d.Parked, parked = value, 1
		default:
			if j := fieldIndex(def, name); j >= 0 {
				values[j] = value
				own++
			}
		}
	}
	// Names in a hash differ, so counting is enough: every field of the definition is there, and no other.
	if own == n && at == 1 && digest == 1 && len(pairs) == 2*(n+ownFields+parked) {
		d.Values = values
	}
	return true
}

func fieldIndex(def *projections.Definition, name string) int {
	for i := range def.Fields {
		if def.Fields[i].Name == name {
			return i
		}
	}
	return -1
}

// DocumentName returns the key in Redis of a document, for whoever looks at it, or changes it, with another client.
func (s *Store) DocumentName(g projections.Generation, ref projections.Ref) string {
	return s.names.of(g).at(ref.Partition).doc + ref.Key
}
