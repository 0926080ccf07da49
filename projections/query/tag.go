package query

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/minio/highwayhash"

	"tidemark.dev/projections"
)

// tagKey separates these hashes from any other use of the same function. It is no secret.
const tagKey = "tidemark entity tag, v1\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// tag gathers the content of an answer, to tell whether it is another one than before.
type tag struct{ content []byte }

func (t *tag) text(s string) {
	t.content = append(binary.AppendUvarint(t.content, uint64(len(s))), s...)
}

func (t *tag) number(n uint64) { t.content = binary.AppendUvarint(t.content, n) }

func (t *tag) flag(is bool) {
	if is {
		t.content = append(t.content, 1)
		return
	}
	t.content = append(t.content, 0)
}

// document counts in what a document says. It is the content itself that counts, not the stored digest: what was edited by hand has another tag.
func (t *tag) document(d *projections.Document) {
	t.text(d.Key)
	t.text(d.At)
	t.text(d.Parked)
	t.content = binary.AppendUvarint(t.content, uint64(len(d.Values)))
	for _, v := range d.Values {
		t.text(v)
	}
}

// of returns the tag: the generation, whose definition gives the values their names, and a hash of the content.
func (t *tag) of(generation uint32) string {
	sum := highwayhash.Sum128(t.content, []byte(tagKey))
	b := make([]byte, 0, 48)
	b = strconv.AppendUint(b, uint64(generation), 10)
	return string(hex.AppendEncode(append(b, '-'), sum[:]))
}
