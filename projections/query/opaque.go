package query

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
)

// Cursors and tokens are opaque to those who carry them: a kind with its version, texts with their lengths, and a checksum against typing errors, in base64 for URLs. They hold
// places and no secrets, so one that is made up with care is just another place.

const (
	opaqueVersion = 1
	// maxOpaque bounds what is looked at: the longest cursor has a key, a value of four texts, and two positions.
	maxOpaque = 16 << 10
	sumBytes  = 4
)

// seal returns the opaque text of some texts.
func seal(kind byte, texts ...string) string {
	b := []byte{kind, opaqueVersion}
	for _, s := range texts {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// unseal returns the texts, n of them, or false for what seal has not made.
func unseal(kind byte, s string, n int) ([]string, bool) {
	if len(s) > maxOpaque {
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < 2+sumBytes || b[0] != kind || b[1] != opaqueVersion {
		return nil, false
	}
	body, sum := b[:len(b)-sumBytes], b[len(b)-sumBytes:]
	if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(sum) {
		return nil, false
	}
	rest := body[2:]
	texts := make([]string, 0, n)
	for len(rest) > 0 && len(texts) < n {
		length, size := binary.Uvarint(rest)
		if size <= 0 || length > uint64(len(rest)-size) {
			return nil, false
		}
		rest = rest[size:]
		texts = append(texts, string(rest[:length]))
		rest = rest[length:]
	}
	return texts, len(rest) == 0 && len(texts) == n
}
