package declared_test

import (
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/declared"
)

// Where a key can be told without the data, it is that of the one operation that routing gives; where there is a condition or a computed key, it cannot be told.
func TestAKeyIsToldWithoutTheDataOnlyWhereNothingElseDecides(t *testing.T) {
	const file = `
projection: keys
version: 1
fields:
  count: int
on:
  - event: [Plain, Mixed]
    entity: airport
    do:
      - count: count
  - event: Conditional
    when: data.origin == "DTW"
    do:
      - count: count
  - event: [Computed, Mixed]
    key: "{data.origin}"
    do:
      - count: count
`
	p, _, err := declared.Parse("keys.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		event, entity string
		key           string
		told          bool
	}{
		{"Plain", "airport", "ORD", true},
		{"Plain", "airline", "", true},
		{"Unknown", "airport", "", true},
		{"Conditional", "airport", "", false},
		{"Computed", "airport", "", false},
		{"Mixed", "airport", "", false},
	} {
		r := &events.Record{Sequence: 1, Kind: events.KindEvent, Event: events.Event{
			ID: "1", Source: "urn:test", Type: c.event, Entity: events.Entity{Type: c.entity, ID: "ORD"}, Data: []byte(`{"origin":"DTW"}`),
		}}
		key, told := p.KeyOf(r)
		if key != c.key || told != c.told {
			t.Errorf("%s of an %s: the key %q, told %t", c.event, c.entity, key, told)
		}
		var ops projections.Ops
		p.Route(r, 0, &ops)
		for _, op := range ops.List() {
			if told && op.Key != key {
				t.Errorf("%s of an %s: it is routed to %q and the key is said to be %q", c.event, c.entity, op.Key, key)
			}
		}
		if told && (key == "") != (len(ops.List()) == 0) {
			t.Errorf("%s of an %s: %d operations for the key %q", c.event, c.entity, len(ops.List()), key)
		}
	}
}
