package snapshots_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/snapshots"
)

func definition() *projections.Definition {
	return &projections.Definition{
		Name: "things", Version: 3, Fields: []projections.Field{{Name: "sum", Kind: projections.KindInt}, {Name: "note", Kind: projections.KindString}},
		Handles: []projections.Handles{{EntityType: "thing", EventType: "changed", ByEntity: true}},
	}
}

// model is what a snapshot is made of.
type model struct {
	meta      projections.Snapshot
	headers   []projections.Header
	documents [][]projections.Document
}

func newModel(partitions, documents int) *model {
	def := definition()
	hasher := projections.NewHasher(def)
	point := events.NewTerms("7f3a11d2").Point("us", 4711)
	m := &model{
		meta: projections.Snapshot{
			ID: "one", Projection: def.Name, Version: def.Version, Definition: def.Fingerprint(), Partitions: partitions, Position: events.At(point), Sequence: 4711, Mark: 12,
			Taken: time.Date(2026, 11, 26, 1, 2, 3, 0, time.UTC),
		},
		headers: make([]projections.Header, partitions), documents: make([][]projections.Document, partitions),
	}
	var whole projections.Digest
	for i := range documents {
		d := projections.Document{Key: fmt.Sprintf("k/%d é", i), At: fmt.Sprintf("us.00@1:%d", i+1), Values: []string{fmt.Sprint(-i), strings.Repeat("x", i%300)}}
		if i%7 == 0 {
			d.Parked = d.At + " because of something"
		}
		d.Digest = hasher.Stored(&d)
		p := projections.PartitionOf(d.Key, partitions)
		m.documents[p] = append(m.documents[p], d)
		h := &m.headers[p]
		h.Documents, h.Digest = h.Documents+1, h.Digest.Add(d.Digest)
		if d.Parked != "" {
			h.Parked++
		}
		whole = whole.Add(d.Digest)
	}
	for i := range m.headers {
		h := &m.headers[i]
		h.Partition, h.Seen, h.Applied, h.Unrouted = i, events.Hash{1, 2, byte(i)}, time.Unix(1e9, 5).UTC(), uint64(i)
		h.Checkpoint, h.Definition = m.meta.Position, m.meta.Definition
	}
	m.meta.Documents, m.meta.Digest = uint64(documents), whole.String()
	return m
}

func (m *model) write(to io.Writer) error {
	w, err := snapshots.NewWriter(to, m.meta, definition())
	if err != nil {
		return err
	}
	for i := range m.headers {
		if err := w.Partition(m.headers[i]); err != nil {
			return err
		}
		for j := range m.documents[i] {
			if err := w.Document(&m.documents[i][j]); err != nil {
				return err
			}
		}
	}
	return w.Close()
}

func (m *model) bytes(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := m.write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(from io.Reader, def *projections.Definition) (*model, error) {
	r, err := snapshots.NewReader(from, def)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	m := &model{meta: r.Meta()}
	for {
		h, d, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return m, nil
		case err != nil:
			return nil, err
		case h != nil:
			m.headers, m.documents = append(m.headers, *h), append(m.documents, nil)
		default:
			p := len(m.documents) - 1
			m.documents[p] = append(m.documents[p], *d)
		}
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, size := range [...]struct{ partitions, documents int }{{1, 0}, {1, 1}, {16, 0}, {16, 5000}, {3, 20000}} {
		m := newModel(size.partitions, size.documents)
		got, err := read(iotest.HalfReader(bytes.NewReader(m.bytes(t))), definition())
		if err != nil {
			t.Fatalf("%v: %v", size, err)
		}
		if fmt.Sprint(got.meta) != fmt.Sprint(m.meta) || fmt.Sprint(got.headers) != fmt.Sprint(m.headers) {
			t.Errorf("%v: read %v\n%v, wrote %v\n%v", size, got.meta, got.headers, m.meta, m.headers)
		}
		for i := range m.documents {
			if !slices.EqualFunc(got.documents[i], m.documents[i], func(a, b projections.Document) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
				t.Errorf("%v: partition %d is not what was written", size, i)
			}
		}
	}
}

// repacked changes the content of a snapshot and compresses it again, so that only its own sums can tell.
func repacked(t *testing.T, packed []byte, change func([]byte) []byte) []byte {
	t.Helper()
	d, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	content, err := d.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(change(content), nil)
}

func TestASnapshotThatIsNotWhatWasWrittenIsRefused(t *testing.T) {
	m := newModel(4, 600)
	packed := m.bytes(t)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	refused := func(what string, b []byte) {
		t.Helper()
		if _, err := read(bytes.NewReader(b), definition()); !errors.Is(err, projections.ErrSnapshotDamaged) {
			t.Errorf("%s: %v, expected %s", what, err, projections.ErrSnapshotDamaged)
		}
	}
	for range 300 {
		i := random.IntN(len(packed))
		b := slices.Clone(packed)
		b[i] ^= 1 << random.IntN(8)
		if got, err := read(bytes.NewReader(b), definition()); err == nil { // a bit of the frame that means nothing
			if fmt.Sprint(got.documents) != fmt.Sprint(m.documents) || fmt.Sprint(got.headers) != fmt.Sprint(m.headers) {
				t.Fatalf("a flipped bit of byte %d was not noticed", i)
			}
		} else if !errors.Is(err, projections.ErrSnapshotDamaged) {
			t.Fatalf("a flipped bit of byte %d: %v", i, err)
		}
	}
	for range 300 {
		refused("a flipped bit inside", repacked(t, packed, func(b []byte) []byte {
			b[random.IntN(len(b))] ^= 1 << random.IntN(8)
			return b
		}))
		refused("cut off", packed[:random.IntN(len(packed))])
		refused("cut off inside", repacked(t, packed, func(b []byte) []byte { return b[:random.IntN(len(b))] }))
	}
	refused("more behind it", repacked(t, packed, func(b []byte) []byte { return append(b, 0) }))
	refused("nothing", nil)
	refused("something else", []byte("hello"))
	refused("endless texts", repacked(t, packed, func(b []byte) []byte {
		i := bytes.IndexByte(b, 'P')
		return append(b[:i+1], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)
	}))
	other := definition()
	other.Version++
	if _, err := read(bytes.NewReader(packed), other); !errors.Is(err, projections.ErrSnapshotDamaged) {
		t.Errorf("one of another definition was read: %v", err)
	}
}

func TestWhatDoesNotSumUpIsNotWritten(t *testing.T) {
	for what, spoil := range map[string]func(*model){
		"a document is missing":       func(m *model) { m.documents[2] = m.documents[2][1:] },
		"a document is there twice":   func(m *model) { m.documents[1] = append(m.documents[1], m.documents[1][0]) },
		"a field is another":          func(m *model) { m.documents[0][3].Values[0] = "12345678" },
		"its position is another":     func(m *model) { m.documents[0][3].At = "us.00@1:1" },
		"the digest of all is wrong":  func(m *model) { m.meta.Digest = strings.Repeat("0", 32) },
		"a partition is missing":      func(m *model) { m.headers, m.documents = m.headers[:3], m.documents[:3] },
		"a partition is out of order": func(m *model) { m.headers[1].Partition = 2 },
	} {
		m := newModel(4, 100)
		spoil(m)
		if err := m.write(io.Discard); !errors.Is(err, projections.ErrSnapshotDamaged) {
			t.Errorf("%s: %v, expected %s", what, err, projections.ErrSnapshotDamaged)
		}
	}
}

func TestTheReadersOwnErrorIsReturned(t *testing.T) {
	packed := newModel(4, 5000).bytes(t)
	own := errors.New("the network")
	for _, n := range []int{0, 10, len(packed) / 2, len(packed) - 1} {
		if _, err := read(io.MultiReader(bytes.NewReader(packed[:n]), iotest.ErrReader(own)), definition()); !errors.Is(err, own) {
			t.Errorf("after %d bytes: %v, expected %v", n, err, own)
		}
	}
}
