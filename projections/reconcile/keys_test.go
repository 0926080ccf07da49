package reconcile

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Whatever keys come in whatever order, each has one place, and is there under it.
func TestKeysHavePlaces(t *testing.T) {
	for _, room := range []uint64{0, 1, 8, 5_000} {
		random := rand.New(rand.NewPCG(room, 1)) //nolint:gosec // the same keys each time
		k, want := newKeys(room), map[string]int{}
		for range 20_000 {
			key := fmt.Sprint(random.IntN(3_000))
			if random.IntN(3) == 0 {
				key = fmt.Sprint("\x00", key, "\r\n")
			}
			before, known := want[key]
			if place, ok := k.find(key); ok != known || ok && place != before {
				t.Fatalf("%q is at %d, %v; want %d, %v", key, place, ok, before, known)
			}
			place, added := k.add(key)
			if added == known || known && place != before || !known && place != len(want) {
				t.Fatalf("%q got %d, %v; it was at %d, %v, of %d", key, place, added, before, known, len(want))
			}
			want[key] = place
		}
		if _, added := k.add(""); !added || k.len() != len(want)+1 {
			t.Errorf("there are %d keys, want %d", k.len(), len(want)+1)
		}
		for key, place := range want {
			if got := k.at(place); got != key {
				t.Errorf("at %d is %q, want %q", place, got, key)
			}
		}
	}
	var none *keys
	if _, ok := none.find("a"); ok {
		t.Error("a key is in none")
	}
}

// Keys whose hashes are the same are told from each other.
func TestKeysOfOneHashAreDistinct(t *testing.T) {
	k := newKeys(4)
	for i := range 1_000 {
		key := fmt.Sprint(i)
		place, slot := k.look(key, 7)
		if place >= 0 {
			t.Fatalf("%q is taken for %q", key, k.at(place))
		}
		k.text = append(k.text, key...)
		k.ends, k.mixes = append(k.ends, uint64(len(k.text))), append(k.mixes, 7)
		k.slots[slot] = int32(i + 1)
		if 2*k.len() > len(k.slots) {
			k.rehash(uint64(2 * k.len()))
		}
	}
	for i := range 1_000 {
		if place, _ := k.look(fmt.Sprint(i), 7); place != i {
			t.Errorf("%d is at %d", i, place)
		}
	}
}
