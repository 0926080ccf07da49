package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// RunKV checks that a KV keeps the promises of its port. open returns an empty one; it is called once for each subtest.
func RunKV(t *testing.T, open func(t *testing.T) projections.KV) {
	t.Helper()
	for _, x := range []struct {
		name string
		run  func(t *testing.T, kv projections.KV)
	}{
		{"get of a key that was never put finds none", testKVMissing},
		{"put creates at revision 0 and changes at the current one", testKVPut},
		{"put at another revision is refused and changes nothing", testKVPutRefused},
		{"delete removes at the current revision only", testKVDelete},
		{"a deleted key can be created again, at a larger revision", testKVRecreate},
		{"values come back as they were put", testKVValues},
		{"keys are listed by prefix, sorted, without the deleted ones", testKVKeys},
		{"of many writers at one revision one wins", testKVRace},
		{"watch yields the current entry first", testKVWatchCurrent},
		{"watch yields changes and the deletion", testKVWatchChanges},
		{"what a watch yields can be put at its revision", testKVWatchThenPut},
		{"watch always comes to the newest", testKVWatchNewest},
		{"a key that is no key is refused", testKVInvalidKey},
		{"watch ends with its context", testKVWatchEnds},
	} {
		t.Run(x.name, func(t *testing.T) { x.run(t, open(t)) })
	}
}

// patience bounds what a subtest waits for. Nothing waits that long when the adapter works.
const patience = 20 * time.Second

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func wantErr(t testing.TB, err error, code events.Code) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Fatalf("error = %v, want %s", err, code)
	}
}

func put(t testing.TB, kv projections.KV, key, value string, revision uint64) uint64 {
	t.Helper()
	rev, err := kv.Put(bounded(t), key, []byte(value), revision)
	if err != nil {
		t.Fatalf("put %q at revision %d: %v", key, revision, err)
	}
	if rev <= revision {
		t.Fatalf("put %q at revision %d gave the revision %d, want a larger one", key, revision, rev)
	}
	return rev
}

func wantEntry(t testing.TB, kv projections.KV, key, value string, revision uint64) {
	t.Helper()
	e, err := kv.Get(bounded(t), key)
	if err != nil || e.Key != key || string(e.Value) != value || e.Value == nil || e.Revision != revision {
		t.Fatalf("get %q returned %+v, %v; want %q at revision %d", key, e, err, value, revision)
	}
}

func testKVMissing(t *testing.T, kv projections.KV) {
	_, err := kv.Get(bounded(t), "live.flights")
	wantErr(t, err, projections.ErrNoKey)
	put(t, kv, "live.flights-2", "x", 0)
	_, err = kv.Get(bounded(t), "live.flights")
	wantErr(t, err, projections.ErrNoKey)
}

func testKVPut(t *testing.T, kv projections.KV) {
	a := put(t, kv, "a", "1", 0)
	other := put(t, kv, "b.c-d.0", "other", 0)
	wantEntry(t, kv, "a", "1", a)
	a = put(t, kv, "a", "2", a)
	wantEntry(t, kv, "a", "2", a)
	wantEntry(t, kv, "b.c-d.0", "other", other)
}

func testKVPutRefused(t *testing.T, kv projections.KV) {
	first := put(t, kv, "a", "1", 0)
	rev := put(t, kv, "a", "2", first)
	for _, wrong := range []uint64{0, first, rev + 1, rev + 1_000} {
		_, err := kv.Put(bounded(t), "a", []byte("wrong"), wrong)
		wantErr(t, err, projections.ErrRevision)
	}
	_, err := kv.Put(bounded(t), "never", []byte("wrong"), rev)
	wantErr(t, err, projections.ErrRevision)
	wantEntry(t, kv, "a", "2", rev)
	_, err = kv.Get(bounded(t), "never")
	wantErr(t, err, projections.ErrNoKey)
}

func testKVDelete(t *testing.T, kv projections.KV) {
	ctx := bounded(t)
	if err := kv.Delete(ctx, "a", 0); err != nil {
		t.Fatalf("delete of what is not there: %v", err)
	}
	if err := kv.Delete(ctx, "a", 77); err != nil {
		t.Fatalf("delete of what is not there at a revision: %v", err)
	}
	first := put(t, kv, "a", "1", 0)
	rev := put(t, kv, "a", "2", first)
	for _, wrong := range []uint64{0, first, rev + 1} {
		wantErr(t, kv.Delete(ctx, "a", wrong), projections.ErrRevision)
	}
	wantEntry(t, kv, "a", "2", rev)
	for range 2 {
		if err := kv.Delete(ctx, "a", rev); err != nil {
			t.Fatal(err)
		}
		_, err := kv.Get(ctx, "a")
		wantErr(t, err, projections.ErrNoKey)
	}
}

func testKVRecreate(t *testing.T, kv projections.KV) {
	var last uint64
	for i := range 3 {
		rev := put(t, kv, "a", strconv.Itoa(i), 0)
		if rev <= last {
			t.Fatalf("the key was created again at revision %d, after %d", rev, last)
		}
		wantEntry(t, kv, "a", strconv.Itoa(i), rev)
		if err := kv.Delete(bounded(t), "a", rev); err != nil {
			t.Fatal(err)
		}
		_, err := kv.Put(bounded(t), "a", []byte("wrong"), rev)
		wantErr(t, err, projections.ErrRevision)
		last = rev
	}
}

func testKVValues(t *testing.T, kv projections.KV) {
	for i, v := range [][]byte{{}, {0}, []byte("\r\n\x00\xff"), bytes.Repeat([]byte("x"), 256<<10)} {
		key := fmt.Sprint("k", i)
		rev, err := kv.Put(bounded(t), key, v, 0)
		if err != nil {
			t.Fatal(err)
		}
		want := string(v)
		if len(v) > 0 {
			v[0] = '!' // what was put must not change with it
		}
		wantEntry(t, kv, key, want, rev)
		e, err := kv.Get(bounded(t), key)
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Value) > 0 {
			e.Value[0] = '!' // nor with what was got
		}
		wantEntry(t, kv, key, want, rev)
	}
}

func testKVKeys(t *testing.T, kv projections.KV) {
	for _, k := range []string{"live.b", "live.a", "live.a.x", "replay.a", "live", "alive.a"} {
		put(t, kv, k, "x", 0)
	}
	gone := put(t, kv, "live.gone", "x", 0)
	if err := kv.Delete(bounded(t), "live.gone", gone); err != nil {
		t.Fatal(err)
	}
	for prefix, want := range map[string][]string{
		"live.": {"live.a", "live.a.x", "live.b"}, "live": {"live", "live.a", "live.a.x", "live.b"}, "live.a": {"live.a", "live.a.x"},
		"replay.": {"replay.a"}, "none": nil, "": {"alive.a", "live", "live.a", "live.a.x", "live.b", "replay.a"},
	} {
		got, err := kv.Keys(bounded(t), prefix)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("the keys with the prefix %q are %q, %v; want %q", prefix, got, err, want)
		}
	}
}

func testKVRace(t *testing.T, kv projections.KV) {
	const writers, wins = 4, 25
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for won := 0; won < wins; {
				e, err := kv.Get(bounded(t), "n")
				if err != nil && !errors.Is(err, projections.ErrNoKey) {
					t.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(e.Value)) // none is 0
				_, err = kv.Put(bounded(t), "n", []byte(strconv.Itoa(n+1)), e.Revision)
				switch {
				case err == nil:
					won++
				case !errors.Is(err, projections.ErrRevision):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	e, err := kv.Get(bounded(t), "n")
	if err != nil || string(e.Value) != strconv.Itoa(writers*wins) {
		t.Fatalf("after %d increments the value is %q, %v", writers*wins, e.Value, err)
	}
}

// watch starts watching and returns the function that waits for the next entry.
func watch(t *testing.T, kv projections.KV, key string) (next func() projections.Entry) {
	t.Helper()
	pull, stop := iter.Pull2(kv.Watch(bounded(t), key))
	t.Cleanup(stop)
	return func() projections.Entry {
		t.Helper()
		e, err, ok := pull()
		if err != nil || !ok {
			t.Fatalf("the watch ended: %v", err)
		}
		return e
	}
}

func testKVWatchCurrent(t *testing.T, kv projections.KV) {
	if e := watch(t, kv, "none")(); e.Key != "none" || e.Value != nil {
		t.Fatalf("the first entry of a key that does not exist is %+v", e)
	}
	rev := put(t, kv, "a", "1", 0)
	if e := watch(t, kv, "a")(); string(e.Value) != "1" || e.Revision != rev || e.Key != "a" {
		t.Fatalf("the first entry is %+v", e)
	}
	if err := kv.Delete(bounded(t), "a", rev); err != nil {
		t.Fatal(err)
	}
	if e := watch(t, kv, "a")(); e.Value != nil || e.Key != "a" {
		t.Fatalf("the first entry of a deleted key is %+v", e)
	}
}

func testKVWatchChanges(t *testing.T, kv projections.KV) {
	next := watch(t, kv, "a")
	if e := next(); e.Value != nil {
		t.Fatalf("the first entry is %+v", e)
	}
	var rev uint64
	for _, v := range []string{"1", "", "3"} {
		rev = put(t, kv, "a", v, rev)
		put(t, kv, "a.b", v, currentRevision(t, kv, "a.b"))
		if e := next(); string(e.Value) != v || e.Value == nil || e.Revision != rev {
			t.Fatalf("after the put of %q at %d the watch yields %+v", v, rev, e)
		}
	}
	if err := kv.Delete(bounded(t), "a", rev); err != nil {
		t.Fatal(err)
	}
	if e := next(); e.Value != nil || e.Key != "a" {
		t.Fatalf("after the deletion the watch yields %+v", e)
	}
	rev = put(t, kv, "a", "again", 0)
	if e := next(); string(e.Value) != "again" || e.Revision != rev {
		t.Fatalf("after the new creation the watch yields %+v", e)
	}
}

func testKVWatchThenPut(t *testing.T, kv projections.KV) {
	next := watch(t, kv, "a")
	for range 2 {
		put(t, kv, "a", "1", next().Revision) // not there
		e := next()
		rev := put(t, kv, "a", "2", e.Revision) // there
		if e = next(); string(e.Value) != "2" {
			t.Fatalf("the watch yields %+v", e)
		}
		if err := kv.Delete(bounded(t), "a", rev); err != nil {
			t.Fatal(err)
		}
	}
	if e := next(); e.Value != nil || e.Revision != 0 {
		t.Fatalf("after the deletion the watch yields %+v", e)
	}
}

func testKVInvalidKey(t *testing.T, kv projections.KV) {
	for _, key := range []string{"", ".", "a.", ".a", "a..b", "*", "a.>", "A", "a b", "a_b", "a/b", "é", "a\r\n"} {
		_, err := kv.Put(bounded(t), key, nil, 0)
		wantErr(t, err, projections.ErrInvalidKey)
		_, err = kv.Get(bounded(t), key)
		wantErr(t, err, projections.ErrInvalidKey)
		wantErr(t, kv.Delete(bounded(t), key, 0), projections.ErrInvalidKey)
		for _, err := range kv.Watch(bounded(t), key) {
			wantErr(t, err, projections.ErrInvalidKey)
			break
		}
	}
}

func currentRevision(t testing.TB, kv projections.KV, key string) uint64 {
	t.Helper()
	e, err := kv.Get(bounded(t), key)
	if err != nil && !errors.Is(err, projections.ErrNoKey) {
		t.Fatal(err)
	}
	return e.Revision
}

func testKVWatchNewest(t *testing.T, kv projections.KV) {
	const changes = 200
	next := watch(t, kv, "n")
	next()
	var writer sync.WaitGroup
	defer writer.Wait() // the last answer may come later than the last change
	writer.Go(func() {
		var rev uint64
		for i := range changes {
			r, err := kv.Put(bounded(t), "n", []byte(strconv.Itoa(i+1)), rev)
			if err != nil {
				t.Error(err)
				return
			}
			rev = r
		}
	})
	for last := 0; last < changes; {
		n, err := strconv.Atoi(string(next().Value))
		if err != nil || n <= last {
			t.Fatalf("the watch yields %d after %d: %v", n, last, err)
		}
		last = n
	}
}

func testKVWatchEnds(t *testing.T, kv projections.KV) {
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	seen := 0
	for e, err := range kv.Watch(ctx, "a") {
		if err != nil {
			t.Fatalf("the watch ended with %v instead of just ending", err)
		}
		if seen++; seen > 1 {
			t.Fatalf("after its context ended the watch yields %+v", e)
		}
		cancel()
	}
	for _, err := range kv.Watch(bounded(t), "a") {
		if err != nil {
			t.Fatal(err)
		}
		break // leaving early must not hang
	}
}
