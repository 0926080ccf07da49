package demo

import (
	"bufio"
	"context"
	"encoding/json"

	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/query"
)

// expected is what the read models must hold, computed from the file with plain maps: no event, no projection and no store is
// involved.
type expected struct {
	airports map[string]flights.Airport
	routes   map[string]flights.Route
}

func (d *demo) fold() (expected, error) {
	want := expected{airports: make(map[string]flights.Airport), routes: make(map[string]flights.Route)}
	file, err := flights.Lines()
	if err != nil {
		return want, err
	}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var line struct {
			Date, Origin, Destination string
			Delay, Distance           int64
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return want, err
		}
		from := want.airports[line.Origin]
		from.Departures++
		want.airports[line.Origin] = from
		to, known := want.airports[line.Destination]
		if !known || to.Arrivals == 0 {
			to.DelayMax = line.Delay
		}
		to.Arrivals, to.DelayTotal, to.DelayMax = to.Arrivals+1, to.DelayTotal+line.Delay, max(to.DelayMax, line.Delay)
		if line.Delay < 1 {
			to.OnTime++
		}
		if line.Date > to.LastLanded {
			to.LastLanded = line.Date
		}
		want.airports[line.Destination] = to
		route := want.routes[line.Origin+"-"+line.Destination]
		route.Flights, route.Distance, route.DelayTotal = route.Flights+1, route.Distance+line.Distance, route.DelayTotal+line.Delay
		want.routes[line.Origin+"-"+line.Destination] = route
	}
	want.airports[demoAirport] = flights.Airport{Departures: d.own} // published by the demo itself
	return want, lines.Err()
}

// item is a document with its key.
type item[D any] struct {
	key string
	doc D
}

// all reads a whole read model of a region, page by page, at the position of the last event or later.
func all[D any](ctx context.Context, d *demo, p *place, projection string) ([]item[D], error) {
	return every[D](ctx, p, projection, d.at())
}

// every reads a whole read model of a region, page by page.
func every[D any](ctx context.Context, p *place, projection string, read query.Options) ([]item[D], error) {
	var out []item[D]
	o := query.ListOptions{Options: read, Limit: query.MaxLimit}
	for {
		page, err := p.reader.List(ctx, projection, o)
		if err != nil {
			return nil, err
		}
		for _, i := range page.Items {
			doc, err := projections.Decode[D](i.Document.Fields, i.Document.Values)
			if err != nil {
				return nil, err
			}
			out = append(out, item[D]{key: i.Key, doc: doc})
		}
		if o.After = page.Next; o.After == "" {
			return out, nil
		}
	}
}

// same returns what differs first between a read model and what it must hold.
func same[D comparable](name string, got []item[D], want map[string]D) error {
	if len(got) != len(want) {
		return failed("%s has %d documents, expected %d", name, len(got), len(want))
	}
	for _, i := range got {
		if w, ok := want[i.key]; !ok || i.doc != w {
			return failed("%s %s is %+v, expected %+v", name, i.key, i.doc, w)
		}
	}
	return nil
}
