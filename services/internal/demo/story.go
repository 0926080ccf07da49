package demo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/importer"
)

// shown is how many airports the table has.
const shown = 8

// demoAirport is the airport of the one event that the demo publishes itself.
const demoAirport = "TMK"

func (d *demo) publish(ctx context.Context) error {
	step := d.say.step("Publishing %s events in us", display.Number(2*flights.Count))
	m, err := importer.ParseMap(flights.Map())
	if err != nil {
		return err
	}
	o := importer.Options{Floors: d.leader().Floors()}
	result, err := importer.Run(ctx, d.leader().Log(), m, bytes.NewReader(flights.Data()), o)
	if err != nil {
		return err
	}
	d.summary.EventsPerSec = float64(result.AddedEvents) / step.elapsed().Seconds()
	acknowledged := time.Now()
	if err := d.confirmed(ctx, result.Position); err != nil {
		return err
	}
	d.summary.Replicated = time.Since(acknowledged).Seconds()
	again, err := importer.Run(ctx, d.leader().Log(), m, bytes.NewReader(flights.Data()), o)
	if err != nil {
		return err
	}
	if result.AddedEvents != 2*flights.Count || again.AddedEvents != 0 {
		return failed("the import added %d events and its repetition %d, expected %d and 0", result.AddedEvents, again.AddedEvents, 2*flights.Count)
	}
	d.summary.Events, d.summary.Position, d.imported = result.AddedEvents, result.Position, result.Position
	step.done("%s events/s; every region confirmed %s %.2f s later; importing the file a second time added nothing",
		display.Number(int(d.summary.EventsPerSec)), result.Position, d.summary.Replicated)
	return nil
}

// confirmed waits until every region holds a position.
func (d *demo) confirmed(ctx context.Context, p events.Position) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := events.Confirm(ctx, d.leader().Floors(), p, len(d.places))
	return err
}

func (d *demo) busiest(ctx context.Context) error {
	step := d.say.step("Projected into Redis, queried in ap")
	list, err := all[flights.Airport](ctx, d, d.far(), "airports")
	if err != nil {
		return err
	}
	step.done("%d airports; the busiest:", len(list))
	slices.SortFunc(list, func(a, b item[flights.Airport]) int {
		return cmp.Or(cmp.Compare(b.doc.Departures+b.doc.Arrivals, a.doc.Departures+a.doc.Arrivals), cmp.Compare(a.key, b.key))
	})
	d.say.table(func(row func(cells ...any)) {
		row("airport", "departures", "arrivals", "mean delay", "on time", "last landed")
		for _, a := range list[:min(shown, len(list))] {
			landings := max(a.doc.Arrivals, 1)
			row(a.key, a.doc.Departures, a.doc.Arrivals, fmt.Sprintf("%.1f min", float64(a.doc.DelayTotal)/float64(landings)),
				fmt.Sprintf("%d %%", 100*a.doc.OnTime/landings), a.doc.LastLanded)
		}
	})
	return nil
}

// departs publishes one event about the demo's own airport.
func (d *demo) departs(ctx context.Context, p *place) (events.Position, error) {
	e := events.Event{
		ID: fmt.Sprintf("demo-%d", d.own+1), Source: "urn:tidemark:demo", Type: flights.Departed,
		Entity: events.Entity{Type: flights.AirportType, ID: demoAirport}, Data: []byte(`{"origin":"TMK","destination":"ORD"}`),
	}
	receipt, err := p.Log().Append(ctx, events.One(e, events.ExpectAny()))
	if err != nil {
		return events.Position{}, err
	}
	d.own++
	d.summary.Events++
	d.summary.Position = receipt.Position
	return receipt.Position, nil
}

// departures reads how many events about the demo's own airport a region shows.
func (d *demo) departures(ctx context.Context, p *place, o query.Options) (int64, query.Answer, error) {
	a, err := p.reader.Get(ctx, "airports", demoAirport, o)
	if err != nil {
		return 0, a, err
	}
	doc, err := projections.Decode[flights.Airport](a.Document.Fields, a.Document.Values)
	return doc.Departures, a, err
}

// ownWrite publishes one event in a region that does not lead, and reads the document in another one at the event's position.
func (d *demo) ownWrite(ctx context.Context) error {
	step := d.say.step("Writing in eu, reading it in ap")
	position, err := d.departs(ctx, d.places[1])
	if err != nil {
		return err
	}
	n, a, err := d.departures(ctx, d.far(), d.at())
	if err != nil {
		return err
	}
	if n != d.own {
		return failed("airports %s has %d departures after one was published", demoAirport, n)
	}
	step.done("forwarded to us and stored at %s; read in ap at %s", position, a.Position)
	return nil
}

// lose empties Redis of the region that was cut off, and watches the read model come back.
func (d *demo) lose(ctx context.Context) error {
	step := d.say.step("Emptying the Redis of ap")
	if err := d.far().Wipe(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		a, err := d.far().reader.Get(ctx, "airports", "ORD", query.Options{})
		switch {
		case errors.Is(err, projections.ErrNoDocument):
			return failed("an empty read model answered that there is no airport ORD")
		case errors.Is(err, projections.ErrUnavailable):
			d.summary.Unavailable++
		case err != nil:
			return err
		case a.Position.Equal(d.summary.Position):
			if _, err := all[flights.Route](ctx, d, d.far(), "routes"); err != nil {
				return err
			}
			d.summary.Recovered = step.elapsed().Seconds()
			step.done("until it was back from the log by itself, %d of %d queries answered \"unavailable\", none \"not found\"",
				d.summary.Unavailable, d.summary.Unavailable+1)
			return nil
		}
		if err := rest(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// replay builds both read models anew beside the live ones.
func (d *demo) replay(ctx context.Context) error {
	step := d.say.step("Replaying from the start in us")
	d.summary.DigestsEqual = true
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	kv := d.leader().KV()
	for _, name := range []string{"airports", "routes"} {
		if _, err := projections.RequestReplay(ctx, kv, name, "demo", time.Now()); err != nil {
			return err
		}
	}
	for _, name := range []string{"airports", "routes"} {
		job, err := ended(ctx, kv, name)
		if err != nil {
			return err
		}
		d.summary.DigestsEqual = d.summary.DigestsEqual && job.Compared && job.Equal
	}
	if !d.summary.DigestsEqual {
		return failed("a replay does not equal the live read model at the same position")
	}
	d.summary.Replayed = step.elapsed().Seconds()
	step.done("a new generation beside the live one, switched in one step; at the same position both had the same digest")
	return nil
}

// ended waits until the replay of a projection is done.
func ended(ctx context.Context, kv projections.KV, name string) (projections.Replay, error) {
	for {
		job, _, err := projections.ReadJSON[projections.Replay](ctx, kv, projections.ReplayKey(name))
		if err != nil {
			return job, err
		}
		switch job.State {
		case projections.ReplayDone:
			return job, nil
		case projections.ReplayFailed, projections.ReplayCancelled:
			return job, failed("the replay of %s failed: %s", name, job.Message)
		}
		if err := rest(ctx, 20*time.Millisecond); err != nil {
			return job, err
		}
	}
}

// lookBack makes a copy of a read model as it was when the file was imported, before the demo's own events, and holds it against the fold of the file.
func (d *demo) lookBack(ctx context.Context) error {
	step := d.say.step("Looking back in eu")
	p := d.places[1]
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	asked := projections.ReplayRequest{Kind: projections.ReplayCopy, Reason: "demo", As: "imported", To: d.imported.String()}
	if _, err := projections.AskReplay(ctx, p.KV(), "airports", asked, time.Now()); err != nil {
		return err
	}
	if _, err := ended(ctx, p.KV(), "airports"); err != nil {
		return err
	}
	want, err := d.fold()
	if err != nil {
		return err
	}
	delete(want.airports, demoAirport)
	then, err := every[flights.Airport](ctx, p, "airports", query.Options{At: asked.As})
	if err != nil {
		return err
	}
	if err := same("airports of "+p.Name()+" at the end of the import", then, want.airports); err != nil {
		return err
	}
	now, _, err := d.departures(ctx, p, d.at())
	if err != nil {
		return err
	}
	if now != d.own {
		return failed("%s shows %d departures of %s, expected %d", p.Name(), now, demoAirport, d.own)
	}
	d.summary.LookedBack = step.elapsed().Seconds()
	step.done("a copy as it was at %s: %d airports, every field as in the file, and no %s, which has %d departures now", d.imported, len(then), demoAirport, now)
	return nil
}

// compare holds every document of every region against an independent fold of the file, and the regions' digests against each other.
func (d *demo) compare(ctx context.Context) error {
	step := d.say.step("Comparing every document everywhere")
	want, err := d.fold()
	if err != nil {
		return err
	}
	for _, p := range d.places {
		airports, err := all[flights.Airport](ctx, d, p, "airports")
		if err != nil {
			return err
		}
		routes, err := all[flights.Route](ctx, d, p, "routes")
		if err != nil {
			return err
		}
		if err := errors.Join(same(p.Name()+": airports", airports, want.airports), same(p.Name()+": routes", routes, want.routes)); err != nil {
			return err
		}
		d.summary.Airports, d.summary.Routes = len(airports), len(routes)
	}
	d.summary.DocumentsSame = true
	if err := d.digests(ctx); err != nil {
		return err
	}
	step.done("%d airports and %s routes in each of %d regions, every field equal; the regions' digests are equal at %s",
		d.summary.Airports, display.Number(d.summary.Routes), len(d.places), d.summary.Position)
	return nil
}

// digests compares the digests of the regions at the position of the last event.
func (d *demo) digests(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	first := make(map[string]string)
	for _, p := range d.places {
		for {
			o, err := p.reader.Overview(ctx)
			if err != nil {
				return err
			}
			known := 0
			for i := range o.Projections {
				m := &o.Projections[i]
				if m.Digest == "" || !m.Position.Equal(d.summary.Position) {
					continue // some partitions have not been told yet that there is nothing new for them
				}
				known++
				if _, ok := first[m.Name]; !ok {
					first[m.Name] = m.Digest
				}
				if first[m.Name] != m.Digest {
					return failed("%s: the digest of %s is %s, in %s it is %s", p.Name(), m.Name, m.Digest, d.leader().Name(), first[m.Name])
				}
			}
			if known == len(o.Projections) && known > 0 {
				break
			}
			if err := rest(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
