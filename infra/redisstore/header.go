package redisstore

import (
	"encoding/base64"
	"strconv"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// headerNames are the fields of a header, in the order in which they are written.
func headerNames() [headerFields]string {
	return [headerFields]string{
		"state", "owner", "at", "seen", "applied", "target", "docs", "parked", "unrouted", "unrouted_last", "digest", "definition",
	}
}

const headerFields = 12

// appendHeader appends the values of the fields in that order.
func appendHeader(values []string, h *projections.Header) []string {
	seen, applied := "", ""
	if !h.Seen.IsZero() {
		seen = h.Seen.String()
	}
	if !h.Applied.IsZero() {
		applied = h.Applied.UTC().Format(time.RFC3339Nano)
	}
	return append(values,
		string(h.State), decimal(h.Owner), h.Checkpoint.String(), seen, applied, h.Target.String(),
		decimal(h.Documents), decimal(h.Parked), decimal(h.Unrouted), h.UnroutedLast, h.Digest.String(), h.Definition)
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// parseHeader reads a header from its hash, as names and values in turn; no fields at all are an absent partition.
func parseHeader(partition int, pairs []string) (projections.Header, error) {
	h := projections.Header{Partition: partition}
	if len(pairs) == 0 {
		return h, nil
	}
	var seen int
	for i := 0; i+1 < len(pairs); i += 2 {
		known, ok := setHeaderField(&h, pairs[i], pairs[i+1])
		if !ok {
			return h, damagedHeader(partition, "the field "+pairs[i]+" is "+strconv.Quote(clip(pairs[i+1])))
		}
		if known {
			seen++
		}
	}
	if seen != headerFields {
		return h, damagedHeader(partition, "it has "+strconv.Itoa(seen)+" of its "+strconv.Itoa(headerFields)+" fields")
	}
	return h, nil
}

func damagedHeader(partition int, why string) error {
	return events.Errorf(projections.ErrDocumentDamaged, "the header of partition %d cannot be read: %s", partition, why).
		Hint("Somebody changed it by hand, or memory failed. Drop the generation and replay the projection.")
}

// setHeaderField reports whether the field is one of ours, and whether its value can be read.
func setHeaderField(h *projections.Header, name, value string) (known, ok bool) {
	known = true
	var err error
	switch name {
	case "state":
		h.State = projections.PartitionState(value)
		return known, value != ""
	case "owner":
		h.Owner, err = strconv.ParseUint(value, 10, 64)
	case "at":
		h.Checkpoint, err = events.ParsePosition(value)
	case "seen":
		return known, parseSeen(&h.Seen, value)
	case "applied":
		if value != "" {
			h.Applied, err = time.Parse(time.RFC3339Nano, value)
		}
	case "target":
		h.Target, err = events.ParsePosition(value)
	case "docs":
		h.Documents, err = strconv.ParseUint(value, 10, 64)
	case "parked":
		h.Parked, err = strconv.ParseUint(value, 10, 64)
	case "unrouted":
		h.Unrouted, err = strconv.ParseUint(value, 10, 64)
	case "unrouted_last":
		h.UnroutedLast = value
	case "digest":
		h.Digest, ok = projections.ParseDigest(value)
		return known, ok
	case "definition":
		h.Definition = value
	default:
		return false, true
	}
	return known, err == nil
}

func parseSeen(to *events.Hash, value string) bool {
	if value == "" {
		return true
	}
	b, err := base64.RawURLEncoding.DecodeString(value)
	return err == nil && copy(to[:], b) == len(b) && len(b) == len(to)
}

// clip shortens what goes into a message.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
