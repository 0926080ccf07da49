package up_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/declared"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/parts"
	"tidemark.dev/services/internal/up"
)

// fleet is three regions of this process: us leads, eu and ap mirror.
type fleet struct {
	t    *testing.T
	base up.Config
	stop func()
	apps []*up.App
	ids  int
}

// startFleet runs them, until the test ends or stop is called. Started again on the same folder, they go on.
func startFleet(t *testing.T, base up.Config) *fleet {
	t.Helper()
	return startRegions(t, base, []string{"us", "eu", "ap"}, nil)
}

// startRegions runs some regions, the copies of some of which begin later.
func startRegions(t *testing.T, base up.Config, names []string, later map[string]uint64) *fleet {
	t.Helper()
	configs, err := up.Regions(names, base)
	if err == nil {
		err = up.BeginLater(configs, later)
	}
	if err != nil {
		t.Fatal(err)
	}
	all, cleanup, err := up.Open(t.Context(), configs)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- all.Run(ctx, func() error { close(ready); return nil }) }()
	f := &fleet{t: t, base: base, apps: all.Apps()}
	f.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the regions did not end")
		}
		cleanup()
	})
	t.Cleanup(f.stop)
	select {
	case <-ready:
	case <-time.After(patience):
		t.Fatal("the regions were not ready in time")
	}
	return f
}

func inFleet(t *testing.T) *fleet {
	t.Helper()
	return startFleet(t, up.Config{Config: parts.Config{Region: region.Config{DataDir: filepath.Join(t.TempDir(), "regions"), Redis: "server", LazySync: true}}})
}

func (f *fleet) app(name string) *up.App {
	i := slices.IndexFunc(f.apps, func(a *up.App) bool { return a.Region().Name() == name })
	return f.apps[i]
}

// change makes a change of the catalog in a region.
func (f *fleet) change(in string, do func(catalog.Catalog) (catalog.Decision, error)) catalog.Done {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	r := f.app(in).Region()
	done, err := catalog.Change(ctx, r.Log(), r.Floors(), do)
	if err != nil {
		f.t.Fatal(err)
	}
	return done
}

// apply applies a file in a region, and returns the projection.
func (f *fleet) apply(in, text string) *declared.Projection {
	f.t.Helper()
	p, _, err := declared.Parse("p.yaml", []byte(text))
	if err != nil {
		f.t.Fatal(err)
	}
	f.change(in, func(c catalog.Catalog) (catalog.Decision, error) { return c.Apply(p.Definition(), []byte(text)) })
	return p
}

// publish appends events in a region.
func (f *fleet) publish(in string, list ...events.Event) events.Position {
	f.t.Helper()
	for i := range list {
		f.ids++
		list[i].ID, list[i].Source = fmt.Sprint("e", f.ids), "urn:test"
	}
	r, err := f.app(in).Region().Log().Append(f.t.Context(), events.Batch{Events: list})
	if err != nil {
		f.t.Fatal(err)
	}
	return r.Position
}

// fly publishes the events of real flights, from one of them on, as batches.
func (f *fleet) fly(from, n int) (at events.Position) {
	f.t.Helper()
	lines, err := flights.Lines()
	if err != nil {
		f.t.Fatal(err)
	}
	var batch []events.Event
	scanner := bufio.NewScanner(lines)
	for i := 0; i < from+n && scanner.Scan(); i++ {
		if i < from {
			continue
		}
		var flight flights.Flight
		data := slices.Clone(scanner.Bytes())
		if err := json.Unmarshal(data, &flight); err != nil {
			f.t.Fatal(err)
		}
		for i, airport := range []string{flight.Origin, flight.Destination} {
			e := events.Event{Type: flights.Departed, Entity: events.Entity{Type: flights.AirportType, ID: airport}, Data: data}
			if i == 1 {
				e.Type = flights.Landed
			}
			batch = append(batch, e)
		}
		if len(batch) >= 500 {
			at, batch = f.publish("us", batch...), nil
		}
	}
	if len(batch) > 0 {
		at = f.publish("us", batch...)
	}
	return at
}

// documents returns a whole read model of a region at a position or later.
func (f *fleet) documents(in, projection string, at events.Position) map[string][]string {
	f.t.Helper()
	out := map[string][]string{}
	o := query.ListOptions{Options: query.Options{AtLeast: at, Wait: patience}, Limit: query.MaxLimit}
	for end := time.Now().Add(3 * patience); ; {
		page, err := f.app(in).Reader().List(f.t.Context(), projection, o)
		if (errors.Is(err, events.ErrUnreachable) || errors.Is(err, projections.ErrNotReached)) && time.Now().Before(end) {
			<-time.After(20 * time.Millisecond)
			continue // the log, or the fold, took longer than a query waits for it: it says to ask again
		}
		if err != nil {
			f.t.Fatalf("%s of %s: %v", projection, in, err)
		}
		for _, item := range page.Items {
			if _, twice := out[item.Key]; twice || item.Parked != "" {
				f.t.Fatalf("%s of %s: %s is there twice, or parked: %q", projection, in, item.Key, item.Parked)
			}
			out[item.Key] = item.Document.Values
		}
		if o.After = page.Next; o.After == "" {
			return out
		}
	}
}

// fold folds the log of a region.
func (f *fleet) fold(in string, p projections.Projection) map[string][]string {
	f.t.Helper()
	out := map[string][]string{}
	for _, d := range declared.Fold(p, func(yield func(*events.Record) bool) {
		for list, err := range f.app(in).Region().Log().Read(f.t.Context(), events.Range{}) {
			if err != nil {
				f.t.Fatal(err)
			}
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}).Documents {
		out[d.Key] = d.Values
	}
	return out
}

func (f *fleet) same(what string, got, want map[string][]string) {
	f.t.Helper()
	if len(got) != len(want) {
		f.t.Errorf("%s: %d documents, want %d", what, len(got), len(want))
		return
	}
	for key, values := range want {
		if !slices.Equal(got[key], values) {
			f.t.Errorf("%s: %s is %v, want %v", what, key, got[key], values)
			return
		}
	}
}

// until waits a bounded time.
func (f *fleet) until(what string, ok func() bool) {
	f.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			f.t.Fatalf("it did not come true in time that %s", what)
		}
	}
}

// model returns how a read model of a region does.
func (f *fleet) model(in, projection string) (query.ModelStatus, bool) {
	f.t.Helper()
	o, err := f.app(in).Reader().Overview(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	i := slices.IndexFunc(o.Projections, func(m query.ModelStatus) bool { return m.Name == projection })
	if i < 0 {
		return query.ModelStatus{}, false
	}
	return o.Projections[i], true
}

// follows waits until a region's live read model is of a version.
func (f *fleet) follows(in, projection string, version int) {
	f.t.Helper()
	f.until(fmt.Sprintf("version %d of %s is live in %s", version, projection, in), func() bool {
		m, _ := f.model(in, projection)
		return m.Version == version && m.State == "live" && m.Projector == projections.ProjectorFollowing
	})
}

// flightsFile returns the file of one of the flights' projections, under another name.
func flightsFile(t *testing.T, name, as string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "projections", "flights", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	renamed := strings.Replace(string(text), "\nprojection: "+name+"\n", "\nprojection: "+as+"\n", 1)
	if renamed == string(text) {
		t.Fatal("the file does not say its name where it did")
	}
	return renamed
}

// A file that is applied in a region that only mirrors is built in every region, and its documents and digests are those of the same projection in Go.
func TestAProjectionThatIsAppliedAnywhereIsBuiltEverywhere(t *testing.T) {
	f := inFleet(t)
	f.fly(0, 400)
	files := map[string]*declared.Projection{}
	for name, in := range map[string]string{"airports": "ap", "routes": "eu"} {
		files[name] = f.apply(in, flightsFile(t, name, name+"-y"))
	}
	for _, app := range f.apps {
		for name := range files {
			f.follows(app.Region().Name(), name+"-y", 1)
		}
	}
	at := f.fly(400, 200) // some before, and some after
	folded := map[string]map[string][]string{}
	for name, file := range files {
		folded[name] = f.fold("us", file)
	}
	for _, app := range f.apps {
		in := app.Region().Name()
		for name := range files {
			got := f.documents(in, name+"-y", at)
			f.same(name+"-y of "+in+" and the fold", got, folded[name])
			f.same(name+"-y of "+in+" and "+name, got, f.documents(in, name, at))
			f.until("the digests are those of the projection in Go", func() bool {
				a, _ := f.model(in, name)
				b, _ := f.model(in, name+"-y")
				return a.Digest != "" && a.Digest == b.Digest && a.Position.Equal(b.Position) // which marks may have moved on
			})
		}
	}
	for _, app := range f.apps {
		l, err := app.Reader().Catalog(t.Context())
		var names []string
		for _, e := range l.Projections {
			names = append(names, e.Name+" "+string(e.Kind))
		}
		if err != nil || !slices.Equal(names, []string{"airports go", "airports-y file", "routes go", "routes-y file"}) {
			t.Errorf("%s lists %v, %v", app.Region().Name(), names, err)
		}
	}
}

// counts is a file that counts departures, each version by its number.
func counts(version int) string {
	return fmt.Sprintf("projection: counts\nversion: %d\nfields: {n: int}\non: [{event: FlightDeparted, do: [{add: {n: %d}}]}]\n", version, version)
}

func departed() events.Event {
	return events.Event{Type: flights.Departed, Entity: events.Entity{Type: flights.AirportType, ID: "ORD"}, Data: []byte(`{"origin":"ORD"}`)}
}

// The whole life, each step in another region, and reads in all of them meanwhile, of which none may find nothing.
func TestTheLifeOfAProjectionInThreeRegions(t *testing.T) {
	f := inFleet(t)
	first := f.apply("eu", counts(1))
	for _, app := range f.apps {
		f.follows(app.Region().Name(), "counts", 1)
	}
	at := f.publish("ap", departed(), departed())
	for _, app := range f.apps {
		f.same("counts of "+app.Region().Name(), f.documents(app.Region().Name(), "counts", at), f.fold("us", first))
	}

	t.Log("paused in eu: it stands still everywhere, answers, and says how far it is behind")
	f.change("eu", func(c catalog.Catalog) (catalog.Decision, error) { return c.Pause("counts") })
	for _, app := range f.apps {
		f.until("it is paused in "+app.Region().Name(), func() bool {
			m, _ := f.model(app.Region().Name(), "counts")
			return m.Projector == projections.ProjectorPaused
		})
	}
	f.publish("us", departed(), departed(), departed())
	for _, app := range f.apps {
		f.until("its lag in "+app.Region().Name()+" is known and not none", func() bool {
			a, err := app.Reader().Get(t.Context(), "counts", "ORD", query.Options{})
			v, _ := a.Document.Field("n")
			return err == nil && v == "2" && a.Lag != nil && a.Lag.Events >= 3
		})
	}
	f.change("ap", func(c catalog.Catalog) (catalog.Decision, error) { return c.Resume("counts") })
	for _, app := range f.apps {
		f.follows(app.Region().Name(), "counts", 1)
	}

	t.Log("a new version from ap, under reads")
	stopReading := f.readAll("counts", "ORD")
	second := f.apply("ap", counts(2))
	for _, app := range f.apps {
		f.follows(app.Region().Name(), "counts", 2)
	}
	at = f.publish("eu", departed())
	for _, app := range f.apps {
		f.same("version 2 in "+app.Region().Name(), f.documents(app.Region().Name(), "counts", at), f.fold("us", second))
	}
	stopReading()

	t.Log("everything is stopped and started again")
	f.stop()
	again := startFleet(t, f.base)
	again.ids = f.ids
	f = again
	at = f.publish("ap", departed())
	for _, app := range f.apps {
		f.same("after the start in "+app.Region().Name(), f.documents(app.Region().Name(), "counts", at), f.fold("us", second))
	}

	t.Log("removed in ap")
	f.change("ap", func(c catalog.Catalog) (catalog.Decision, error) { return c.Remove("counts") })
	for _, app := range f.apps {
		f.until("it is unknown in "+app.Region().Name(), func() bool {
			_, err := app.Reader().Get(t.Context(), "counts", "ORD", query.Options{})
			_, there := f.model(app.Region().Name(), "counts")
			return errors.Is(err, projections.ErrUnknownProjection) && !there
		})
	}
	f.apply("eu", counts(2)) // and there again
	for _, app := range f.apps {
		f.follows(app.Region().Name(), "counts", 2)
		f.same("applied again, in "+app.Region().Name(), f.documents(app.Region().Name(), "counts", at), f.fold("us", second))
	}
}

// readAll reads a document in every region again and again until it is stopped. Each must be found.
func (f *fleet) readAll(projection, key string) (stop func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	var reading sync.WaitGroup
	for _, app := range f.apps {
		reading.Go(func() {
			reads, versions := 0, map[uint32]bool{}
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for ; ctx.Err() == nil; reads++ {
				<-tick.C
				a, err := app.Reader().Get(ctx, projection, key, query.Options{})
				if err != nil && ctx.Err() == nil {
					f.t.Errorf("read %d in %s: %v", reads, app.Region().Name(), err)
					return
				}
				versions[a.Generation] = true
			}
			if reads < 10 || len(versions) < 2 {
				f.t.Errorf("in %s there were %d reads of %d generations", app.Region().Name(), reads, len(versions))
			}
		})
	}
	return func() {
		cancel()
		reading.Wait()
	}
}
