//go:build cluster

package clustertest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/infra/clustertest"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/query"
)

// published is what the flights' read models must be, counted by a plain loop over the file: no event, projection or store is involved.
type published struct {
	airports map[string]flights.Airport
	routes   map[string]flights.Route
}

// TestTheFlightsAreFoldedAsAPlainLoopCountsThem publishes the real flights to three nodes, while one after the other is restarted, projects
// them into a Redis Cluster whose masters hand over to their replicas, and compares every document. Then it replays and compares again.
func TestTheFlightsAreFoldedAsAPlainLoopCountsThem(t *testing.T) {
	servers, redis := clustertest.StartNATS(t), clustertest.StartRedis(t, 1)
	r := openRegion(t, servers.Dial(t), redis.Client(), "us", clustertest.Nodes, natslog.Options{})
	all, err := flights.All()
	must(t, err)
	for _, p := range all {
		r.project(p, "one")
	}
	want := r.publish(func(batch int) {
		switch node := batch/10 - 1; {
		case batch%10 != 0 || node < 0:
		case node < clustertest.Nodes:
			servers.Stop(node)
			servers.Start(node)
			redis.Failover(replicaOf(node))
		}
	})
	info, err := r.log.Info(t.Context())
	must(t, err)
	if n := info.Last - 1; n != 2*flights.Count {
		t.Errorf("the log holds %d events, expected %d", n, 2*flights.Count)
	}
	same(t, r, "airports", info.Head(), want.airports)
	same(t, r, "routes", info.Head(), want.routes)
	for _, p := range all {
		r.replay(p.Definition().Name)
	}
	same(t, r, "airports", info.Head(), want.airports)
	same(t, r, "routes", info.Head(), want.routes)
	t.Logf("%d events, %d airports, %d routes", info.Last-1, len(want.airports), len(want.routes))
}

// publish appends the flights, a transaction of up to a thousand events each, and returns what they come to. between is called after each.
func (r *region) publish(between func(batch int)) published {
	r.t.Helper()
	want := published{airports: make(map[string]flights.Airport), routes: make(map[string]flights.Route)}
	file, err := flights.Lines()
	must(r.t, err)
	var b events.Batch
	n, batches := 0, 0
	flush := func() {
		receipt, err := r.log.Append(r.t.Context(), b)
		must(r.t, err)
		if receipt.Duplicate || receipt.Last-receipt.First+1 != uint64(len(b.Events)) {
			r.t.Fatalf("%d events were appended, and the receipt is %+v", len(b.Events), receipt)
		}
		b = events.Batch{}
		batches++
		between(batches)
	}
	for lines := bufio.NewScanner(file); lines.Scan(); n++ {
		var f struct {
			Date, Origin, Destination string
			Delay, Distance           int64
		}
		data := append([]byte{}, lines.Bytes()...)
		must(r.t, json.Unmarshal(data, &f))
		for _, e := range [][2]string{{flights.Departed, f.Origin}, {flights.Landed, f.Destination}} {
			b.Events = append(b.Events, events.Event{
				ID: fmt.Sprint(n, e[0]), Source: "urn:test", Type: e[0], Entity: events.Entity{Type: flights.AirportType, ID: e[1]}, Data: data,
			})
		}
		from := want.airports[f.Origin]
		from.Departures++
		want.airports[f.Origin] = from
		to := want.airports[f.Destination]
		if to.Arrivals == 0 || to.DelayMax < f.Delay {
			to.DelayMax = f.Delay
		}
		if f.Delay < 1 {
			to.OnTime++
		}
		to.Arrivals, to.DelayTotal, to.LastLanded = to.Arrivals+1, to.DelayTotal+f.Delay, max(to.LastLanded, f.Date)
		want.airports[f.Destination] = to
		route := want.routes[f.Origin+"-"+f.Destination]
		route.Flights, route.Distance, route.DelayTotal = route.Flights+1, route.Distance+f.Distance, route.DelayTotal+f.Delay
		want.routes[f.Origin+"-"+f.Destination] = route
		if len(b.Events) == events.MaxBatch {
			flush()
		}
	}
	if len(b.Events) > 0 {
		flush()
	}
	return want
}

// same compares a whole read model, at a position or later, with what it must be.
func same[D comparable](t *testing.T, r *region, name string, at events.Position, want map[string]D) {
	t.Helper()
	o := query.ListOptions{Options: query.Options{AtLeast: at}, Limit: query.MaxLimit}
	for n := 0; ; {
		var page query.Page
		var err error
		eventually(t, name+" has reached the head of the log", func() bool {
			page, err = r.reader.List(t.Context(), name, o)
			return err == nil
		})
		for _, i := range page.Items {
			doc, err := projections.Decode[D](i.Document.Fields, i.Document.Values)
			must(t, err)
			if w, there := want[i.Key]; !there || doc != w {
				t.Errorf("%s %s is %+v, expected %+v", name, i.Key, doc, w)
			}
		}
		n += len(page.Items)
		if o.After = page.Next; o.After == "" {
			if n != len(want) {
				t.Errorf("%s has %d documents, expected %d", name, n, len(want))
			}
			return
		}
	}
}
