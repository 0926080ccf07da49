package query_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
)

func TestSeveralDocumentsComeInTheOrderOfTheirKeysAtOnePosition(t *testing.T) {
	inRegion(t, func(r *region) {
		at := r.departures(20)
		keys := []string{"A003", "ORD", "A001", "A003", "A019", "NONE"}
		a, err := r.reader.Lookup(context.Background(), "airports", keys, query.Options{})
		if err != nil || len(a.Items) != len(keys) || !a.Position.Equal(at) || a.Lag == nil || a.Generation != 1 || a.ETag == "" || a.Region != "us" {
			t.Fatalf("%+v, %v", a, err)
		}
		for i, item := range a.Items {
			missing := !strings.HasPrefix(keys[i], "A")
			if item.Key != keys[i] || item.Missing != missing || (item.Document.Values == nil) != missing {
				t.Errorf("item %d is %+v", i, item)
			}
		}
		text, err := json.Marshal(a.Items[1])
		if err != nil || string(text) != `{"key":"ORD","document":null,"missing":true}` {
			t.Errorf("%s, %v", text, err)
		}
		if n := r.store.Calls(memstore.OpLookup); n != 1 {
			t.Errorf("it took %d calls", n)
		}
	})
}

func TestTheAnswerStandsAtTheLowestOfItsPartitions(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(20)
		r.end()
		behind := projections.PartitionOf("A003", 4)
		r.store.EditHeader(r.live(), behind, func(h *projections.Header) {
			point, _ := h.Checkpoint.Point("us")
			point.Sequence -= 2
			h.Checkpoint = events.At(point)
		})
		other := ""
		for i := range 20 {
			if key := fmt.Sprintf("A%03d", i); projections.PartitionOf(key, 4) != behind {
				other = key
			}
		}
		for _, c := range []struct {
			keys []string
			lag  uint64
		}{{[]string{other}, 0}, {[]string{other, "A003"}, 2}, {[]string{"A003", other, other}, 2}} {
			if a, err := r.reader.Lookup(context.Background(), "airports", c.keys, query.Options{}); err != nil || a.Lag == nil || a.Lag.Events != c.lag {
				t.Errorf("%v: %+v, %v", c.keys, a, err)
			}
		}
		r.store.LoseHeader(r.live(), behind)
		_, err := r.reader.Lookup(context.Background(), "airports", []string{other, "A003"}, query.Options{})
		wants(t, err, projections.ErrUnavailable)
		if _, err := r.reader.Lookup(context.Background(), "airports", []string{other}, query.Options{}); err != nil {
			t.Error(err)
		}
	})
}

func TestALookupThatCannotBeAskedIsRefused(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		ask := func(keys ...string) error { return r.lookup(query.Options{}, keys...) }
		wants(t, ask(), projections.ErrInvalidQuery)
		wants(t, ask(make([]string, query.MaxKeys+1)...), projections.ErrInvalidQuery)
		wants(t, ask("A001", ""), projections.ErrInvalidKey)
		wants(t, ask("\xff"), projections.ErrInvalidKey)
		_, err := r.reader.Lookup(context.Background(), "nothing", []string{"A"}, query.Options{})
		wants(t, err, projections.ErrUnknownProjection)
		many := make([]string, query.MaxKeys)
		for i := range many {
			many[i] = fmt.Sprint("K", i)
		}
		if err := ask(many...); err != nil {
			t.Error(err)
		}
		r.store.EditDocument(r.live(), projections.Ref{Partition: projections.PartitionOf("A001", 4), Key: "A001"}, func(f map[string]string) { delete(f, "on_time") })
		wants(t, ask("A002", "A001"), projections.ErrDocumentDamaged)
		r.store.Fail(memstore.Fault{Op: memstore.OpLookup})
		wants(t, ask("A002"), projections.ErrStoreUnreachable)
	})
}

// tags returns the tag of each kind of answer.
func (r *region) tags() map[string]string {
	r.t.Helper()
	ctx, tags := context.Background(), map[string]string{}
	keep := func(what, tag string, err error) {
		r.t.Helper()
		if err != nil || tag == "" {
			r.t.Fatalf("%s: the tag is %q, %v", what, tag, err)
		}
		tags[what] = tag
	}
	a, err := r.get("A001", query.Options{})
	keep("document", a.ETag, err)
	l, err := r.reader.Lookup(ctx, "airports", []string{"A001", "ORD"}, query.Options{})
	keep("lookup", l.ETag, err)
	p, err := r.reader.List(ctx, "airports", query.ListOptions{})
	keep("page", p.ETag, err)
	first, err := r.reader.List(ctx, "airports", query.ListOptions{Limit: 5})
	keep("first page", first.ETag, err)
	return tags
}

func TestATagIsAnotherOneWhenTheContentIsAndOnlyThen(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(5)
		before := r.tags()
		expect := func(happened string, changed ...string) {
			t.Helper()
			now := r.tags()
			for what := range before {
				should := false
				for _, c := range changed {
					should = should || c == what
				}
				if (now[what] != before[what]) != should {
					t.Errorf("%s: the tag of the %s was %s and is %s", happened, what, before[what], now[what])
				}
			}
			before = now
		}
		expect("nothing")
		r.applied(r.append(flightsIgnored, "A001", `{}`))
		expect("an event that changes nothing")
		r.applied(r.depart("A001"))
		expect("a document changed", "document", "lookup", "page", "first page")
		r.applied(r.depart("A004"))
		expect("another one changed", "page", "first page")
		r.applied(r.depart("ORD"))
		expect("one came", "lookup", "page", "first page") // the page of five has a next one now
		r.applied(r.append("FlightLanded", "A001", `{"delay":"much"}`))
		expect("one was parked", "document", "lookup", "page", "first page")
		r.store.EditDocument(r.live(), projections.Ref{Partition: projections.PartitionOf("A001", 4), Key: "A001"}, func(f map[string]string) { f["on_time"] = "77" })
		expect("one was edited behind everybody's back", "document", "lookup", "page", "first page")
		r.replay()
		expect("another generation", "document", "lookup", "page", "first page")
	})
}
