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
	step := d.say.step("Publishing %s events to JetStream", display.Number(2*flights.Count))
	m, err := importer.ParseMap(flights.Map())
	if err != nil {
		return err
	}
	result, err := importer.Run(ctx, d.region.Log(), m, bytes.NewReader(flights.Data()), importer.Options{})
	if err != nil {
		return err
	}
	again, err := importer.Run(ctx, d.region.Log(), m, bytes.NewReader(flights.Data()), importer.Options{})
	if err != nil {
		return err
	}
	if result.AddedEvents != 2*flights.Count || again.AddedEvents != 0 {
		return failed("the import added %d events and its repetition %d, expected %d and 0", result.AddedEvents, again.AddedEvents, 2*flights.Count)
	}
	d.summary.Events, d.summary.Position = result.AddedEvents, result.Position
	d.summary.EventsPerSec = float64(result.AddedEvents) / step.elapsed().Seconds()
	step.done("%s events/s, importing the file a second time added nothing; the log is at %s",
		display.Number(int(d.summary.EventsPerSec)), result.Position)
	return nil
}

func (d *demo) busiest(ctx context.Context) error {
	step := d.say.step("Projected into Redis, queried")
	list, err := all[flights.Airport](ctx, d, "airports")
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

// ownWrite publishes one event and reads the document at the event's position.
func (d *demo) ownWrite(ctx context.Context) error {
	step := d.say.step("Reading one's own write")
	e := events.Event{
		ID: "demo", Source: "urn:tidemark:demo", Type: flights.Departed,
		Entity: events.Entity{Type: flights.AirportType, ID: demoAirport}, Data: []byte(`{"origin":"TMK","destination":"ORD"}`),
	}
	receipt, err := d.region.Log().Append(ctx, events.One(e, events.ExpectNone()))
	if err != nil {
		return err
	}
	d.summary.Position = receipt.Position
	d.summary.Events++
	a, err := d.reader.Get(ctx, "airports", demoAirport, d.at())
	if err != nil {
		return err
	}
	if departures, _ := a.Document.Field("departures"); departures != "1" {
		return failed("airports %s has %s departures after one was published", demoAirport, departures)
	}
	step.done("published at %s, read at %s", receipt.Position, a.Position)
	return nil
}

// lose empties Redis and watches the read model come back.
func (d *demo) lose(ctx context.Context) error {
	step := d.say.step("Emptying Redis")
	if err := d.region.Wipe(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		a, err := d.reader.Get(ctx, "airports", "ORD", query.Options{})
		switch {
		case errors.Is(err, projections.ErrNoDocument):
			return failed("an empty read model answered that there is no airport ORD")
		case errors.Is(err, projections.ErrUnavailable):
			d.summary.Unavailable++
		case err != nil:
			return err
		case a.Position.Equal(d.summary.Position):
			if _, err := all[flights.Route](ctx, d, "routes"); err != nil {
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
	step := d.say.step("Replaying from the start")
	d.summary.DigestsEqual = true
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	kv := d.region.KV()
	for _, name := range []string{"airports", "routes"} {
		if _, err := projections.RequestReplay(ctx, kv, name, "demo", time.Now()); err != nil {
			return err
		}
	}
	for _, name := range []string{"airports", "routes"} {
		for {
			job, _, err := projections.ReadJSON[projections.Replay](ctx, kv, projections.ReplayKey(name))
			if err != nil {
				return err
			}
			if job.State == projections.ReplayFailed {
				return failed("the replay of %s failed: %s", name, job.Message)
			}
			if job.State == projections.ReplayDone {
				d.summary.DigestsEqual = d.summary.DigestsEqual && job.Compared && job.Equal
				break
			}
			if err := rest(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
	}
	if !d.summary.DigestsEqual {
		return failed("a replay does not equal the live read model at the same position")
	}
	d.summary.Replayed = step.elapsed().Seconds()
	step.done("a new generation beside the live one, switched in one step; at the same position both had the same digest")
	return nil
}

// compare holds every document against an independent fold of the file.
func (d *demo) compare(ctx context.Context) error {
	step := d.say.step("Comparing every document")
	want, err := fold()
	if err != nil {
		return err
	}
	airports, err := all[flights.Airport](ctx, d, "airports")
	if err != nil {
		return err
	}
	routes, err := all[flights.Route](ctx, d, "routes")
	if err != nil {
		return err
	}
	if err := errors.Join(same("airports", airports, want.airports), same("routes", routes, want.routes)); err != nil {
		return err
	}
	d.summary.Airports, d.summary.Routes, d.summary.DocumentsSame = len(airports), len(routes), true
	step.done("%d airports and %s routes, every field equal", len(airports), display.Number(len(routes)))
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
