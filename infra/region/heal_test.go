package region_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark.dev/infra/netfault"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
)

// mirrorDamages are what breaks a mirror's copy. What it only lost at its end is mirrored again anyway.
func mirrorDamages() map[string]func(w *watched) {
	again := func(w *watched, damage func()) {
		w.close("eu")
		damage()
		w.open("eu")
		w.audit("eu")
	}
	return map[string]func(w *watched){
		"a bit that flips while it runs": func(w *watched) { w.flip("eu", 60) },
		"a bit that flipped meanwhile":   func(w *watched) { again(w, func() { w.flip("eu", 60) }) },
		"a block that was cut off":       func(w *watched) { again(w, w.cutBlock) },
	}
}

// cutBlock cuts a block of eu's copy off, so that its servers say themselves that records are missing.
func (w *watched) cutBlock() {
	w.t.Helper()
	file, at := w.block("eu", 60)
	if err := os.Truncate(file, int64(at)); err != nil {
		w.t.Fatal(err)
	}
}

// TestADamagedCopyWaitsForItsLeader: at the start the link may only just be coming up, and that is no reason to give up on a copy that its leader mends.
func TestADamagedCopyWaitsForItsLeader(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	c := w.configs["eu"]
	c.KeepDamaged = false
	w.configs["eu"] = c
	w.begin()
	wire, err := netfault.New(w.regions["us"].LinkFor("eu").Address, netfault.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	w.wire = wire
	w.close("eu")
	w.cutBlock()
	wire.Cut()
	defer time.AfterFunc(2*time.Second, wire.Heal).Stop()
	w.open("eu")
	w.audit("eu")
	w.write(10)
	w.level("eu")
	same(t, w.regions["us"], w.regions["eu"])
}

// TestADamagedMirrorHealsItself: it is mirrored again, audited, and its read models are built again.
func TestADamagedMirrorHealsItself(t *testing.T) {
	for name, damage := range mirrorDamages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatched(t)
			c := w.configs["eu"]
			c.KeepDamaged = false
			w.configs["eu"] = c
			w.close("eu")
			w.open("eu")
			w.begin()
			before := w.documents("eu")
			damage(w)
			eventually(t, "it is healed", func() bool {
				a := w.state("eu")
				return a.Finding == nil && a.Healed != nil && len(a.Healed.Replays) == 0
			})
			eventually(t, "its read models are built again", func() bool {
				r, _, err := projections.ReadJSON[projections.Replay](t.Context(), w.regions["eu"].KV(), projections.ReplayKey("things"))
				return err == nil && r.State == projections.ReplayDone && r.Reason == "the log was healed"
			})
			if after := w.documents("eu"); after != before {
				t.Errorf("they were %s and are %s", before, after)
			}
			w.write(50)
			w.level("eu")
			w.level("us")
			same(t, w.regions["us"], w.regions["eu"])
			if w.state("us").Healed != nil {
				t.Error("the leader was healed too")
			}
		})
	}
}

// documents returns the digest of a region's read model, and where it stands.
func (w *watched) documents(name string) string {
	w.t.Helper()
	pointer, _, err := projections.ReadPointer(w.t.Context(), w.regions[name].KV(), "things")
	if err != nil {
		w.t.Fatal(err)
	}
	headers, err := w.sites[name].store.Headers(w.t.Context(), pointer.Live("things"))
	if err != nil {
		w.t.Fatal(err)
	}
	digest, n, at := projections.Sum(headers)
	return fmt.Sprint(digest, " of ", n, " at ", at)
}

// TestACopyIsNotDeletedForALeaderThatIsDamagedToo: what the copy holds may be all that is left.
func TestACopyIsNotDeletedForALeaderThatIsDamagedToo(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	c := w.configs["eu"]
	c.KeepDamaged = false
	w.configs["eu"] = c
	w.close("eu")
	w.open("eu")
	said := &lines{}
	c.Logger = slog.New(slog.NewTextHandler(said, nil))
	w.configs["eu"] = c
	w.begin()
	w.close("eu")
	w.close("us")
	w.flip("us", 10) // which the copy holds
	w.flip("eu", 60) // which the leader holds
	w.open("us")
	w.open("eu")
	made := w.created("eu")
	w.audit("eu")
	w.finds("eu", marks.Hole, "us")
	eventually(t, "it is said that the copy is kept", func() bool {
		return strings.Contains(said.String(), "was not made anew") && strings.Contains(said.String(), "sequence 11 is missing")
	})
	if f := w.state("eu").Finding; f == nil || !f.Mirror || !f.Remirrored.IsZero() || !w.created("eu").Equal(made) {
		t.Errorf("%+v", f)
	}
}

// lines collects what is logged.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// created returns when a region's stream was made.
func (w *watched) created(name string) time.Time {
	w.t.Helper()
	s, err := w.nats(name).Stream(w.t.Context(), "EVT_us")
	if err != nil {
		w.t.Fatal(err)
	}
	return s.CachedInfo().Created
}
