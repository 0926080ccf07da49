package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/httpapi"
)

func TestTheThreeModesStoreTheSameEvent(t *testing.T) {
	const attributes = `,"time":"2001-02-03T04:05:06.7Z","dataschema":"urn:schema","tenant":"a b","number":7,"flag":true,"nothing":null`
	f := newFixture(t, httpapi.Options{})
	for _, w := range []interface{ Result() *http.Response }{
		f.post(t, flight, departed("1", "ce-time", "2001-02-03T04:05:06.7Z", "ce-dataschema", "urn:schema", "ce-tenant", "a%20b", "ce-number", "7", "ce-flag", "true")...),
		f.post(t, structured("2", attributes+`,"data":`+flight), "Content-Type", "application/cloudevents+json; charset=utf-8"),
		f.post(t, "["+structured("3", attributes+`,"data_base64":"`+base64.StdEncoding.EncodeToString([]byte(flight))+`"`)+"]", "Content-Type", "application/cloudevents-batch+json"),
	} {
		if s := w.Result().StatusCode; s != http.StatusCreated {
			t.Fatalf("the status is %d", s)
		}
	}
	var first events.Event
	for seq := uint64(2); seq <= 4; seq++ {
		e := f.record(t, seq).Event
		if e.ID = ""; first.Type == "" {
			first = e
		}
		if e.ContentHash() != first.ContentHash() || string(e.Data) != flight {
			t.Errorf("sequence %d is %+v, want %+v", seq, e, first)
		}
	}
	if first.Extensions["tenant"] != "a b" || first.Extensions["number"] != "7" || first.Extensions["flag"] != "true" || len(first.Extensions) != 3 {
		t.Errorf("the extensions are %v", first.Extensions)
	}
}

func TestAReceiptTellsThePositionAndADuplicate(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	var got struct {
		Position    string
		First, Last uint64
		Duplicate   bool
	}
	for _, duplicate := range []bool{false, true} {
		w := f.post(t, flight, departed("1", "Tidemark-Expect", "none")...)
		decode(t, w.Body, &got)
		if got.Position != "us.abcd@1:2" || w.Header().Get("Tidemark-Position") != got.Position || got.First != 2 || got.Last != 2 || got.Duplicate != duplicate {
			t.Errorf("the receipt is %+v with %v", got, w.Header())
		}
	}
	if f.head(t) != 2 {
		t.Errorf("the head is %d, want 2", f.head(t))
	}
}

func TestABatchIsStoredWholeOrNotAtAll(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	event := func(i int, subject string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":"b%d","source":"urn:test","type":"FlightDeparted","subject":%q,"data":%s}`, i, subject, flight)
	}
	var list []string
	for i := range events.MaxBatch {
		list = append(list, event(i, fmt.Sprintf("airport/A%d", i%5)))
	}
	batch := func(events ...string) string { return "[" + strings.Join(events, ",") + "]" }
	const kind = "application/cloudevents-batch+json"
	status(t, f.post(t, batch(list...), "Content-Type", kind), http.StatusCreated)
	if f.head(t) != 1+events.MaxBatch {
		t.Fatalf("the head is %d", f.head(t))
	}
	if tx := f.record(t, 3).Stamp.Tx; tx.Index != 2 || tx.Count != events.MaxBatch {
		t.Errorf("sequence 3 is %d of %d", tx.Index, tx.Count)
	}
	before := f.head(t)
	problem(t, f.post(t, batch(append(list, event(1000, "airport/B"))...), "Content-Type", kind), http.StatusRequestEntityTooLarge, events.ErrTooLarge)
	problem(t, f.post(t, batch(event(2000, "airport/B"), event(2001, "airport")), "Content-Type", kind), http.StatusBadRequest, events.ErrInvalidEntity)
	problem(t, f.post(t, batch(event(2000, "airport/B"), event(2000, "airport/B")), "Content-Type", kind), http.StatusBadRequest, events.ErrInvalidBatch)
	problem(t, f.post(t, "[]", "Content-Type", kind), http.StatusBadRequest, events.ErrInvalidBatch)
	p := problem(t, f.post(t, batch(event(2000, "airport/B"), event(2001, "airport/A1")), "Content-Type", kind, "Tidemark-Expect", "airport/B=none,airport/A1=7"),
		http.StatusConflict, events.ErrConflict)
	if p.Entity != "airport/A1" || p.Expected == nil || *p.Expected != 7 || p.Actual == nil || *p.Actual == 7 {
		t.Errorf("the conflict is %+v", p)
	}
	if f.head(t) != before {
		t.Errorf("the head went from %d to %d", before, f.head(t))
	}
	exact := fmt.Sprintf("airport/B=none, airport/A1=%d", *p.Actual)
	status(t, f.post(t, batch(event(2000, "airport/B"), event(2001, "airport/A1")), "Content-Type", kind, "Tidemark-Expect", exact), http.StatusCreated)
	strange := `airport/a,b=c%25é`
	status(t, f.post(t, batch(event(2002, strings.ReplaceAll(strange, "%25", "%"))), "Content-Type", kind, "Tidemark-Expect", "airport/a%2Cb%3Dc%25%C3%A9=none"), http.StatusCreated)
}

func TestTheTraceOfTheRequestTravelsWithTheEvent(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	status(t, f.post(t, flight, departed("1", "traceparent", parent, "tracestate", "a=b")...), http.StatusCreated)
	status(t, f.post(t, flight, departed("2", "traceparent", "what is this")...), http.StatusCreated)
	status(t, f.post(t, flight, departed("3", "traceparent", parent, "ce-traceparent", strings.Replace(parent, "01", "00", 1))...), http.StatusCreated)
	if x := f.record(t, 2).Event.Extensions; x["traceparent"] != parent || x["tracestate"] != "a=b" {
		t.Errorf("the extensions are %v", x)
	}
	if x := f.record(t, 3).Event.Extensions; len(x) != 0 {
		t.Errorf("the extensions are %v", x)
	}
	if x := f.record(t, 4).Event.Extensions; x["traceparent"] == parent || x["traceparent"] == "" {
		t.Errorf("the extensions are %v", x)
	}
}

func TestTextThatIsNotJSONIsStoredAsItIs(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	headers := departed("1")
	headers[1] = "text/plain"
	status(t, f.post(t, "delayed & late", headers...), http.StatusCreated)
	status(t, f.post(t, structured("2", `,"datacontenttype":"text/plain","data":"delayed \u0026 late"`), "Content-Type", "application/cloudevents+json"), http.StatusCreated)
	for _, seq := range []uint64{2, 3} {
		if e := f.record(t, seq).Event; string(e.Data) != "delayed & late" || e.ContentType != "text/plain" {
			t.Errorf("sequence %d is %+v", seq, e)
		}
	}
}

// mistake is a request that must be refused without a trace.
type mistake struct {
	name    string
	body    string
	headers []string
	status  int
	code    events.Code
}

func mistakes() []mistake {
	const single, several = "application/cloudevents+json", "application/cloudevents-batch+json"
	with := func(name, value string) []string { return departed("m", name, value) }
	without := func(name string) []string {
		h := departed("m")
		i := slices.Index(h, name)
		return slices.Delete(h, i, i+2)
	}
	replaced := func(name, value string) []string {
		h := departed("m")
		h[slices.Index(h, name)+1] = value
		return h
	}
	const bad, large, media = http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType
	return []mistake{
		{"no specversion", flight, without("ce-specversion"), bad, events.ErrInvalidEvent},
		{"another specversion", flight, replaced("ce-specversion", "0.3"), bad, events.ErrInvalidEvent},
		{"no id", flight, without("ce-id"), bad, events.ErrInvalidEvent},
		{"no source", flight, without("ce-source"), bad, events.ErrInvalidEvent},
		{"no type", flight, without("ce-type"), bad, events.ErrInvalidEvent},
		{"no subject", flight, without("ce-subject"), bad, events.ErrInvalidEvent},
		{"a subject without a type", flight, replaced("ce-subject", "ORD"), bad, events.ErrInvalidEntity},
		{"a subject without an id", flight, replaced("ce-subject", "airport/"), bad, events.ErrInvalidEntity},
		{"a subject with a dotted type", flight, replaced("ce-subject", "air.port/x"), bad, events.ErrInvalidEntity},
		{"a subject with a starred type", flight, replaced("ce-subject", "*/x"), bad, events.ErrInvalidEntity},
		{"a subject of 4 kB", flight, replaced("ce-subject", "airport/"+strings.Repeat("x", 4096)), bad, events.ErrInvalidEntity},
		{"a subject that is not UTF-8", flight, replaced("ce-subject", "airport/%FF"), bad, events.ErrInvalidEvent},
		{"a broken escape", flight, replaced("ce-subject", "airport/%F"), bad, events.ErrInvalidEvent},
		{"an id with a line break", flight, replaced("ce-id", "a%0D%0Ab"), bad, events.ErrInvalidEvent},
		{"an id with NUL", flight, replaced("ce-id", "a%00"), bad, events.ErrInvalidEvent},
		{"a blank id", flight, replaced("ce-id", "%20"), bad, events.ErrInvalidEvent},
		{"an id that is too long", flight, replaced("ce-id", strings.Repeat("x", 300)), large, events.ErrTooLarge},
		{"a type with a blank", flight, replaced("ce-type", "Flight departed"), bad, events.ErrInvalidEvent},
		{"a header twice", flight, with("ce-id", "n"), bad, events.ErrInvalidEvent},
		{"a time that is none", flight, with("ce-time", "yesterday"), bad, events.ErrInvalidEvent},
		{"a time ten years ahead", flight, with("ce-time", "2099-01-01T00:00:00Z"), bad, events.ErrClockAhead},
		{"a header of the broker", flight, with("Nats-Msg-Id", "x"), bad, events.ErrInvalidEvent},
		{"an expectation for the broker", flight, with("Nats-Expected-Last-Sequence", "1"), bad, events.ErrInvalidEvent},
		{"the log's own header", flight, with("tm", "1;0"), bad, events.ErrInvalidEvent},
		{"an attribute of the log", flight, with("ce-tm", "x"), bad, events.ErrInvalidEvent},
		{"a reserved attribute", flight, with("ce-data", "x"), bad, events.ErrInvalidEvent},
		{"an attribute with a dash", flight, with("ce-my-own", "x"), bad, events.ErrInvalidEvent},
		{"two content types", flight, with("ce-datacontenttype", "text/plain"), bad, events.ErrInvalidEvent},
		{"empty JSON", "", departed("empty"), http.StatusCreated, ""},
		{"no JSON", "{", departed("m"), bad, events.ErrInvalidData},
		{"a key twice", `{"a":1,"a":2}`, departed("m"), bad, events.ErrInvalidData},
		{"a number beyond floats", `{"a":1e400}`, departed("m"), bad, events.ErrInvalidData},
		{"deep nesting", strings.Repeat("[", 100) + strings.Repeat("]", 100), departed("m"), bad, events.ErrInvalidData},
		{"not UTF-8", "{\"a\":\"\xff\"}", departed("m"), bad, events.ErrInvalidData},
		{"more than a mebibyte", `"` + strings.Repeat("x", 1<<20) + `"`, departed("m"), large, events.ErrTooLarge},
		{"no CloudEvent", flight, []string{"Content-Type", "application/json"}, media, failure.ErrMediaType},
		{"nothing at all", "", nil, media, failure.ErrMediaType},
		{"another format", "<a/>", []string{"Content-Type", "application/cloudevents+xml"}, media, failure.ErrMediaType},
		{"another format with attributes", "<a/>", replaced("Content-Type", "application/cloudevents+xml"), media, failure.ErrMediaType},
		{"a content type that is none", flight, replaced("Content-Type", "/;;"), media, failure.ErrMediaType},
		{"another charset", structured("m", ""), []string{"Content-Type", single + "; charset=utf-16"}, media, failure.ErrMediaType},
		{"a compressed body", flight, with("Content-Encoding", "gzip"), media, failure.ErrMediaType},
		{"attributes in two places", structured("m", ""), replaced("Content-Type", single), bad, events.ErrInvalidEvent},
		{"a key of the event twice", structured("m", `,"id":"n"`), []string{"Content-Type", single}, bad, events.ErrInvalidData},
		{"an event that is a list", "[]", []string{"Content-Type", single}, bad, events.ErrInvalidEvent},
		{"an event that is null", "null", []string{"Content-Type", single}, bad, events.ErrInvalidEvent},
		{"data twice", structured("m", `,"data":1,"data_base64":"MQ=="`), []string{"Content-Type", single}, bad, events.ErrInvalidEvent},
		{"broken base64", structured("m", `,"data_base64":"*"`), []string{"Content-Type", single}, bad, events.ErrInvalidData},
		{"data that is no text", structured("m", `,"datacontenttype":"text/plain","data":{}`), []string{"Content-Type", single}, bad, events.ErrInvalidData},
		{"a fraction as an attribute", structured("m", `,"x":1.5`), []string{"Content-Type", single}, bad, events.ErrInvalidEvent},
		{"an object as an attribute", structured("m", `,"x":{}`), []string{"Content-Type", single}, bad, events.ErrInvalidEvent},
		{"a number as the id", strings.Replace(structured("m", ""), `"id":"m"`, `"id":7`, 1), []string{"Content-Type", single}, bad, events.ErrInvalidEvent},
		{"a capital in an attribute", structured("m", `,"Tenant":"a"`), []string{"Content-Type", single}, bad, events.ErrInvalidEvent},
		{"a batch that is an object", structured("m", ""), []string{"Content-Type", several}, bad, events.ErrInvalidBatch},
		{"a batch of numbers", "[1]", []string{"Content-Type", several}, bad, events.ErrInvalidEvent},
		{"an expectation that is none", flight, with("Tidemark-Expect", "soon"), bad, events.ErrInvalidBatch},
		{"a negative expectation", flight, with("Tidemark-Expect", "-1"), bad, events.ErrInvalidBatch},
		{"an expectation with zeros", flight, with("Tidemark-Expect", "007"), bad, events.ErrInvalidBatch},
		{"an empty expectation", flight, with("Tidemark-Expect", ""), bad, events.ErrInvalidBatch},
		{"an expectation of another entity", flight, with("Tidemark-Expect", "airport/JFK=none"), bad, events.ErrInvalidBatch},
		{"an expectation twice", flight, with("Tidemark-Expect", "airport/ORD=none,airport/ORD=1"), bad, events.ErrInvalidBatch},
		{"an expectation that does not hold", flight, with("Tidemark-Expect", "7"), http.StatusConflict, events.ErrConflict},
	}
}

func TestAMistakeIsRefusedWithItsCodeAndChangesNothing(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	status(t, f.post(t, flight, departed("before")...), http.StatusCreated)
	for _, m := range mistakes() {
		t.Run(m.name, func(t *testing.T) {
			before := f.head(t)
			w := f.post(t, m.body, m.headers...)
			if m.status == http.StatusCreated {
				status(t, w, m.status)
				return
			}
			p := problem(t, w, m.status, m.code)
			if strings.Contains(p.Detail, "no-such") || f.head(t) != before {
				t.Errorf("the head went from %d to %d after %+v", before, f.head(t), p)
			}
		})
	}
}

func TestTheSameIDWithOtherContentIsAConflict(t *testing.T) {
	f := newFixture(t, httpapi.Options{})
	status(t, f.post(t, flight, departed("1")...), http.StatusCreated)
	problem(t, f.post(t, `{"delay":1}`, departed("1")...), http.StatusConflict, events.ErrIDConflict)
	if f.head(t) != 2 {
		t.Errorf("the head is %d", f.head(t))
	}
}
