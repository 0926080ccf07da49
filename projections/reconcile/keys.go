package reconcile

import (
	"hash/maphash"
	"math/bits"
)

// keys numbers the keys of a partition's documents, from 0 on. There is no pointer in it: a map of a million strings has to be looked through at each collection of garbage, and that cost a scrub a third of its time.
type keys struct {
	seed  maphash.Seed
	text  []byte   // all keys, one behind the other
	ends  []uint64 // of each in text
	mixes []uint32 // the upper half of each one's hash
	slots []int32  // an open-addressed table of places, each one more than it is; 0: free. Its length is a power of two
}

// newKeys returns an empty one with room for some.
func newKeys(n uint64) *keys {
	k := &keys{seed: maphash.MakeSeed(), ends: make([]uint64, 0, n), mixes: make([]uint32, 0, n)}
	k.rehash(max(n, 8))
	return k
}

// rehash makes a table for some keys, at most half full.
func (k *keys) rehash(n uint64) {
	k.slots = make([]int32, 1<<bits.Len64(2*n-1))
	for place, mix := range k.mixes {
		slot := k.home(mix)
		for k.slots[slot] != 0 {
			slot = (slot + 1) & (len(k.slots) - 1)
		}
		k.slots[slot] = int32(place + 1) //nolint:gosec // they are in memory, all of them
	}
}

func (k *keys) home(mix uint32) int { return int(mix) & (len(k.slots) - 1) }

// len returns how many there are.
func (k *keys) len() int { return len(k.ends) }

// at returns the key at a place.
func (k *keys) at(place int) string { return string(k.bytes(place)) }

func (k *keys) bytes(place int) []byte {
	begin := uint64(0)
	if place > 0 {
		begin = k.ends[place-1]
	}
	return k.text[begin:k.ends[place]]
}

// find returns the place of a key.
func (k *keys) find(key string) (place int, ok bool) {
	if k == nil {
		return 0, false
	}
	place, _ = k.look(key, k.mix(key))
	return place, place >= 0
}

func (k *keys) mix(key string) uint32 { return uint32(maphash.String(k.seed, key) >> 32) } //nolint:gosec // half of it

// look returns the place of a key, or -1 and the slot that is free for it.
func (k *keys) look(key string, mix uint32) (place, slot int) {
	for slot = k.home(mix); k.slots[slot] != 0; slot = (slot + 1) & (len(k.slots) - 1) {
		if place := int(k.slots[slot]) - 1; k.mixes[place] == mix && string(k.bytes(place)) == key {
			return place, slot
		}
	}
	return -1, slot
}

// add returns the place of a key, which gets the next one when it is new.
func (k *keys) add(key string) (place int, added bool) {
	mix := k.mix(key)
	place, slot := k.look(key, mix)
	if place >= 0 {
		return place, false
	}
	place = k.len()
	k.text = append(k.text, key...)
	k.ends, k.mixes = append(k.ends, uint64(len(k.text))), append(k.mixes, mix)
	k.slots[slot] = int32(place + 1) //nolint:gosec // they are in memory, all of them
	if 2*k.len() > len(k.slots) {
		k.rehash(uint64(2 * k.len())) //nolint:gosec // not negative
	}
	return place, true
}
