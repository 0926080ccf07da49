package projections

import "tidemark.dev/events"

// Sum adds up the digests and documents of a generation's partitions. The position is zero when the partitions are not all at
// the same one: then the digest means nothing.
func Sum(headers []Header) (digest Digest, documents uint64, at events.Position) {
	even := true
	for i := range headers {
		digest = digest.Add(headers[i].Digest)
		documents += headers[i].Documents
		even = even && headers[i].Checkpoint.Equal(headers[0].Checkpoint)
	}
	if even && len(headers) > 0 {
		at = headers[0].Checkpoint
	}
	return digest, documents, at
}
