package memstore_test

import (
	"maps"
	"testing"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/storetest"
)

func TestStore(t *testing.T) {
	storetest.RunStore(t, func(*testing.T) storetest.Subject {
		s := memstore.New()
		return storetest.Subject{Store: s, Tamper: tamper{s}}
	})
}

type tamper struct{ s *memstore.Store }

func (x tamper) edit(t testing.TB, g projections.Generation, ref projections.Ref, edit func(map[string]string)) {
	t.Helper()
	if !x.s.EditDocument(g, ref, edit) {
		t.Fatalf("there is no document %q to edit", ref.Key)
	}
}

func (x tamper) SetField(t testing.TB, g projections.Generation, ref projections.Ref, field, value string) {
	x.edit(t, g, ref, func(fields map[string]string) { fields[field] = value })
}

func (x tamper) DropField(t testing.TB, g projections.Generation, ref projections.Ref, field string) {
	x.edit(t, g, ref, func(fields map[string]string) { delete(fields, field) })
}

func (x tamper) RemoveDocument(t testing.TB, g projections.Generation, ref projections.Ref) {
	x.edit(t, g, ref, func(fields map[string]string) { maps.DeleteFunc(fields, func(string, string) bool { return true }) })
}

func (x tamper) PutDocument(_ testing.TB, g projections.Generation, ref projections.Ref, fields map[string]string) {
	x.s.PutDocument(g, ref, fields)
}

func (x tamper) SpoilKey(_ testing.TB, g projections.Generation, ref projections.Ref) {
	x.s.SpoilKey(g, ref, true)
}

func (x tamper) Unlist(t testing.TB, g projections.Generation, ref projections.Ref) {
	t.Helper()
	if !x.s.Unlist(g, ref) {
		t.Fatalf("the key %q is not listed", ref.Key)
	}
}

func (x tamper) LoseHeader(_ testing.TB, g projections.Generation, partition int) {
	x.s.LoseHeader(g, partition)
}

func (x tamper) PutEntry(_ testing.TB, g projections.Generation, partition int, index, entry string) {
	x.s.PutEntry(g, partition, index, entry)
}

func (x tamper) DropEntry(t testing.TB, g projections.Generation, partition int, index, entry string) {
	t.Helper()
	if !x.s.DropEntry(g, partition, index, entry) {
		t.Fatalf("the index %s has no entry %q", index, entry)
	}
}

func (x tamper) SpoilIndex(_ testing.TB, g projections.Generation, partition int, index string) {
	x.s.SpoilIndex(g, partition, index)
}

func (x tamper) SpoilChanges(_ testing.TB, g projections.Generation, partition int) {
	x.s.SpoilChanges(g, partition)
}

func (x tamper) PutMark(_ testing.TB, g projections.Generation, partition int, text string) {
	x.s.PutMark(g, partition, text)
}

func (x tamper) SpoilMarks(_ testing.TB, g projections.Generation, partition int) {
	x.s.SpoilMarks(g, partition)
}

func (x tamper) TrimChanges(t testing.TB, g projections.Generation, partition, stay int) {
	t.Helper()
	x.s.EditChanges(g, partition, func(list []memstore.ChangeEntry) []memstore.ChangeEntry {
		if len(list) <= stay {
			t.Error("there was nothing to trim")
			return list
		}
		return list[len(list)-stay:]
	})
}

func (x tamper) PutChange(_ testing.TB, g projections.Generation, partition int, c projections.Change) {
	x.s.EditChanges(g, partition, func(list []memstore.ChangeEntry) []memstore.ChangeEntry {
		return append(list, memstore.ChangeEntry{Sequence: c.Sequence, Keys: []string{c.Key}})
	})
}

func TestKV(t *testing.T) {
	storetest.RunKV(t, func(*testing.T) projections.KV { return memstore.NewKV() })
}

func TestLeases(t *testing.T) {
	storetest.RunLeases(t, func(*testing.T) storetest.LeaseSubject {
		l := memstore.NewLeases()
		return storetest.LeaseSubject{A: l, B: l, Kill: func(_ testing.TB, name string) { l.Expire(name) }}
	})
}

func TestSignals(t *testing.T) {
	storetest.RunSignals(t, func(*testing.T) (a, b projections.Signals) {
		s := memstore.NewSignals()
		return s, s
	})
}

func TestSnapshots(t *testing.T) {
	storetest.RunSnapshots(t, func(*testing.T) storetest.SnapshotSubject {
		s := memstore.NewSnapshots()
		return storetest.SnapshotSubject{Snapshots: s, Tamper: tamperSnapshots(s)}
	})
}

func tamperSnapshots(s *memstore.Snapshots) func(testing.TB, string, string, func([]byte) []byte) {
	return func(t testing.TB, projection, id string, edit func([]byte) []byte) {
		t.Helper()
		if !s.Tamper(projection, id, edit) {
			t.Fatalf("projection %s has no snapshot %s to damage", projection, id)
		}
	}
}
