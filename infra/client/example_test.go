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
