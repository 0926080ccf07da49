package declared_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/declared"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

// read parses a file of the flights.
func read(t testing.TB, name string) *declared.Projection {
	t.Helper()
	text, err := os.ReadFile("../flights/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := declared.Parse(name+".yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// flown returns the events of every flight.
func flown(t testing.TB) []events.Event {
	t.Helper()
	lines, err := flights.Lines()
	if err != nil {
		t.Fatal(err)
	}
	var all []events.Event
	for scanner := bufio.NewScanner(lines); scanner.Scan(); {
		var f flights.Flight
		line := slices.Clone(scanner.Bytes())
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatal(err)
		}
		for i, airport := range []string{f.Origin, f.Destination} {
			typ := []string{flights.Departed, flights.Landed}[i]
			e := events.Event{ID: fmt.Sprint(len(all)), Source: "urn:test", Type: typ, Entity: events.Entity{Type: flights.AirportType, ID: airport}, Data: line}
			all = append(all, e)
		}
	}
	if len(all) != 2*flights.Count {
		t.Fatalf("there are %d events", len(all))
	}
	return all
}

// records returns events as a log would hold them.
func records(list []events.Event) iter.Seq[*events.Record] {
	return func(yield func(*events.Record) bool) {
		for i, e := range list {
			if !yield(&events.Record{Sequence: uint64(i) + 1, Kind: events.KindEvent, Event: e}) {
				return
			}
		}
	}
}

// pairs returns the flights' projections, each in Go and declared.
func pairs(t testing.TB) [][2]projections.Projection {
	t.Helper()
	all, err := flights.All()
	if err != nil {
		t.Fatal(err)
	}
	var out [][2]projections.Projection
	for _, p := range all {
		out = append(out, [2]projections.Projection{p, read(t, p.Definition().Name)})
	}
	return out
}

func TestTheDeclaredFlightsHaveTheDefinitionsOfThoseInGo(t *testing.T) {
	for _, p := range pairs(t) {
		g, d := p[0].Definition(), *p[1].Definition()
		if d.Meaning = ""; !reflect.DeepEqual(*g, d) || g.Fingerprint() == p[1].Definition().Fingerprint() {
			t.Errorf("in Go it is %+v, and declared %+v", g, d)
		}
	}
}

func TestTheDeclaredFlightsBecomeTheDocumentsOfThoseInGo(t *testing.T) {
	all := flown(t)
	for _, p := range pairs(t) {
		inGo, here := declared.Fold(p[0], records(all)), declared.Fold(p[1], records(all))
		if len(inGo.Documents) < 200 || len(inGo.Unrouted) > 0 || inGo.Digest() != here.Digest() || !reflect.DeepEqual(inGo, here) {
			t.Errorf("%s: %d documents in Go and %d declared; digests %s and %s", p[0].Definition().Name, len(inGo.Documents), len(here.Documents), inGo.Digest(), here.Digest())
		}
	}
}

// stored is what a projector left behind.
type stored struct {
	items   []query.Item
	digests []projections.Digest
	store   *memstore.Store
}

func TestAProjectorStoresTheSameBytesAndDigestsForBoth(t *testing.T) {
	all := flown(t)
	for _, p := range pairs(t) {
		inGo, here := project(t, p[0], all, projector.Options{}), project(t, p[1], all, projector.Options{})
		if len(inGo.items) < 200 || !reflect.DeepEqual(inGo.items, here.items) {
			t.Errorf("%s: the documents differ", p[0].Definition().Name)
		}
		if len(inGo.digests) != projections.DefaultPartitions || !slices.Equal(inGo.digests, here.digests) {
			t.Errorf("%s: the digests are\n%v and\n%v", p[0].Definition().Name, inGo.digests, here.digests)
		}
	}
}

// project runs a projector over events until all are applied.
func project(t *testing.T, p projections.Projection, all []events.Event, options projector.Options) (out stored) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		log, store, kv := memlog.New("us", memlog.Options{Lineage: "7f3a11d2"}), memstore.New(), memstore.NewKV()
		defer log.Close()
		for chunk := range slices.Chunk(all, events.MaxBatch) {
			if _, err := log.Append(ctx, events.Batch{Events: chunk}); err != nil {
				t.Fatal(err)
			}
		}
		info, err := log.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		worker, err := projector.New(p, log, store, kv, memstore.NewLeases(), options)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- worker.Run(ctx) }()
		reader := query.New("us", store, kv, query.NewHeads(log))
		name := p.Definition().Name
		for after, tries := "", 0; ; {
			page, err := reader.List(ctx, name, query.ListOptions{Options: query.Options{AtLeast: info.Head()}, Limit: query.MaxLimit, After: after})
			if err != nil {
				if tries++; tries > 1_000 {
					t.Fatal(err)
				}
				synctest.Wait()
				<-time.After(10 * time.Millisecond)
				continue
			}
			out.items = append(out.items, page.Items...)
			if after = page.Next; after == "" {
				break
			}
		}
		headers, err := store.Headers(ctx, projections.Generation{Projection: name, Number: 1, Partitions: projections.DefaultPartitions})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range headers {
			out.digests = append(out.digests, h.Digest)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		out.store = store
	})
	return out
}

// landings has what the flights' own projections have not: a list, a set, an index of two fields.
const landings = `
projection: landings
version: 1
fields: {landed: int, last: {kind: list, keep: 5}, origins: set, near: {kind: set, default: [none]}, far: bool}
indexes: {by_landed: landed, by_far: [far, landed]}
on:
  - event: FlightLanded
    entity: airport
    do:
      - {count: landed, append: {last: data.date}, collect: {origins: data.origin}}
      - {collect: {near: data.origin}, when: data.distance < 300 && !(data.origin in doc.near)}
      - {remove: {near: data.origin}, when: data.distance < 300 && data.delay > 60}
      - set: {far: size(doc.origins) > 20}
`

// A projector that remembers one document writes and reads back every list again and again.
func TestAProjectorStoresListsSetsAndIndexes(t *testing.T) {
	all, p := flown(t)[:8_000], parse(t, landings)
	want := declared.Fold(p, records(all))
	got := project(t, p, all, projector.Options{CacheDocuments: 1, Batch: 50})
	if len(got.items) != len(want.Documents) || len(got.items) < 150 {
		t.Fatalf("there are %d documents, expected %d", len(got.items), len(want.Documents))
	}
	def, entries := p.Definition(), 0
	for i, item := range got.items {
		if d := want.Documents[i]; item.Key != d.Key || item.Parked != "" || !slices.Equal(item.Document.Values, d.Values) {
			t.Errorf("%s is %v, expected %v", item.Key, item.Document.Values, d.Values)
		}
	}
	for i := range projections.DefaultPartitions {
		g := projections.Generation{Projection: def.Name, Number: 1, Partitions: projections.DefaultPartitions}
		_, found, err := got.store.Find(context.Background(), g, def, i, projections.IndexQuery{Index: "by_far", Limit: 1_000})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if value, ok := def.IndexValue("by_far", &f.Document); !ok || value != f.Value {
				t.Errorf("%s is under %q, expected %q", f.Key, f.Value, value)
			}
		}
		entries += len(found)
	}
	if entries != len(got.items) {
		t.Errorf("the index has %d entries, and there are %d documents", entries, len(got.items))
	}
}

func TestADeclaredIndexIsTheSameAsOneInGo(t *testing.T) {
	text, err := os.ReadFile("../flights/airports.yaml")
	if err != nil {
		t.Fatal(err)
	}
	airports, err := flights.Airports()
	if err != nil {
		t.Fatal(err)
	}
	inGo, err := airports.(*projections.Typed[flights.Airport]).Indexed(projections.Index{Name: "late", Fields: []string{"delay_total"}},
		projections.Index{Name: "busy", Fields: []string{"arrivals", "departures"}})
	if err != nil {
		t.Fatal(err)
	}
	d := *parse(t, string(text)+"indexes: {late: delay_total, busy: [arrivals, departures]}\n").Definition()
	if d.Meaning = ""; !reflect.DeepEqual(d, *inGo.Definition()) {
		t.Errorf("in Go it is %+v, and declared %+v", inGo.Definition(), d)
	}
}

// one returns one event as a log would hold it.
func one(e events.Event) iter.Seq[*events.Record] { return records([]events.Event{e}) }

// BenchmarkTheFlights folds every flight in memory, without store and log. An operation is all of them.
func BenchmarkTheFlights(b *testing.B) {
	all := flown(b)
	list := slices.Collect(records(all))
	for _, p := range pairs(b) {
		for i, how := range []string{"go", "yaml"} {
			b.Run(p[i].Definition().Name+"/"+how, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					declared.Fold(p[i], slices.Values(list))
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(list)), "ns/event")
			})
		}
	}
}
