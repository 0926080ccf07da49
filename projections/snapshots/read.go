package snapshots

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"tidemark.dev/projections"
)

// Reader reads a snapshot.
type Reader struct {
	below  *source
	in     *zstd.Decoder
	from   *bufio.Reader
	sum    hash.Hash
	buf    []byte
	def    *projections.Definition
	hasher *projections.Hasher
	meta   projections.Snapshot
	now    projections.Header
	open   bool
	next   int
	got    tally
	whole  tally
}

// NewReader begins to read a snapshot of a read model of a definition. It returns ErrSnapshotDamaged when it is none, or one of another definition, and the error of from.
func NewReader(from io.Reader, def *projections.Definition) (*Reader, error) {
	below := &source{Reader: from}
	in, err := zstd.NewReader(below, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(32<<20))
	if err != nil {
		return nil, err
	}
	r := &Reader{below: below, in: in, from: bufio.NewReaderSize(in, bufferSize), sum: sha256.New(), def: def, hasher: projections.NewHasher(def)}
	if err := r.begin(); err != nil {
		in.Close()
		return nil, err
	}
	return r, nil
}

func (r *Reader) begin() error {
	first := make([]byte, len(form))
	if _, err := io.ReadFull(r.from, first); err != nil {
		return r.broken(err)
	}
	if string(first) != form {
		return damaged("it does not begin like a snapshot of this release")
	}
	text, err := r.line()
	if err != nil {
		return err
	}
	r.sum.Write(first)
	r.sum.Write(text)
	if err := json.Unmarshal(text, &r.meta); err != nil {
		return damaged("its description cannot be read: %w", err)
	}
	if m := &r.meta; m.Projection != r.def.Name || m.Definition != r.def.Fingerprint() {
		return damaged("it is of %.80q with the definition %.40s, and not of %s with %s", m.Projection, m.Definition, r.def.Name, r.def.Fingerprint())
	}
	if r.meta.Partitions < 1 || r.meta.Partitions > projections.MaxPartitions {
		return damaged("it has %d partitions", r.meta.Partitions)
	}
	return nil
}

// line returns a line with its end.
func (r *Reader) line() ([]byte, error) {
	var line []byte
	for len(line) < maxText {
		part, err := r.from.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			return line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, r.broken(err)
		}
	}
	return nil, damaged("its description is too long")
}

// Meta returns what the snapshot says of itself.
func (r *Reader) Meta() projections.Snapshot { return r.meta }

// Close ends reading. What from returns then is not looked at.
func (r *Reader) Close() { r.in.Close() }

// Next returns the next partition, as its header was at the mark, or else the next document of the partition; io.EOF at the end. Until then nothing of it is known to be right. Errors:
// ErrSnapshotDamaged, and that of the reader below. The document is valid until the next call; its texts stay so.
func (r *Reader) Next() (*projections.Header, *projections.Document, error) {
	for {
		tag, err := r.from.ReadByte()
		if err != nil {
			return nil, nil, r.broken(err)
		}
		r.buf = append(r.buf[:0], tag)
		switch {
		case tag == tagPartition && !r.open && r.next < r.meta.Partitions:
			h, err := r.partition()
			return h, nil, err
		case tag == tagDocument && r.open:
			d, err := r.document()
			return nil, d, err
		case tag == tagEnd && r.open:
			if err := r.end(); err != nil {
				return nil, nil, err
			}
		case tag == tagSum && !r.open && r.next == r.meta.Partitions:
			return nil, nil, r.finish()
		default:
			return nil, nil, damaged("a byte %#x is where it cannot be", tag)
		}
	}
}

func (r *Reader) partition() (*projections.Header, error) {
	text, err := r.text()
	if err != nil {
		return nil, err
	}
	var h header
	if err := json.Unmarshal([]byte(text), &h); err != nil || h.Partition != r.next {
		return nil, damaged("the header of partition %d cannot be read", r.next)
	}
	r.hashed()
	r.now = projections.Header{
		Partition: h.Partition, Checkpoint: r.meta.Position, Seen: h.Seen, Applied: h.Applied, Documents: h.Documents, Parked: h.Parked,
		Unrouted: h.Unrouted, UnroutedLast: h.UnroutedLast, Digest: h.Digest, Definition: r.meta.Definition,
	}
	r.open, r.got, r.next = true, tally{}, r.next+1
	return &r.now, nil
}

func (r *Reader) document() (*projections.Document, error) {
	d := &projections.Document{}
	for _, text := range [...]*string{&d.Key, &d.At, &d.Parked} {
		var err error
		if *text, err = r.text(); err != nil {
			return nil, err
		}
	}
	n, err := r.number()
	if err != nil {
		return nil, err
	}
	if n > maxValues || int(n) != len(r.def.Fields) || projections.ValidateKey(d.Key) != nil { //nolint:gosec // bounded
		return nil, damaged("a document of partition %d has %d fields or a key that none can have", r.now.Partition, n)
	}
	if projections.PartitionOf(d.Key, r.meta.Partitions) != r.now.Partition {
		return nil, damaged("a document of another partition is in %d", r.now.Partition)
	}
	d.Values = make([]string, n)
	for i := range d.Values {
		if d.Values[i], err = r.text(); err != nil {
			return nil, err
		}
	}
	r.hashed()
	d.Digest = r.hasher.Stored(d)
	r.got.add(d, d.Digest)
	return d, nil
}

// end compares a partition with its header.
func (r *Reader) end() error {
	n, err := r.number()
	if err != nil {
		return err
	}
	if n != r.got.documents {
		return damaged("partition %d says that it has %d documents, and has %d", r.now.Partition, n, r.got.documents)
	}
	if err := compare(&r.got, &r.now); err != nil {
		return err
	}
	r.hashed()
	r.open = false
	r.whole.documents += r.got.documents
	r.whole.digest = r.whole.digest.Add(r.got.digest)
	return nil
}

// finish compares all of it with what it says of itself, and returns io.EOF.
func (r *Reader) finish() error {
	r.hashed()
	var said [sha256.Size]byte
	if _, err := io.ReadFull(r.from, said[:]); err != nil {
		return r.broken(err)
	}
	if !bytes.Equal(said[:], r.sum.Sum(nil)) {
		return damaged("its bytes are not those that were written")
	}
	if r.whole.documents != r.meta.Documents || r.whole.digest.String() != r.meta.Digest {
		return damaged("its partitions have %d documents together, and it should have %d", r.whole.documents, r.meta.Documents)
	}
	if _, err := r.from.ReadByte(); !errors.Is(err, io.EOF) {
		return damaged("there is more behind its end")
	}
	return io.EOF
}

// hashed takes the bytes of one item into the sum.
func (r *Reader) hashed() {
	r.sum.Write(r.buf)
	r.buf = r.buf[:0]
}

func (r *Reader) number() (uint64, error) {
	n, err := binary.ReadUvarint(r.from)
	if err != nil {
		return 0, r.broken(err)
	}
	r.buf = binary.AppendUvarint(r.buf, n)
	return n, nil
}

func (r *Reader) text() (string, error) {
	n, err := r.number()
	if err != nil {
		return "", err
	}
	if n > maxText {
		return "", damaged("a text of %d bytes is longer than any can be", n)
	}
	from := len(r.buf)
	for left := int(n); left > 0; { //nolint:gosec // bounded above
		step := min(left, bufferSize)
		at := len(r.buf)
		r.buf = append(r.buf, make([]byte, step)...)
		if _, err := io.ReadFull(r.from, r.buf[at:]); err != nil {
			return "", r.broken(err)
		}
		left -= step
	}
	s := string(r.buf[from:])
	if !utf8.ValidString(s) {
		return "", damaged("a text is not UTF-8")
	}
	return s, nil
}

// broken tells the error of the reader below from a stream that ended too early or cannot be decompressed.
func (r *Reader) broken(err error) error {
	switch {
	case r.below.err != nil:
		return r.below.err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return damaged("it ends too early")
	}
	return damaged("it cannot be decompressed: %w", err)
}

// source remembers with which error a reader failed.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
