package main

import (
	"fmt"
	"strconv"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	origin = "proof"
	// name is the projection's.
	name = "accounts"
)

// account is the document.
type account struct {
	Count   int64  `json:"count"`
	Amount  int64  `json:"amount"`
	Largest int64  `json:"largest"`
	Last    int64  `json:"last"`
	City    string `json:"city"`
}

// booking is the payload of an event.
type booking struct {
	At     int64  `json:"at"`
	Amount int64  `json:"amount"`
	City   string `json:"city"`
	IBAN   string `json:"iban"`
}

func fold(a account, b *booking) account {
	a.Count++
	a.Amount += b.Amount
	a.Largest = max(a.Largest, b.Amount)
	a.Last = b.At
	a.City = b.City
	return a
}

// booked is the i-th event of the log, about an entity.
func booked(i, entity int) (events.Event, booking) {
	b := booking{At: int64(i), Amount: int64(i*7919%10_000 - 2_000), City: "city-" + strconv.Itoa((i*31+entity)%97), IBAN: iban(entity)}
	return events.Event{
		ID: strconv.Itoa(i), Source: "urn:proof", Type: "Booked", Entity: events.Entity{Type: "account", ID: strconv.Itoa(entity)},
		Data: fmt.Appendf(nil, `{"at":%d,"amount":%d,"city":%q,"iban":%q,"note":"%064d","tags":["a","b","c"]}`, b.At, b.Amount, b.City, b.IBAN, i),
	}, b
}

func iban(entity int) string { return fmt.Sprintf("DE%09d", entity) }

// key returns the key of an entity's document.
func (c *config) key(entity int) string {
	if c.rekey {
		return iban(entity)
	}
	return strconv.Itoa(entity)
}

// projection has an index whose values change with every event and one whose values hardly do.
func (c *config) projection() (projections.Projection, error) {
	do := func(a account, e projections.Event[booking]) (account, error) { return fold(a, e.Data), nil }
	handler := projections.On("account", "Booked", do)
	if c.rekey {
		handler = projections.OnKey("account", "Booked", func(e projections.Event[booking]) string { return e.Data.IBAN }, do)
	}
	p, err := projections.New(name, 1, handler)
	if err != nil {
		return nil, err
	}
	return p.Indexed(projections.Index{Name: "by_city", Fields: []string{"city"}}, projections.Index{Name: "by_amount", Fields: []string{"amount"}})
}

// values are what is stored of a document, in the order of the definition's fields.
func (a *account) values() []string {
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	return []string{n(a.Count), n(a.Amount), n(a.Largest), n(a.Last), a.City}
}

// byCity and byAmount are the values in the indexes, as the store's documentation has them.
func (a *account) byCity() string { return a.City + "\x00\x01" }

func (a *account) byAmount() string {
	if a.Amount >= 0 {
		return fmt.Sprintf("p%019d", a.Amount)
	}
	digits := []byte(fmt.Sprintf("n%019d", -a.Amount))
	for i := 1; i < len(digits); i++ {
		digits[i] = '9' - (digits[i] - '0')
	}
	return string(digits)
}
