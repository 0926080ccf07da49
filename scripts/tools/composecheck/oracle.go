package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
)

// flight is a line of the file, and the data of both of its events.
type flight struct {
	Date        string `json:"date"`
	Delay       int64  `json:"delay"`
	Distance    int64  `json:"distance"`
	Origin      string `json:"origin"`
	Destination string `json:"destination"`
}

// airport and route are the documents of the two read models.
type airport struct {
	Departures int64  `json:"departures"`
	Arrivals   int64  `json:"arrivals"`
	DelayTotal int64  `json:"delay_total"`
	DelayMax   int64  `json:"delay_max"`
	OnTime     int64  `json:"on_time"`
	LastLanded string `json:"last_landed"`
}

type route struct {
	Flights    int64 `json:"flights"`
	Distance   int64 `json:"distance"`
	DelayTotal int64 `json:"delay_total"`
}

// expected is what the read models of every region must hold.
type expected struct {
	airports map[string]airport
	routes   map[string]route
}

func (x expected) departed(f flight) {
	from := x.airports[f.Origin]
	from.Departures++
	x.airports[f.Origin] = from
}

func (x expected) landed(f flight) {
	to := x.airports[f.Destination]
	if to.Arrivals == 0 || f.Delay > to.DelayMax {
		to.DelayMax = f.Delay
	}
	to.Arrivals++
	to.DelayTotal += f.Delay
	if f.Delay <= 0 {
		to.OnTime++
	}
	to.LastLanded = max(to.LastLanded, f.Date)
	x.airports[f.Destination] = to
	r := x.routes[f.Origin+"-"+f.Destination]
	r.Flights, r.Distance, r.DelayTotal = r.Flights+1, r.Distance+f.Distance, r.DelayTotal+f.Delay
	x.routes[f.Origin+"-"+f.Destination] = r
}

// with returns what is expected once these flights have landed too.
func (x expected) with(landed []flight) expected {
	out := expected{maps.Clone(x.airports), maps.Clone(x.routes)}
	for _, f := range landed {
		out.landed(f)
	}
	return out
}

// foldFile computes what is expected after the import of a file, and counts its lines.
func foldFile(path string) (expected, int, error) {
	file, err := os.Open(path)
	if err != nil {
		return expected{}, 0, err
	}
	defer file.Close() //nolint:errcheck // only read
	lines, err := gzip.NewReader(file)
	if err != nil {
		return expected{}, 0, fmt.Errorf("%s: %w", path, err)
	}
	x, n, err := fold(lines)
	if err != nil {
		return expected{}, 0, fmt.Errorf("%s: %w", path, err)
	}
	return x, n, nil
}

func fold(lines io.Reader) (expected, int, error) {
	x := expected{make(map[string]airport), make(map[string]route)}
	n := 0
	for s := bufio.NewScanner(lines); ; n++ {
		if !s.Scan() {
			return x, n, s.Err()
		}
		var f flight
		if err := json.Unmarshal(s.Bytes(), &f); err != nil {
			return x, n, fmt.Errorf("line %d: %w", n+1, err)
		}
		x.departed(f)
		x.landed(f)
	}
}
