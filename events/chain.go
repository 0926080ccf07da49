package events

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Chain digests consecutive records: two copies of a log that hold the same records in a range come to the same sum, and with a record changed, lost, added or moved they do
// not. It covers what every copy of the log has: sequence, broker time, subject, content, and what the log itself put into the record; not what servers add to it. The zero Chain
// is ready for use.
type Chain struct {
	sum hash.Hash
	buf []byte
}

// Add takes the next record in.
func (c *Chain) Add(r *Record) {
	if c.sum == nil {
		c.sum = sha256.New()
	}
	h, s := r.Fingerprint(), &r.Stamp
	b := c.buf[:0]
	b = append(b, h[:]...) // sequence, time, subject, and content as the stamp has it, which a reader has compared with the content
	b = binary.BigEndian.AppendUint64(b, uint64(s.Time))
	b = binary.BigEndian.AppendUint16(b, s.Tx.Index)
	b = binary.BigEndian.AppendUint16(b, s.Tx.Count)
	b = appendSized(b, s.Observed.String())
	b = appendSized(b, s.Key)
	c.buf = b
	c.sum.Write(b)
}

// Sum returns the digest of the records so far, and of none: SHA-256, the first 128 bits.
func (c *Chain) Sum() (h Hash) {
	if c.sum == nil {
		c.sum = sha256.New()
	}
	copy(h[:], c.sum.Sum(nil))
	return h
}
