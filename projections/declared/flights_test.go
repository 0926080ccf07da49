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
}

func TestAProjectorStoresTheSameBytesAndDigestsForBoth(t *testing.T) {
	all := flown(t)
	for _, p := range pairs(t) {
		inGo, here := project(t, p[0], all), project(t, p[1], all)
		if len(inGo.items) < 200 || !reflect.DeepEqual(inGo.items, here.items) {
			t.Errorf("%s: the documents differ", p[0].Definition().Name)
		}
		if len(inGo.digests) != projections.DefaultPartitions || !slices.Equal(inGo.digests, here.digests) {
			t.Errorf("%s: the digests are\n%v and\n%v", p[0].Definition().Name, inGo.digests, here.digests)
		}
	}
}

// project runs a projector over events until all are applied.
func project(t *testing.T, p projections.Projection, all []events.Event) (out stored) {
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
		worker, err := projector.New(p, log, store, kv, memstore.NewLeases(), projector.Options{})
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
	})
	return out
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
