package projections_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// secret is what no masked text may show.
const secret = `jane"s \"secret\" 4711`

func TestAReasonPutsValuesBetweenQuotesAndMaskHidesThem(t *testing.T) {
	for want, r := range map[string]error{
		`data.n is "…", which is no integer`:             projections.Because("%s is %s, which is no integer", "data.n", projections.Quoted(secret)),
		`rule 1: doc.a == 'x': data.n is "…"`:            projections.Because("%s: %s", `rule 1: doc.a == "x"`, projections.Because("data.n is %s", projections.Quoted(secret))),
		`an odd ' before "…" and ' after "…"`:            projections.Because("an odd %s before %s and %s after %s", `"`, projections.Quoted(secret), `"`, errors.New(secret)),
		`the data of Landed cannot be read: "…"`:         projections.Because("the data of %s cannot be read: %s", "Landed", fmt.Errorf("no date: %s", secret)),
		`the text has 70000 bytes, over the bound of 10`: projections.Because("the text has %d bytes, over the bound of %d", 70_000, 10),
		`"…"`: errors.New(secret),
	} {
		text := projections.ReasonOf(r)
		if got := projections.Mask(text); got != want || strings.Contains(got, "jane") || strings.Contains(got, "4711") {
			t.Errorf("%s is masked as %s, want %s", text, got, want)
		}
		if strings.Contains(want, "…") && !strings.Contains(text, "4711") {
			t.Errorf("%s does not have the value", text)
		}
		for cut := range len(text) { // as a bound does
			if got := projections.Mask(text[:cut]); strings.Contains(got, "jane") || strings.Contains(got, "4711") || strings.Contains(got, "secret") {
				t.Errorf("%s is masked as %s", text[:cut], got)
			}
		}
	}
	if r := projections.Because("%s", events.Errorf(projections.ErrInvalidKey, "x")); !errors.Is(r, projections.ErrInvalidKey) {
		t.Error("the cause is lost")
	}
}

func TestThePlaceBeforeAReasonIsNotMasked(t *testing.T) {
	if got := projections.Mask(`us.7f3a@1:5 panic: "x`); got != `us.7f3a@1:5 panic: "…"` {
		t.Error(got)
	}
}

type ticket struct {
	Name string `json:"name"`
	Age  int64  `json:"age"`
	Odd  odd    `json:"odd"`
}

type odd struct{}

func (*odd) UnmarshalJSON(data []byte) error { return fmt.Errorf("odd: %s", data) }

// What an event's data makes typed projections say must not have the data outside of quotes, whatever they are.
func TestReasonsOfTypedProjectionsHideTheData(t *testing.T) {
	var list []int64
	p, err := projections.New("tickets", 1,
		projections.On("t", "Sold", func(d struct{ N int64 }, e projections.Event[ticket]) (struct{ N int64 }, error) {
			switch {
			case e.Data.Age == 4711:
				return d, fmt.Errorf("%s is %d", e.Data.Name, e.Data.Age)
			case e.Data.Name == "panic":
				panic(secret)
			default:
				return d, errors.New(fmt.Sprint(list[e.Data.Age]))
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ data, want string }{
		{`{"name":4711}`, "the data of Sold cannot be read: name is a JSON number, and string is wanted"},
		{`{"age":"jane 4711"}`, "the data of Sold cannot be read: age is a JSON string, and int64 is wanted"},
		{`{"age":4711.5}`, "the data of Sold cannot be read: age is a JSON number, and int64 is wanted"},
		{`["jane 4711"]`, "the data of Sold cannot be read: it is a JSON array, and projections_test.ticket is wanted"},
		{`{"name":"jane 4711"`, "the data of Sold cannot be read: it is not JSON at byte 19"},
		{`{"name":"jane" 4711}`, "the data of Sold cannot be read: it is not JSON at byte 16"},
		{`{"odd":"jane 4711"}`, `the data of Sold cannot be read: "…"`},
		{`{"name":"jane","age":4711}`, `"…"`},
		{`{"name":"panic"}`, `panic: "…"`},
		{`{"name":"jane","age":47110}`, `panic: runtime error: index out of range ["…"] with length "…"`},
	} {
		r := &events.Record{Kind: events.KindEvent, Event: events.Event{Type: "Sold", Entity: events.Entity{Type: "t", ID: "a"}, Data: []byte(c.data)}}
		var ops projections.Ops
		p.Route(r, 0, &ops)
		err := ops.List()[0].Err
		if err == nil {
			err = p.Fold(p.NewState(), r, &ops.List()[0])
		}
		if err == nil {
			t.Errorf("%s was applied", c.data)
			continue
		}
		text := projections.ReasonOf(err)
		if got := projections.Mask(text); got != c.want {
			t.Errorf("%s: %s is masked as %s, want %s", c.data, text, got, c.want)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("a", "b", "c")
	f.Add(`"`, `\`, `\"`)
	f.Fuzz(func(t *testing.T, before, value, after string) {
		r := projections.Because("%s%s%s%s", before, projections.Quoted("≤"+value+"≥"), after, errors.New("≤"+value+"≥"))
		for _, text := range []string{r.Error(), r.Error()[:len(r.Error())-1]} {
			if got := projections.Mask(text); strings.Contains(got, "≤") && !strings.Contains(before+after, "≤") {
				t.Errorf("%q is masked as %q", text, got)
			}
		}
	})
}
