package redisstore

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

func TestTheKeysOfAChangeAreCutWhereTheyWereJoined(t *testing.T) {
	keys := []string{"", "a", ",", ":", "1:a,", "\x00", "é", strings.Repeat("k", 9), strings.Repeat("k", 10), strings.Repeat("k", 99), strings.Repeat("k", 2_048)}
	var all []byte
	for _, k := range keys {
		all = appendChange(all, k)
	}
	if got, ok := cutChanges(string(all)); !ok || !slices.Equal(got, keys) {
		t.Fatalf("%q came back as %q, %t", keys, got, ok)
	}
	for _, bad := range []string{"a", ":", "1:a", "2:a,", "1:a;", "-1:,", "1:a,1", "99999999999999999999:a,", "1:a,x"} {
		if got, ok := cutChanges(bad); ok {
			t.Errorf("%q was cut into %q", bad, got)
		}
	}
}

// What is read of a log is not believed where its sequences fall, or are beyond the partition's.
func TestAChangeLogIsBelievedFromWhereItsSequencesRise(t *testing.T) {
	for _, c := range []struct {
		entries string
		after   uint64
		want    string // sequences
		broken  uint64
	}{
		{"1|3 1:a,|5 1:b,|5 1:c,|9 1:d,", 1, "3 5 5 9", 0},
		{"1|3 1:a,|100 1:x,|5 1:b,|9 1:d,", 1, "5 9", 5},
		{"1|3 1:a,|8 1:x,|5 1:b,|9 1:d,", 5, "9", 5},
		{"1|3 1:a,|5 1:b,|100 1:x,", 3, "", 20},
		{"1|100 1:x,|3 1:a,|2 1:y,|5 1:b,", 1, "5", 2},
	} {
		x := changesRead{after: c.after, limit: 100, header: projections.Header{Checkpoint: atSequence(20)}}
		if _, err := x.add(strings.Split(c.entries, "|")); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, change := range x.list {
			got = append(got, decimal(change.Sequence))
		}
		if strings.Join(got, " ") != c.want && c.broken <= c.after || x.broken != c.broken {
			t.Errorf("of %s after %d it has %v, and what is before %d is not believed; want %s and %d", c.entries, c.after, got, x.broken, c.want, c.broken)
		}
	}
	for _, bad := range []string{"", "x", "-1 1:a,", "1 a", "5 1:a", "1,1:a,"} {
		x := changesRead{limit: 100, header: projections.Header{Checkpoint: atSequence(20)}}
		if _, err := x.add([]string{bad}); !errors.Is(err, projections.ErrDocumentDamaged) {
			t.Errorf("the entry %q was read with %v", bad, err)
		}
	}
}

// Whatever somebody wrote into a log, reading it ends.
func FuzzChangesAreRead(f *testing.F) {
	f.Add("1|3 1:a,|5 1:b,", uint64(1))
	f.Add("9|3 99999999999999999:a,", uint64(0))
	f.Fuzz(func(t *testing.T, entries string, after uint64) {
		x := changesRead{after: after, limit: 100, header: projections.Header{Checkpoint: atSequence(20)}}
		if _, err := x.add(strings.Split(entries, "|")); err != nil {
			return
		}
		for i, c := range x.list {
			if c.Sequence <= after || c.Sequence > 20 || i > 0 && c.Sequence < x.list[i-1].Sequence {
				t.Fatalf("of %q after %d it has %v", entries, after, x.list)
			}
		}
	})
}

func atSequence(seq uint64) events.Position {
	return events.At(events.Point{Origin: "us", Lineage: "7f3a", Term: 1, Sequence: seq})
}
