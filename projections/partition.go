package projections

import (
	"unicode/utf8"

	"tidemark.dev/events"
)

const (
	// DefaultPartitions is the number of partitions of a new generation.
	DefaultPartitions = 16
	// MaxPartitions bounds it.
	MaxPartitions = 256
	// MaxKeyBytes bounds a document key.
	MaxKeyBytes = 2_048
)

// PartitionOf returns the partition of a document key among n: FNV-1a, 32 bits, modulo n.
// Source: G. Fowler, L. C. Noll, K.-P. Vo; RFC 9923.
func PartitionOf(key string, n int) int {
	const offset, prime = 2166136261, 16777619
	h := uint32(offset)
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * prime
	}
	return int(h % uint32(n)) //nolint:gosec // n is at most MaxPartitions
}

// ValidateKey returns ErrInvalidKey unless key is 1 to 2,048 bytes of UTF-8.
func ValidateKey(key string) error {
	switch {
	case key == "":
		return events.Errorf(ErrInvalidKey, "the document key is empty")
	case len(key) > MaxKeyBytes:
		return events.Errorf(ErrInvalidKey, "the document key has %d bytes, over the bound of %d", len(key), MaxKeyBytes)
	case !utf8.ValidString(key):
		return events.Errorf(ErrInvalidKey, "the document key is not valid UTF-8")
	}
	return nil
}
