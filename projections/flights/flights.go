// Package flights is the example that ships with Tidemark: real flights as events, and two read models of them.
//
// A flight is two events: FlightDeparted about the airport it left, FlightLanded about the airport it reached. Airports is keyed by the
// entity, Routes by a key computed from the event.
package flights

import (
	"tidemark.dev/projections"
)

// Names of the example's entity and events.
const (
	AirportType = "airport"
	Departed    = "FlightDeparted"
	Landed      = "FlightLanded"
)

// Flight is the data of both events.
type Flight struct {
	Date        string `json:"date"`     // local, 2001/01/01 00:47
	Delay       int64  `json:"delay"`    // of the landing, in minutes; negative is early
	Distance    int64  `json:"distance"` // in miles
	Origin      string `json:"origin"`   // IATA code
	Destination string `json:"destination"`
}

// Airport is a document of the projection airports. Its key is the IATA code.
type Airport struct {
	Departures int64  `json:"departures"`
	Arrivals   int64  `json:"arrivals"`
	DelayTotal int64  `json:"delay_total"` // of landings, in minutes
	DelayMax   int64  `json:"delay_max"`   // the largest of a landing, in minutes
	OnTime     int64  `json:"on_time"`     // landings with a delay of 0 or less
	LastLanded string `json:"last_landed"` // date of the latest landing
}

// Route is a document of the projection routes. Its key is ORIGIN-DESTINATION.
type Route struct {
	Flights    int64 `json:"flights"`
	Distance   int64 `json:"distance"`    // of all flights, in miles
	DelayTotal int64 `json:"delay_total"` // in minutes
}

// Airports counts what happens at each airport.
func Airports() (projections.Projection, error) {
	return projections.New("airports", 1,
		projections.On(AirportType, Departed, func(a Airport, _ projections.Event[Flight]) (Airport, error) {
			a.Departures++
			return a, nil
		}),
		projections.On(AirportType, Landed, func(a Airport, e projections.Event[Flight]) (Airport, error) {
			if a.Arrivals == 0 || e.Data.Delay > a.DelayMax {
				a.DelayMax = e.Data.Delay
			}
			a.Arrivals++
			a.DelayTotal += e.Data.Delay
			if e.Data.Delay <= 0 {
				a.OnTime++
			}
			a.LastLanded = max(a.LastLanded, e.Data.Date)
			return a, nil
		}),
	)
}

// Routes counts the flights of each pair of airports.
func Routes() (projections.Projection, error) {
	return projections.New("routes", 1,
		projections.OnKey(AirportType, Landed,
			func(e projections.Event[Flight]) string { return e.Data.Origin + "-" + e.Data.Destination },
			func(r Route, e projections.Event[Flight]) (Route, error) {
				r.Flights++
				r.Distance += e.Data.Distance
				r.DelayTotal += e.Data.Delay
				return r, nil
			}),
	)
}

// All returns every projection of the example.
func All() ([]projections.Projection, error) {
	airports, err := Airports()
	if err != nil {
		return nil, err
	}
	routes, err := Routes()
	if err != nil {
		return nil, err
	}
	return []projections.Projection{airports, routes}, nil
}
