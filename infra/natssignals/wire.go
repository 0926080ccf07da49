package natssignals

import (
	"strconv"
	"strings"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// The bytes: a version, and texts with blanks between them. A reader passes over what it does not understand, so versions may be mixed.
//
//	demand  1 <partitions> <position>
//	notice  1 <generation> <sequence> <partitions that moved> <partitions whose documents changed>
//
// Partitions are written as projections.PartitionSet does.
const wireVersion = "1"

// maxSignal bounds what is looked at, in bytes: a set takes up to 70, a position of 64 origins 6,000.
const maxSignal = 8 << 10

func encodeDemand(d *projections.Demand) []byte {
	return []byte(wireVersion + " " + d.Partitions.String() + " " + d.Position.String())
}

func decodeDemand(data []byte) (d projections.Demand, ok bool) {
	texts, ok := cut(data, 2)
	if !ok {
		return d, false
	}
	if d.Partitions, ok = projections.ParsePartitionSet(texts[0]); !ok {
		return d, false
	}
	var err error
	d.Position, err = events.ParsePosition(texts[1])
	return d, err == nil
}

func encodeNotice(n *projections.Notice) []byte {
	b := append(make([]byte, 0, 64), wireVersion+" "...)
	b = append(strconv.AppendUint(b, uint64(n.Generation), 10), ' ')
	b = append(strconv.AppendUint(b, n.Sequence, 10), ' ')
	return append(b, n.Moved.String()+" "+n.Written.String()...)
}

func decodeNotice(data []byte) (n projections.Notice, ok bool) {
	texts, ok := cut(data, 4)
	if !ok {
		return n, false
	}
	generation, err := strconv.ParseUint(texts[0], 10, 32)
	if err != nil {
		return n, false
	}
	n.Generation = uint32(generation)
	if n.Sequence, err = strconv.ParseUint(texts[1], 10, 64); err != nil {
		return n, false
	}
	var moved, written bool
	n.Moved, moved = projections.ParsePartitionSet(texts[2])
	n.Written, written = projections.ParsePartitionSet(texts[3])
	return n, moved && written
}

// cut takes a signal of this version apart.
func cut(data []byte, texts int) ([]string, bool) {
	if len(data) > maxSignal {
		return nil, false
	}
	parts := strings.Split(string(data), " ")
	return parts[1:], len(parts) == 1+texts && parts[0] == wireVersion
}
