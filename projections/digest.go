package projections

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/minio/highwayhash"
)

// Digest is the fingerprint of a set of documents: the sum of their keyed 128-bit hashes modulo 2^128. Sums, unlike XOR,
// do not cancel when the same document is counted twice. It finds accidents and bugs, not an adversary.
type Digest struct {
	hi, lo uint64
}

// Add returns d with a document's hash counted in.
func (d Digest) Add(e Digest) Digest {
	lo, carry := bits.Add64(d.lo, e.lo, 0)
	hi, _ := bits.Add64(d.hi, e.hi, carry)
	return Digest{hi: hi, lo: lo}
}

// Sub returns d with a document's hash taken out.
func (d Digest) Sub(e Digest) Digest {
	lo, borrow := bits.Sub64(d.lo, e.lo, 0)
	hi, _ := bits.Sub64(d.hi, e.hi, borrow)
	return Digest{hi: hi, lo: lo}
}

// String returns 32 hexadecimal digits.
func (d Digest) String() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], d.hi)
	binary.BigEndian.PutUint64(b[8:], d.lo)
	return hex.EncodeToString(b[:])
}

// MarshalText returns what String returns.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads 32 hexadecimal digits, and nothing else.
func (d *Digest) UnmarshalText(text []byte) error {
	parsed, ok := ParseDigest(string(text))
	if !ok {
		return fmt.Errorf("a digest has 32 hexadecimal digits, and %.80q has not", text)
	}
	*d = parsed
	return nil
}

// ParseDigest reads 32 hexadecimal digits.
func ParseDigest(s string) (Digest, bool) {
	var b [16]byte
	if len(s) != 2*len(b) {
		return Digest{}, false
	}
	if _, err := hex.Decode(b[:], []byte(s)); err != nil {
		return Digest{}, false
	}
	return Digest{hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:])}, true
}

// Hasher computes document digests for one definition. It is not safe for concurrent use.
type Hasher struct {
	key   []byte
	order []int // the fields sorted by name
	def   *Definition
	buf   []byte
}

// digestKey separates these hashes from any other use of the same function. It is no secret: digests find accidents, not adversaries.
const digestKey = "tidemark document digest, v1\x00\x00\x00\x00"

// NewHasher returns a Hasher for documents of a definition.
func NewHasher(def *Definition) *Hasher {
	order := make([]int, len(def.Fields))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(def.Fields[a].Name, def.Fields[b].Name) })
	return &Hasher{key: []byte(digestKey), order: order, def: def}
}

// Document returns the digest of one document: HighwayHash-128 over key, version, place of parking and the fields sorted by
// name, each with its length and each field with its kind. values are in the order of the definition's fields.
//
// Source: J. Alakuijala, B. Cox, J. Wassenberg, "Fast keyed hash/pseudo-random function using SIMD multiply and permute", 2017.
func (h *Hasher) Document(key, at, parked string, values []string) Digest {
	b := appendSized(h.buf[:0], key)
	b = appendSized(b, at)
	b = appendSized(b, PlaceOf(parked))
	for _, i := range h.order {
		b = append(b, kindTag(h.def.Fields[i].Kind))
		b = appendSized(b, h.def.Fields[i].Name)
		b = appendSized(b, values[i])
	}
	h.buf = b
	sum := highwayhash.Sum128(b, h.key)
	return Digest{hi: binary.BigEndian.Uint64(sum[:8]), lo: binary.BigEndian.Uint64(sum[8:])}
}

// PlaceOf returns the place of what Document.Parked says: the words behind it may differ between releases, the place may not.
func PlaceOf(parked string) string {
	place, _, _ := strings.Cut(parked, " ")
	return place
}

// SequenceIn returns the sequence of a position of one origin in text form, as Document.At is one.
func SequenceIn(at string) (sequence uint64, ok bool) {
	sequence, err := strconv.ParseUint(at[strings.LastIndexByte(at, ':')+1:], 10, 64)
	return sequence, err == nil
}

// Stored returns the digest that a stored document should carry.
func (h *Hasher) Stored(d *Document) Digest { return h.Document(d.Key, d.At, d.Parked, d.Values) }

// The tags of kinds in digests.
const (
	tagInt    = 'i'
	tagString = 's'
	tagBool   = 'b'
	tagList   = 'l'
	tagSet    = 't'
)

func kindTag(k Kind) byte {
	switch k {
	case KindInt:
		return tagInt
	case KindBool:
		return tagBool
	case KindList:
		return tagList
	case KindSet:
		return tagSet
	default:
		return tagString
	}
}

func appendSized(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
