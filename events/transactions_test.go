package events

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

var errTired = errors.New("tired of waiting")

func canceled() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errTired)
	return ctx, func() { cancel(nil) }
}

// records makes records from places such as "1/3": "-" is a record alone.
func records(t *testing.T, places string) (out []Record) {
	t.Helper()
	for i, place := range strings.Fields(places) {
		r := Record{Sequence: uint64(i + 1)}
		if place != "-" {
			if _, err := fmt.Sscanf(place, "%d/%d", &r.Stamp.Tx.Index, &r.Stamp.Tx.Count); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, r)
	}
	return out
}

func TestOnlyWholeTransactionsAreKept(t *testing.T) {
	for _, c := range []struct{ name, places, want string }{
		{"alone", "- - -", "1 2 3"},
		{"whole", "- 1/3 2/3 3/3 -", "1 2 3 4 5"},
		{"one after another", "1/2 2/2 1/2 2/2", "1 2 3 4"},
		{"torn", "1/3 2/3 - -", "3 4"},
		{"torn before its last record, then a new one of the same size", "1/3 2/3 1/3 2/3 3/3", "3 4 5"},
		{"torn, then a new one of another size", "1/3 2/3 1/2 2/2", "3 4"},
		{"torn twice", "1/3 1/3 2/3 -", "4"},
		{"an index left out", "1/3 3/3 -", "3"},
		{"an index twice", "1/3 2/3 2/3 3/3 -", "5"},
		{"another count in the middle", "1/3 2/4 3/3 -", "4"},
		{"begun in the middle", "2/3 3/3 - 1/2 2/2", "3 4 5"},
		{"not complete yet", "- 1/3 2/3", "1"},
		{"of one", "1/1 -", "1 2"},
		{"of one, behind a fragment", "1/2 1/1 2/2 -", "2 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tx Transactions
			var out []Record
			for _, r := range records(t, c.places) {
				out = tx.Add(out, r)
			}
			if got := sequences(out); got != c.want {
				t.Errorf("kept %q, want %q", got, c.want)
			}
		})
	}
}

func TestARecordAlone(t *testing.T) {
	if kind := (Record{}).Kind; kind == KindEvent || kind == KindControl || kind == KindMalformed {
		t.Error("what was never read has a kind")
	}
	for tx, alone := range map[Tx]bool{{}: true, {1, 1}: true, {1, 2}: false, {2, 2}: false} {
		if tx.Alone() != alone {
			t.Errorf("%+v", tx)
		}
	}
}

func TestAnOpenTransactionCanBeForgotten(t *testing.T) {
	var tx Transactions
	for _, r := range records(t, "1/3 2/3") {
		if out := tx.Add(nil, r); len(out) != 0 {
			t.Fatalf("%+v", out)
		}
	}
	if tx.Open() != 2 {
		t.Errorf("%d records are open", tx.Open())
	}
	tx.Reset()
	if out := tx.Add(nil, Record{Sequence: 3, Stamp: Stamp{Tx: Tx{3, 3}}}); len(out) != 0 || tx.Open() != 0 {
		t.Errorf("%+v, %d open", out, tx.Open())
	}
}

func sequences(records []Record) string {
	text := make([]string, len(records))
	for i := range records {
		text[i] = fmt.Sprint(records[i].Sequence)
	}
	return strings.Join(text, " ")
}

// The oracle sees the whole history at once: a run i..n of one count, from 1 to n without interruption, is a transaction.
func wholeOnly(records []Record) (out []Record) {
	for i := 0; i < len(records); i++ {
		tx := records[i].Stamp.Tx
		if tx.Alone() {
			out = append(out, records[i])
			continue
		}
		n := int(tx.Count)
		whole := tx.Index == 1 && i+n <= len(records)
		for j := 0; whole && j < n; j++ {
			whole = records[i+j].Stamp.Tx == Tx{uint16(j + 1), tx.Count} //nolint:gosec // a small count
		}
		if whole {
			out = append(out, records[i:i+n]...)
			i += n - 1
		}
	}
	return out
}

func TestTransactionsAgreeWithAnOracleOnTornHistories(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	torn := 0
	for range 8_000 {
		var history []Record
		for len(history) < 30 {
			n := 1 + random.IntN(5)
			keep := n
			if random.IntN(3) == 0 {
				keep = random.IntN(n + 1) // the leader was lost here
				torn++
			}
			for i := range keep {
				history = append(history, Record{Sequence: uint64(len(history) + 1), Stamp: Stamp{Tx: place(i, n)}}) //nolint:gosec // a length
			}
		}
		history = history[random.IntN(5):] // a reader begins anywhere
		var tx Transactions
		var got []Record
		for rest := history; len(rest) > 0; { // and reads in steps
			n := min(1+random.IntN(7), len(rest))
			for _, r := range rest[:n] {
				got = tx.Add(got, r)
			}
			rest = rest[n:]
		}
		if got, want := sequences(got), sequences(wholeOnly(history)); got != want {
			t.Fatalf("of %s kept %s, want %s", placesOf(history), got, want)
		}
	}
	if torn < 1_000 {
		t.Errorf("only %d transactions were torn", torn)
	}
}

// With the term record that a promotion leaves behind, the terms alone tell what is torn.
func TestTermsTellTornTransactions(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	torn := 0
	for range 5_000 {
		terms := NewTerms(ours)
		var history []Record
		add := func(tx Tx) {
			history = append(history, Record{Sequence: uint64(len(history) + 1), Stamp: Stamp{Tx: tx}})
		}
		for len(history) < 40 {
			n := 1 + random.IntN(6)
			keep := n
			if random.IntN(4) == 0 {
				keep = random.IntN(n + 1)
			}
			for i := range keep {
				add(place(i, n))
			}
			if keep < n || random.IntN(20) == 0 {
				terms.Starts = append(terms.Starts, uint64(len(history)+1))
				add(Tx{})
			}
		}
		var tx Transactions
		var want, got []Record
		for i := range history {
			want = tx.Add(want, history[i])
			if terms.Torn(&history[i]) {
				torn++
			} else {
				got = append(got, history[i])
			}
		}
		if got, want := sequences(got), sequences(want); got != want {
			t.Fatalf("of %s with terms at %v kept %s, want %s", placesOf(history), terms.Starts, got, want)
		}
	}
	if torn < 1_000 {
		t.Errorf("only %d records were torn", torn)
	}
}

func placesOf(records []Record) string {
	text := make([]string, len(records))
	for i := range records {
		text[i] = fmt.Sprintf("%d:%d/%d", records[i].Sequence, records[i].Stamp.Tx.Index, records[i].Stamp.Tx.Count)
	}
	return strings.Join(text, " ")
}
