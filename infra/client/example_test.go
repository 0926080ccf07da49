package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/query"
)

// Publish an event, and read the document that it changed.
func Example() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Options{Source: "urn:airline:operations"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	data, _ := json.Marshal(flights.Flight{Origin: "DTW", Destination: "ORD", Delay: -3, Distance: 235})
	landed := events.Event{Type: flights.Landed, Entity: events.Entity{Type: "airport", ID: "ORD"}, Data: data}
	receipt, err := c.Publish(ctx, landed, events.ExpectAny())
	if err != nil {
		fmt.Println(err)
		return
	}

	airport, _, err := client.Get[flights.Airport](ctx, c, "airports", "ORD", query.Options{AtLeast: receipt.Position})
	fmt.Println(airport.Arrivals, airport.DelayTotal, err)
	// Output: 1 -3 <nil>
}

// Decide from what an entity is now, and append only if it has not moved meanwhile: the loop of an event-sourced service.
func Example_mutate() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	booked := func(seats int, r events.Record) (int, error) { return seats + 1, nil }
	book := func(seats int) ([]events.Event, error) {
		if seats == 2 {
			return nil, fmt.Errorf("the flight is full")
		}
		return []events.Event{{Type: "SeatBooked", Source: "urn:airline:booking"}}, nil
	}
	for range 3 {
		_, err := events.Mutate(ctx, c.Log(), events.Entity{Type: "flight", ID: "TM 1"}, booked, book)
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// <nil>
	// the flight is full
}

// Read in one's own region, and in others while that does not answer.
func ExampleDial() {
	ctx := context.Background()
	regions, err := client.Running("", "") // or client.InTopology, or the addresses themselves
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.Dial(ctx, client.Config{Regions: regions, Source: "urn:airline:operations", Session: client.SessionStrict})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	departed := events.Event{Type: flights.Departed, Entity: events.Entity{Type: "airport", ID: "SFO"}, Data: []byte(`{}`)}
	if _, err := c.Publish(ctx, departed, events.ExpectAny()); err != nil {
		fmt.Println(err)
		return
	}
	// A strict session sees what it has written itself.
	airport, answer, err := client.Get[flights.Airport](ctx, c, "airports", "SFO", query.Options{})
	fmt.Println(airport.Departures, "from", answer.Region, err)
	// Output: 1 from us <nil>
}

// Go through all documents of a read model.
func ExampleAll() {
	ctx := context.Background()
	c, err := client.Open(ctx, client.Options{Source: "urn:airline:operations"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	var at events.Position
	for _, airport := range []string{"LAX", "LAS"} {
		receipt, err := c.Publish(ctx, events.Event{Type: flights.Departed, Entity: events.Entity{Type: "airport", ID: airport}, Data: []byte(`{}`)}, events.ExpectAny())
		if err != nil {
			fmt.Println(err)
			return
		}
		at = receipt.Position
	}
	for doc, err := range client.All[flights.Airport](ctx, c, "airports", query.ListOptions{Options: query.Options{AtLeast: at}}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if doc.Key == "LAX" || doc.Key == "LAS" {
			fmt.Println(doc.Key, doc.Document.Departures)
		}
	}
	// Output:
	// LAS 1
	// LAX 1
}

// Keep a copy of a read model, however long it takes.
func ExampleWatch() {
	ctx := context.Background()
	regions, err := client.Running("", "")
	if err != nil {
		log.Fatal(err)
	}
	c, err := client.Dial(ctx, client.Config{Regions: regions, Source: "urn:airline:operations"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Publish(ctx, events.Event{Type: flights.Departed, Entity: events.Entity{Type: "airport", ID: "BOS"}, Data: []byte(`{}`)}, events.ExpectAny()); err != nil {
		fmt.Println(err)
		return
	}

	held := map[string]flights.Airport{}
	for step, err := range client.Watch[flights.Airport](ctx, c, "airports", client.WatchOptions{Prefix: "BOS"}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if step.Reset { // at the beginning, and whenever it has to begin again
			clear(held)
		}
		for _, change := range step.Changes {
			if change.Deleted {
				delete(held, change.Key)
			} else {
				held[change.Key] = change.Document
			}
		}
		if step.Level && held["BOS"].Departures > 0 {
			fmt.Println("BOS", held["BOS"].Departures)
			return // a service would go on
		}
	}
	// Output: BOS 1
}
