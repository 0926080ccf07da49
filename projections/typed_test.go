package projections_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
)

type order struct {
	Total int64  `json:"total"`
	Buyer string `json:"buyer"`
	Paid  bool   `json:"paid"`
}

type placed struct {
	Buyer string `json:"buyer"`
	Total int64  `json:"total"`
	Shop  string `json:"shop"`
}

type empty struct{}

var errRefused = errors.New("refused")

func orders(t *testing.T) *projections.Typed[order] {
	t.Helper()
	p, err := projections.New("orders", 1,
		projections.On("order", "OrderPlaced", func(o order, e projections.Event[placed]) (order, error) {
			o.Buyer, o.Total = e.Data.Buyer, o.Total+e.Data.Total
			return o, nil
		}),
		projections.On("order", "OrderPaid", func(o order, _ projections.Event[empty]) (order, error) {
			o.Total++ // must not stay when the fold fails
			if o.Paid {
				return o, errRefused
			}
			o.Paid = true
			return o, nil
		}),
		projections.On("order", "OrderErased", func(o order, _ projections.Event[empty]) (order, error) {
			return o, projections.Delete
		}),
		projections.OnKey("", "OrderPlaced", func(e projections.Event[placed]) string { return e.Data.Shop },
			func(o order, e projections.Event[placed]) (order, error) { o.Total += e.Data.Total; return o, nil }),
	)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func record(entity, typ, data string) *events.Record {
	typeName, id, _ := strings.Cut(entity, "/")
	return &events.Record{Kind: events.KindEvent, Sequence: 7, Time: time.Unix(1, 0), Event: events.Event{
		ID: "1", Source: "s", Type: typ, Entity: events.Entity{Type: typeName, ID: id}, Data: []byte(data),
	}}
}

func TestAnEventIsRoutedToEveryDocumentItChanges(t *testing.T) {
	p := orders(t)
	var ops projections.Ops
	p.Route(record("order/42", "OrderPlaced", `{"buyer":"ann","total":5,"shop":"north"}`), 3, &ops)
	if got := ops.List(); len(got) != 2 || got[0].Key != "42" || got[1].Key != "north" || got[0].At != 3 || got[0].Err != nil {
		t.Fatalf("operations: %+v", got)
	}
	ops.Reset()
	p.Route(record("order/42", "OrderShipped", `{}`), 0, &ops)
	p.Route(record("basket/42", "OrderPaid", `{}`), 0, &ops)
	if got := ops.List(); len(got) != 0 {
		t.Fatalf("events that mean nothing made operations: %+v", got)
	}
}

func TestAPayloadThatCannotBeReadKeepsTheEntitysKeyAndLosesAComputedOne(t *testing.T) {
	p := orders(t)
	var ops projections.Ops
	p.Route(record("order/42", "OrderPlaced", `{"buyer":7}`), 0, &ops)
	got := ops.List()
	if len(got) != 2 || got[0].Key != "42" || got[0].Err == nil || got[1].Key != "" || got[1].Err == nil {
		t.Fatalf("operations: %+v", got)
	}
	ops.Reset()
	p.Route(record("order/42", "OrderPlaced", `{"buyer":"ann"}`), 0, &ops)
	if got := ops.List()[1]; got.Key != "" || !errors.Is(got.Err, projections.ErrInvalidKey) {
		t.Fatalf("an empty computed key was accepted: %+v", got)
	}
}

func TestAPayloadOfTheEventBeforeNeverShinesThrough(t *testing.T) {
	p := orders(t)
	var ops projections.Ops
	s := p.NewState()
	for _, data := range []string{`{"buyer":"ann","total":5}`, `{}`} {
		ops.Reset()
		r := record("order/42", "OrderPlaced", data)
		p.Route(r, 0, &ops)
		if err := p.Fold(s, r, &ops.List()[0]); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(s.AppendFields(nil), "|"); got != "5||false" {
		t.Fatalf("state is %s", got)
	}
}

func TestAFailedFoldLeavesTheStateAsItWas(t *testing.T) {
	p := orders(t)
	var ops projections.Ops
	s := p.NewState()
	r := record("order/42", "OrderPaid", `{}`)
	p.Route(r, 0, &ops)
	op := &ops.List()[0]
	if err := p.Fold(s, r, op); err != nil {
		t.Fatal(err)
	}
	if err := p.Fold(s, r, op); !errors.Is(err, errRefused) {
		t.Fatalf("got %v", err)
	}
	if got := strings.Join(s.AppendFields(nil), "|"); got != "1||true" {
		t.Fatalf("state is %s", got)
	}
}

func TestAStateIsReadBackAsItWasWritten(t *testing.T) {
	p := orders(t)
	s := p.NewState()
	want := []string{"-9223372036854775808", "ann \x00 {}", "true"}
	if err := s.SetFields(want); err != nil {
		t.Fatal(err)
	}
	if got := s.AppendFields(nil); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Fatalf("got %q", got)
	}
	for _, bad := range [][]string{{"1", "x"}, {"1.5", "x", "true"}, {"9223372036854775808", "x", "true"}, {"1", "x", "maybe"}} {
		if err := s.SetFields(bad); err == nil {
			t.Fatalf("%q was accepted", bad)
		}
	}
	got, err := projections.Decode[order](p.Definition().Fields, want)
	if err != nil || got != (order{Total: -9223372036854775808, Buyer: "ann \x00 {}", Paid: true}) {
		t.Fatalf("decoded %+v, %v", got, err)
	}
	if _, err := projections.Decode[flights.Route](p.Definition().Fields, want); err == nil {
		t.Fatal("decoded into a document of another projection")
	}
}

func TestDocumentsAndDefinitionsThatBreakARuleAreRefused(t *testing.T) {
	try := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, projections.ErrInvalidProjection) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	type float struct{ Sum float64 }
	type hidden struct{ total int64 } //nolint:unused // the point
	type twice struct {
		A int64 `json:"x"`
		X int64
	}
	type odd struct {
		A int64 `json:"_at"`
	}
	_, err := projections.New("p", 1, projections.On("a", "B", func(d float, _ projections.Event[empty]) (float, error) { return d, nil }))
	try("a float", err)
	_, err = projections.New("p", 1, projections.On("a", "B", func(d hidden, _ projections.Event[empty]) (hidden, error) { return d, nil }))
	try("an unexported field", err)
	_, err = projections.New("p", 1, projections.On("a", "B", func(d twice, _ projections.Event[empty]) (twice, error) { return d, nil }))
	try("two fields of one name", err)
	_, err = projections.New("p", 1, projections.On("a", "B", func(d odd, _ projections.Event[empty]) (odd, error) { return d, nil }))
	try("a field that looks like one of ours", err)
	ok := projections.On("a", "B", func(d order, _ projections.Event[empty]) (order, error) { return d, nil })
	for _, name := range []string{"", "Orders", "or ders", "or.ders", "{x}", "1st", strings.Repeat("x", 49)} {
		_, err = projections.New(name, 1, ok)
		try("the name "+name, err)
	}
	_, err = projections.New("p", 0, ok)
	try("version 0", err)
	_, err = projections.New[order]("p", 1)
	try("no handler", err)
}

func TestTheFingerprintChangesWithTheDefinition(t *testing.T) {
	on := func(entity, event string) projections.Handler[order] {
		return projections.On(entity, event, func(d order, _ projections.Event[empty]) (order, error) { return d, nil })
	}
	seen := map[string]string{}
	for what, h := range map[string][]projections.Handler[order]{"a": {on("a", "B")}, "b": {on("b", "B")}, "c": {on("a", "C")}, "two": {on("a", "B"), on("a", "C")}} {
		for _, version := range []int{1, 2} {
			p, err := projections.New("p", version, h...)
			if err != nil {
				t.Fatal(err)
			}
			f := p.Definition().Fingerprint()
			if other, twice := seen[f]; twice {
				t.Errorf("%s and %s have the same fingerprint", what, other)
			}
			seen[f] = what
		}
	}
	airports, err := flights.Airports()
	if err != nil {
		t.Fatal(err)
	}
	const frozen = "c7dfe4ac5e76648d"
	if got := airports.Definition().Fingerprint(); got != frozen {
		t.Errorf("the fingerprint of airports version 1 is %s, frozen as %s: raise the version", got, frozen)
	}
}

func TestAProjectionInGoHasIndexes(t *testing.T) {
	plain, err := projections.New("counts", 1, projections.On("", "counted", func(d struct{ N int }, _ projections.Event[struct{}]) (struct{ N int }, error) { return d, nil }))
	if err != nil {
		t.Fatal(err)
	}
	byN := projections.Index{Name: "by_n", Fields: []string{"n"}}
	p, err := plain.Indexed(byN)
	if err != nil || !slices.EqualFunc(p.Definition().Indexes, []projections.Index{byN}, func(a, b projections.Index) bool { return a.Name == b.Name }) {
		t.Fatalf("the indexes are %v, %v", p.Definition().Indexes, err)
	}
	if plain.Definition().Indexes != nil || p.Definition().Fingerprint() == plain.Definition().Fingerprint() {
		t.Error("the projection without indexes was changed")
	}
	if _, err := p.Indexed(projections.Index{Name: "by_m", Fields: []string{"m"}}); !errors.Is(err, projections.ErrInvalidProjection) {
		t.Errorf("an index of no field returned %v", err)
	}
}
