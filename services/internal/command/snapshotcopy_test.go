package command

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/snapshots"
)

// emptySnapshot returns a snapshot of a read model without documents, and its content.
func emptySnapshot(t *testing.T) (projections.Snapshot, *projections.Definition, []byte) {
	t.Helper()
	all, err := flights.All()
	if err != nil {
		t.Fatal(err)
	}
	def := all[0].Definition()
	x := projections.Snapshot{ID: "s1", Projection: def.Name, Version: def.Version, Definition: def.Fingerprint(), Partitions: 1, Digest: projections.Digest{}.String()}
	var content bytes.Buffer
	w, err := snapshots.NewWriter(&content, x, def)
	if err == nil {
		err = w.Partition(projections.Header{State: projections.Live, Definition: def.Fingerprint()})
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return x, def, content.Bytes()
}

func TestASnapshotIsCheckedWhileItIsCopied(t *testing.T) {
	x, def, content := emptySnapshot(t)
	p := &program{out: io.Discard, err: io.Discard, globals: globals{output: outputTable}}
	for name, c := range map[string]struct {
		content []byte
		def     *projections.Definition
		damaged bool
	}{
		"whole":                {content, def, false},
		"unchecked":            {[]byte("anything"), nil, false},
		"something else":       {[]byte("anything"), def, true},
		"cut off":              {content[:len(content)-3], def, true},
		"nothing":              {nil, def, true},
		"with something after": {append(bytes.Clone(content), "more"...), def, true},
	} {
		from, to := memstore.NewSnapshots(), memstore.NewSnapshots()
		if _, err := from.Put(t.Context(), x, bytes.NewReader(c.content)); err != nil {
			t.Fatal(err)
		}
		_, err := p.carry(t.Context(), from, to, x, c.def)
		list, failed := to.List(t.Context(), x.Projection)
		if failed != nil || errors.Is(err, projections.ErrSnapshotDamaged) != c.damaged || err == nil == c.damaged || len(list) == 0 != c.damaged {
			t.Errorf("%s: %v, and then there is %+v", name, err, list)
		}
	}
}

func TestSnapshotsAreATable(t *testing.T) {
	l := &snapshotList{Region: "us", Snapshots: []listedSnapshot{
		{projections.Snapshot{ID: "s2", Projection: "airports", Version: 2, Mark: 41, Sequence: 12_000, Documents: 300, Bytes: 2048, Region: "eu"}, true},
		{projections.Snapshot{ID: "s1", Projection: "airports", Version: 1, Mark: 40, Sequence: 11_000, Documents: 299}, false},
	}}
	var out bytes.Buffer
	if err := l.write(&out); err != nil {
		t.Fatal(err)
	}
	want := `ID  PROJECTION  VERSION              MARK  SEQUENCE  DOCUMENTS  SIZE     TAKEN IN  TAKEN
s2  airports    2                    41    12,000    300        2.0 KiB  eu        0001-01-01 00:00:00Z
s1  airports    1, not the live one  40    11,000    299        0 B      none      0001-01-01 00:00:00Z
`
	if out.String() != want {
		t.Errorf("it prints\n%s, want\n%s", out.String(), want)
	}
	out.Reset()
	if err := (&snapshotList{Region: "us"}).write(&out); err != nil || !strings.Contains(out.String(), "snapshot take") {
		t.Errorf("without any it prints %s", out.String())
	}
}
