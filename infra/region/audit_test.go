package region_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/embedded"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/netfault"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
)

const things = `
projection: things
version: 1
fields:
  count: int
on:
  - event: Happened
    entity: thing
    do:
      - count: count
`

// watched are two regions of one log whose copies are audited, and a read model that is folded from each.
type watched struct {
	t       *testing.T
	regions map[string]*region.Region
	configs map[string]region.Config
	sites   map[string]*watchedSite
	wire    *netfault.Proxy // the link from eu to us goes through it; nil: straight
	written int

	snapshots map[string]*memstore.Snapshots // of regions whose read models can begin with one
}

type watchedSite struct {
	auditor *marks.Auditor
	store   *memstore.Store
	stop    func()
}

// newWatched starts us, which leads, and eu, which mirrors, without auditing them.
func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{t: t, regions: map[string]*region.Region{}, configs: map[string]region.Config{}, sites: map[string]*watchedSite{}}
	dir := natstest.StoreDir(t)
	w.configs["us"] = region.Config{Name: "us", Leader: "us", Role: region.Writer, DataDir: filepath.Join(dir, "us"), LazySync: true, Peers: []string{"eu"}}
	w.open("us")
	w.configs["eu"] = region.Config{
		Name: "eu", Leader: "us", Role: region.Writer, DataDir: filepath.Join(dir, "eu"), LazySync: true, KeepDamaged: true,
	}
	w.open("eu")
	t.Cleanup(func() {
		for _, name := range []string{"eu", "us"} {
			w.close(name)
		}
	})
	return w
}

// open opens a region again.
func (w *watched) open(name string) {
	w.t.Helper()
	if err := w.tryOpen(name); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) tryOpen(name string) error {
	c := w.configs[name]
	if name == "eu" && w.regions["us"] != nil {
		link := w.regions["us"].LinkFor("eu")
		if w.wire != nil {
			link.Address = w.wire.Addr()
		}
		c.Links = []embedded.Link{link}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := region.Open(ctx, c)
	if err == nil {
		w.regions[name] = r
	}
	return err
}

// close ends a region; its files stay.
func (w *watched) close(name string) {
	w.t.Helper()
	w.stop(name)
	if r := w.regions[name]; r != nil {
		if err := r.Close(context.Background()); err != nil {
			w.t.Error(err)
		}
		delete(w.regions, name)
	}
}

// stop ends the audit of a region, and its read model.
func (w *watched) stop(name string) {
	if s := w.sites[name]; s != nil && s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// audit audits a region, and folds its log into a read model, which outlives the region.
func (w *watched) audit(name string) *marks.Auditor {
	w.t.Helper()
	r := w.regions[name]
	s := w.sites[name]
	if s == nil {
		s = &watchedSite{store: memstore.New()}
		w.sites[name] = s
	}
	s.auditor = marks.NewAuditor(r.Log(), r.KV(), r.Leases(), marks.AuditorOptions{
		Region: name, Leader: "us", Interval: 100 * time.Millisecond, Full: time.Second, Budget: 1, Others: r.Others,
	})
	options := projector.Options{Partitions: 2, Trust: s.auditor.Verdict}
	if kept := w.snapshots[name]; kept != nil {
		options.Snapshots = kept
	}
	p, err := projector.New(parse(w.t, things), r.Log(), s.store, r.KV(), r.Leases(), options)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- s.auditor.Run(ctx) }()
	go func() { ended <- p.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			w.t.Error(err)
		}
	}
	return s.auditor
}

// write appends n events, and a mark after them.
func (w *watched) write(n int) {
	w.t.Helper()
	for range n {
		w.written++
		e := events.Event{
			ID: fmt.Sprint("e", w.written), Source: "urn:test", Type: "Happened", Entity: events.Entity{Type: "thing", ID: fmt.Sprint("t", w.written%7)},
			Data: fmt.Appendf(nil, `{"text":"number-%06d"}`, w.written),
		}
		if _, err := w.regions["us"].Log().Append(w.t.Context(), events.One(e, events.ExpectAny())); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := marks.New(w.regions["us"].Log(), marks.Options{Interval: 1, Idle: 1}).Write(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// level waits until a region holds everything, has audited it, and has folded it.
func (w *watched) level(name string) {
	w.t.Helper()
	last := head(w.t, w.regions["us"])
	eventually(w.t, name+" is level, audited and folded", func() bool {
		return head(w.t, w.regions[name]) == last && w.audited(name) == last-1 && w.applied(name) == last
	})
	w.clean(name)
}

func (w *watched) clean(name string) {
	w.t.Helper()
	eventually(w.t, "the audit of "+name+" is known", func() bool { return w.sites[name].auditor.State().Known })
	if f := w.state(name).Finding; f != nil || w.sites[name].auditor.Verdict() != nil {
		w.t.Fatalf("%+v, %v", f, w.sites[name].auditor.Verdict())
	}
}

// audited returns the sequence up to which a region's copy is audited; 0 as long as not all of it was.
func (w *watched) audited(name string) uint64 {
	w.t.Helper()
	a := w.state(name)
	if a.Full.IsZero() {
		return 0
	}
	return a.Upto()
}

func (w *watched) state(name string) marks.Audit {
	w.t.Helper()
	a, _, err := projections.ReadJSON[marks.Audit](w.t.Context(), w.regions[name].KV(), marks.AuditKey("us"))
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// applied returns the sequence up to which a region's read model is folded.
func (w *watched) applied(name string) uint64 {
	w.t.Helper()
	pointer, _, err := projections.ReadPointer(w.t.Context(), w.regions[name].KV(), "things")
	if err != nil || pointer.Generation == 0 {
		return 0
	}
	headers, err := w.sites[name].store.Headers(w.t.Context(), pointer.Live("things"))
	if err != nil {
		w.t.Fatal(err)
	}
	low := ^uint64(0)
	for i := range headers {
		point, _ := headers[i].Checkpoint.Point("us")
		low = min(low, point.Sequence)
	}
	return low
}

// finds waits until a region's copy is found wrong, checks how, and that nothing more is applied from it.
func (w *watched) finds(name string, kind marks.Kind, holds ...string) *marks.Finding {
	w.t.Helper()
	var f *marks.Finding
	eventually(w.t, fmt.Sprintf("the copy of %s is found to be wrong: %s", name, kind), func() bool {
		f = w.state(name).Finding
		return f != nil && (len(f.Holds) > 0 || len(holds) == 0)
	})
	verdict := w.sites[name].auditor.Verdict()
	if f.Kind != kind || !slices.Equal(f.Holds, holds) || !errors.Is(verdict, projections.ErrUntrustedLog) {
		w.t.Fatalf("%+v\n%v", f, verdict)
	}
	for _, word := range append([]string{"region " + name, "origin us", string(kind), "nothing is applied"}, holds...) {
		if !strings.Contains(verdict.Error(), word) {
			w.t.Errorf("the verdict does not say %q: %v", word, verdict)
		}
	}
	eventually(w.t, "the projector refuses", func() bool {
		s, _, err := projections.ReadJSON[projections.Status](w.t.Context(), w.regions[name].KV(), projections.StatusKey("things"))
		return err == nil && s.State == projections.ProjectorRefused && (s.Code == string(projections.ErrUntrustedLog) || s.Code == string(events.ErrForeignHistory))
	})
	w.t.Logf("%v", verdict)
	return f
}

// file returns the block that holds an event's text, and where.
func (w *watched) block(name string, n int) (file string, at int) {
	w.t.Helper()
	text := fmt.Appendf(nil, "number-%06d", n)
	eventually(w.t, "the event is on the disk", func() bool {
		file = ""
		err := filepath.WalkDir(w.configs[name].DataDir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".blk") || !strings.Contains(path, "EVT_us") {
				return err
			}
			data, err := os.ReadFile(path) //nolint:gosec // of the test
			if i := bytes.Index(data, text); i >= 0 {
				file, at = path, i
			}
			return err
		})
		return err == nil && file != ""
	})
	return file, at
}

// flip flips one bit of an event on the disk.
func (w *watched) flip(name string, n int) {
	w.t.Helper()
	file, at := w.block(name, n)
	f, err := os.OpenFile(file, os.O_RDWR, 0) //nolint:gosec // of the test
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, int64(at)); err != nil {
		w.t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, int64(at)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) nats(name string) jetstream.JetStream {
	w.t.Helper()
	a := w.regions[name].Address()
	js, err := jetstream.New(natstest.Dial(w.t, a.NATS, nats.UserInfo(a.User, a.Password)))
	if err != nil {
		w.t.Fatal(err)
	}
	return js
}

func TestAuditingACleanLogRaisesNothing(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	w.audit("us")
	w.audit("eu")
	for range 20 {
		w.write(25)
	}
	w.level("us")
	w.level("eu")
	w.close("eu")
	w.write(100)
	w.open("eu")
	w.audit("eu")
	w.level("us")
	w.level("eu")
}

// TestABitThatFlipsWhileTheServerRunsIsFound: the server leaves one record out of what it delivers, and counts none as deleted.
func TestABitThatFlipsWhileTheServerRunsIsFound(t *testing.T) {
	for _, name := range []string{"us", "eu"} {
		other := map[string]string{"us": "eu", "eu": "us"}[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatched(t)
			w.write(40)
			w.write(40)
			w.audit("us")
			w.audit("eu")
			w.level("us")
			w.level("eu")
			w.flip(name, 30) // at sequence 31
			f := w.finds(name, marks.Hole, other)
			if f.First != 31 || !f.Exact || f.Mirror != (name == "eu") {
				t.Errorf("%+v", f)
			}
			before := w.applied(name)
			w.clean(other)
			w.write(20)
			w.level(other)
			if after := w.applied(name); after != before {
				t.Errorf("it went on from %d to %d", before, after)
			}
		})
	}
}

// restart ends both regions, lets damage do its work on the disk, and opens them again. It returns the error with which us cannot be opened.
func (w *watched) restart(damage func()) error {
	w.t.Helper()
	w.close("eu")
	w.close("us")
	damage()
	if err := w.tryOpen("us"); err != nil {
		return err
	}
	w.open("eu")
	w.audit("us")
	w.audit("eu")
	return nil
}

// begin writes some marks' worth of events, audits them in both regions, and returns the last sequence.
func (w *watched) begin() uint64 {
	w.t.Helper()
	for range 4 {
		w.write(50)
	}
	w.audit("us")
	w.audit("eu")
	w.level("us")
	w.level("eu")
	return head(w.t, w.regions["us"])
}

// dropIndex takes away what a server that ended in order knows about its blocks, as a crash does.
func (w *watched) dropIndex(block string) {
	w.t.Helper()
	if err := os.Remove(filepath.Join(filepath.Dir(block), "index.db")); err != nil {
		w.t.Fatal(err)
	}
}

// TestABitThatFlippedWhileTheServerWasDownIsFound: the server leaves the record out or, when it has to look through its blocks, everything from there on.
func TestABitThatFlippedWhileTheServerWasDownIsFound(t *testing.T) {
	for name, crashed := range map[string]bool{"after an end in order": false, "after a crash": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatched(t)
			w.begin()
			err := w.restart(func() {
				w.flip("us", 60) // at sequence 62
				if file, _ := w.block("eu", 60); crashed {
					file = strings.Replace(file, w.configs["eu"].DataDir, w.configs["us"].DataDir, 1)
					w.dropIndex(file)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			kind := marks.Hole
			if crashed {
				kind = marks.Truncated
			}
			if f := w.finds("us", kind, "eu"); f.First != 62 || !f.Exact {
				t.Errorf("%+v", f)
			}
			w.clean("eu")
		})
	}
}

// TestABlockThatWasCutOffIsFound: what is left of it is there.
func TestABlockThatWasCutOffIsFound(t *testing.T) {
	for name, crashed := range map[string]bool{"after an end in order": false, "after a crash": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatched(t)
			w.begin()
			err := w.restart(func() {
				file, at := w.block("us", 60)
				if err := os.Truncate(file, int64(at)); err != nil {
					t.Fatal(err)
				}
				if crashed {
					w.dropIndex(file)
				}
			})
			if !crashed { // the server says itself that they are gone, and the log is not opened
				if !errors.Is(err, events.ErrUnsafeLog) || !strings.Contains(err.Error(), "num_deleted") {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if f := w.finds("us", marks.Truncated, "eu"); f.First != 62 || !f.Exact {
				t.Errorf("%+v", f)
			}
			w.clean("eu")
		})
	}
}

func TestAStreamThatWasMadeAgainIsFound(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	w.begin()
	if err := w.nats("us").DeleteStream(t.Context(), "EVT_us"); err != nil {
		t.Fatal(err)
	}
	if err := w.restart(func() {}); err != nil {
		t.Fatal(err)
	}
	w.write(500)
	if f := w.finds("us", marks.Recreated, "eu"); f.First != 1 {
		t.Errorf("%+v", f)
	}
	w.clean("eu")
}

func TestAnOlderCopyThatWasPutBackIsFound(t *testing.T) {
	for name, n := range map[string]int{"shorter": 3, "longer": 300} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatched(t)
			w.write(50)
			w.close("eu")
			w.close("us")
			older, store := t.TempDir(), filepath.Join(w.configs["us"].DataDir, "nats", "jetstream", "TIDEMARK", "streams", "EVT_us")
			if err := os.CopyFS(older, os.DirFS(store)); err != nil {
				t.Fatal(err)
			}
			w.open("us")
			w.open("eu")
			w.begin()
			w.close("eu")
			w.close("us")
			if err := os.RemoveAll(store); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(store, os.DirFS(older)); err != nil {
				t.Fatal(err)
			}
			w.open("us")
			w.write(n)
			if err := w.restart(func() {}); err != nil {
				t.Fatal(err)
			}
			kind, first := marks.Forked, uint64(53)
			if name == "shorter" {
				kind, first = marks.Truncated, 57
			}
			if f := w.finds("us", kind, "eu"); f.First != first || !f.Exact {
				t.Errorf("%+v", f)
			}
			w.clean("eu")
		})
	}
}
