package main

import (
	_ "embed" // accounts.yaml
	"fmt"
	"math/rand/v2"
	"strconv"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/declared"
)

// account is the document: five fields.
type account struct {
	Count   int64  `json:"count"`
	Amount  int64  `json:"amount"`
	Largest int64  `json:"largest"`
	Last    int64  `json:"last"`
	City    string `json:"city"`
}

// booking is the payload, about 300 bytes with its envelope. It decodes the three fields that the fold needs.
type booking struct {
	Amount int64
	At     int64
	City   string
}

// event returns the i-th event of the stream.
func event(random *rand.Rand, entities, i int) events.Event {
	id := random.IntN(entities)
	amount := random.IntN(10_000)
	return events.Event{
		ID: strconv.Itoa(i), Source: "urn:bench", Type: "Booked", Entity: events.Entity{Type: "account", ID: strconv.Itoa(id)},
		Data: fmt.Appendf(nil, `{"at":%d,"amount":%d,"city":"city-%d","note":"%064d","tags":["a","b","c"],"branch":"north","currency":"EUR"}`, i, amount, id%97, i),
	}
}

// DecodeData reads the fields that are needed, in the order in which event writes them: what a user with a hot stream would write.
func (b *booking) DecodeData(data []byte) error {
	var ok bool
	if b.At, data, ok = number(data, `{"at":`); !ok {
		return fmt.Errorf("no field at")
	}
	if b.Amount, data, ok = number(data, `,"amount":`); !ok {
		return fmt.Errorf("no field amount")
	}
	const city = `,"city":"`
	if len(data) < len(city) || string(data[:len(city)]) != city {
		return fmt.Errorf("no field city")
	}
	data = data[len(city):]
	for i := range data {
		if data[i] == '"' {
			b.City = string(data[:i])
			return nil
		}
	}
	return fmt.Errorf("the field city does not end")
}

func number(data []byte, name string) (n int64, rest []byte, ok bool) {
	if len(data) < len(name) || string(data[:len(name)]) != name {
		return 0, nil, false
	}
	i := len(name)
	for ; i < len(data) && data[i] >= '0' && data[i] <= '9'; i++ {
		n = n*10 + int64(data[i]-'0')
	}
	return n, data[i:], i > len(name)
}

func fold(a account, b *booking) account {
	a.Count++
	a.Amount += b.Amount
	a.Largest = max(a.Largest, b.Amount)
	a.Last = b.At
	a.City = b.City
	return a
}

// indexes are one whose value stays and one whose value changes with every event.
func indexes() []projections.Index {
	return []projections.Index{{Name: "by_city", Fields: []string{"city"}}, {Name: "by_amount", Fields: []string{"amount"}}}
}

func inGo() (projections.Projection, error) { return goWith() }

func indexed() (projections.Projection, error) { return goWith(indexes()...) }

func goWith(indexes ...projections.Index) (projections.Projection, error) {
	plain, err := projections.New("accounts", 1, projections.On("account", "Booked",
		func(a account, e projections.Event[booking]) (account, error) { return fold(a, e.Data), nil }))
	if err != nil {
		return nil, err
	}
	return plain.Indexed(indexes...)
}

//go:embed accounts.yaml
var accounts []byte

func inYAML() (projections.Projection, error) {
	p, _, err := declared.Parse("accounts.yaml", accounts)
	return p, err
}
