package region_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/natstest"
	"tidemark.dev/infra/netfault"
	"tidemark.dev/infra/region"
)

// patience bounds every wait of these tests.
const patience = 3 * time.Minute

// mesh is three regions of one log in this process, without read models. Each link goes through a wire that breaks on demand.
type mesh struct {
	us, eu, ap *region.Region
	wires      map[string][]*netfault.Proxy // the wires to a region's links
	configs    map[string]region.Config
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{wires: map[string][]*netfault.Proxy{}, configs: map[string]region.Config{}}
	dir := natstest.StoreDir(t)
	var opened []*region.Region
	for i, name := range []string{"us", "eu", "ap"} {
		c := region.Config{
			Name: name, Leader: "us", Role: region.Writer, DataDir: filepath.Join(dir, name), LazySync: true,
			Peers: []string{"us", "eu", "ap"}[i+1:],
		}
		for _, earlier := range opened {
			link := earlier.LinkFor(name)
			wire, err := netfault.New(link.Address, netfault.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(wire.Close)
			m.wires[name] = append(m.wires[name], wire)
			link.Address = wire.Addr()
			c.Links = append(c.Links, link)
		}
		m.configs[name] = c
		opened = append(opened, open(t, c))
	}
	m.us, m.eu, m.ap = opened[0], opened[1], opened[2]
	return m
}

func open(t *testing.T, c region.Config) *region.Region {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := region.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Errorf("closing %s: %v", r.Name(), err)
		}
	})
	return r
}

// eventually waits a bounded time until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come true in time that %s", what)
		}
	}
}

func event(entity, id string) events.Event {
	return events.Event{ID: id, Source: "urn:test", Type: "Happened", Entity: events.Entity{Type: "thing", ID: entity}, Data: []byte(`{"n":1}`)}
}

func head(t *testing.T, r *region.Region) uint64 {
	t.Helper()
	info, err := r.Log().Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.Last
}

// level waits until a region's copy holds everything of the leader's log, and says so.
func (m *mesh) level(t *testing.T, r *region.Region) {
	t.Helper()
	last := head(t, m.us)
	eventually(t, r.Name()+" is level", func() bool {
		now := r.Copy().Replication()
		return head(t, r) >= last && now.State == events.CopyFollows && now.Lag != nil && now.Lag.Events == 0 && now.Lag.Seconds == 0
	})
}

// same compares two regions' copies record by record.
func same(t *testing.T, a, b *region.Region) {
	t.Helper()
	last := head(t, a)
	if l := head(t, b); l != last {
		t.Fatalf("%s ends at %d, %s at %d", a.Name(), last, b.Name(), l)
	}
	others := make([]events.Record, 0, last)
	for batch, err := range b.Log().Read(t.Context(), events.Range{To: last}) {
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, batch...)
	}
	i := 0
	for batch, err := range a.Log().Read(t.Context(), events.Range{To: last}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range batch {
			o := others[i]
			if r.Sequence != o.Sequence || !r.Time.Equal(o.Time) || r.Event.Source != o.Event.Source || r.Event.ID != o.Event.ID || string(r.Event.Data) != string(o.Event.Data) {
				t.Fatalf("sequence %d is %+v in %s and %+v in %s", r.Sequence, r, a.Name(), o, b.Name())
			}
			i++
		}
	}
	if i != len(others) || uint64(i) != last {
		t.Fatalf("%d and %d records of %d", i, len(others), last)
	}
}
