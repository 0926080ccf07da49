package snapshots

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"tidemark.dev/projections"
)

// Writer writes one snapshot: Partition for each of its partitions in order, then Document for each document of that, and Close.
type Writer struct {
	out    *zstd.Encoder
	sum    hash.Hash
	buf    []byte
	hasher *projections.Hasher
	meta   projections.Snapshot
	now    projections.Header // of the partition
	open   bool
	next   int // partition
	got    tally
	whole  tally
}

// tally sums up documents.
type tally struct {
	documents, parked uint64
	digest            projections.Digest
}

func (t *tally) add(d *projections.Document, digest projections.Digest) {
	t.documents++
	if d.Parked != "" {
		t.parked++
	}
	t.digest = t.digest.Add(digest)
}

// NewWriter begins a snapshot of a read model of a definition.
func NewWriter(to io.Writer, meta projections.Snapshot, def *projections.Definition) (*Writer, error) {
	out, err := zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	w := &Writer{out: out, sum: sha256.New(), hasher: projections.NewHasher(def), meta: meta}
	text, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	w.buf = append(append(append(w.buf, form...), text...), '\n')
	return w, w.flush()
}

// Partition begins a partition with the header that it had at the mark. Documents of it must sum up to that.
func (w *Writer) Partition(h projections.Header) error {
	if err := w.end(); err != nil {
		return err
	}
	if h.Partition != w.next {
		return damaged("partition %d of %s was to be written after %d", h.Partition, w.meta.Projection, w.next-1)
	}
	text, err := json.Marshal(header{
		Partition: h.Partition, Seen: h.Seen, Applied: h.Applied, Documents: h.Documents, Parked: h.Parked, Unrouted: h.Unrouted, UnroutedLast: h.UnroutedLast, Digest: h.Digest,
	})
	if err != nil {
		return err
	}
	w.now, w.open, w.got, w.next = h, true, tally{}, w.next+1
	w.buf = appendText(append(w.buf, tagPartition), string(text))
	return w.flush()
}

// Document writes a document of the partition. What is said about its digest is not believed.
func (w *Writer) Document(d *projections.Document) error {
	w.got.add(d, w.hasher.Stored(d))
	w.buf = appendDocument(append(w.buf, tagDocument), d)
	if len(w.buf) < bufferSize {
		return nil
	}
	return w.flush()
}

// bufferSize is how many bytes are written at once.
const bufferSize = 64 << 10

// end ends the partition. It returns ErrSnapshotDamaged when its documents do not sum up to what its header says.
func (w *Writer) end() error {
	if !w.open {
		return nil
	}
	w.open = false
	if err := compare(&w.got, &w.now); err != nil {
		return err
	}
	w.whole.documents += w.got.documents
	w.whole.digest = w.whole.digest.Add(w.got.digest)
	w.buf = binary.AppendUvarint(append(w.buf, tagEnd), w.got.documents)
	return w.flush()
}

func compare(got *tally, h *projections.Header) error {
	if got.documents != h.Documents || got.parked != h.Parked || got.digest != h.Digest {
		return damaged("partition %d has %d documents, %d of them parked, with the digest %s, and should have %d, %d, %s", h.Partition,
			got.documents, got.parked, got.digest, h.Documents, h.Parked, h.Digest)
	}
	return nil
}

// Close ends the snapshot. It returns ErrSnapshotDamaged when something is missing, or does not sum up to what was said at the beginning.
func (w *Writer) Close() error {
	if err := w.end(); err != nil {
		return err
	}
	if w.next != w.meta.Partitions || w.whole.documents != w.meta.Documents || w.whole.digest.String() != w.meta.Digest {
		return damaged("%d partitions of %s with %d documents were written, and %d with %d should be", w.next, w.meta.Projection, w.whole.documents, w.meta.Partitions, w.meta.Documents)
	}
	w.buf = append(w.buf, tagSum)
	if err := w.flush(); err != nil {
		return err
	}
	if _, err := w.out.Write(w.sum.Sum(nil)); err != nil {
		return err
	}
	return w.out.Close()
}

func (w *Writer) flush() error {
	w.sum.Write(w.buf)
	_, err := w.out.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendDocument(b []byte, d *projections.Document) []byte {
	b = appendText(appendText(appendText(b, d.Key), d.At), d.Parked)
	b = binary.AppendUvarint(b, uint64(len(d.Values)))
	for _, v := range d.Values {
		b = appendText(b, v)
	}
	return b
}
