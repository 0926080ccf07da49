package events

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// update rewrites the golden files. A change in them is a change of what is stored for ever: old logs must stay readable.
var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func hashOf(b []byte) Hash {
	sum := sha256.Sum256(b)
	return Hash(sum[:16])
}

// text renders a message as NATS writes it, with sorted headers and plain line ends, behind its subject.
func text(m Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nNATS/1.0\n", m.Subject)
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		for _, value := range m.Header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	fmt.Fprintf(&b, "\n%s", m.Data)
	return b.String()
}

// parseText reverses text.
func parseText(t *testing.T, s string) Message {
	t.Helper()
	head, data, ok1 := strings.Cut(s, "\n\n")
	subject, head, ok2 := strings.Cut(head, "\nNATS/1.0\n")
	if !ok1 || !ok2 {
		t.Fatalf("not a message: %q", s)
	}
	m := Message{Subject: subject, Header: Header{}}
	if data != "" {
		m.Data = []byte(data)
	}
	for line := range strings.SplitSeq(head, "\n") {
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("not a header: %q", line)
		}
		m.Header[name] = append(m.Header[name], value)
	}
	return m
}

// golden compares a text with a file of testdata, or writes it with -update.
func golden(t *testing.T, name, got string) string {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
	return string(want)
}

// wireForms are the records whose bytes are golden.
func wireForms() map[string]Record {
	hlc := TimestampAt(noon()) + 5
	observed := At(Point{"us", ours, 1, 1042}, Point{"eu", "09c1", 2, 77})
	minimal := Event{ID: "e1", Source: "urn:shop:checkout", Type: "OrderPlaced", Entity: Entity{"order", "4711"}}
	full := Event{
		ID: "Ä \"1\" 100%", Source: "urn:shop:kasse 7", Type: "Order.Placed-v2", Entity: Entity{"order", "a.b/c d*é>"},
		Time: noon().Add(123456789), ContentType: "text/plain; charset=utf-8", Schema: "https://example.com/order?v=2",
		Extensions: map[string]string{"tenant": "Zoë & co", "partitionkey": "7", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"},
		Data:       []byte("hello\n\nworld"),
	}
	json := Event{ID: "0190a5c4-7f3e-7cc1-8f5e-2b1d1c7a9e10", Source: "urn:shop:checkout", Type: "OrderPlaced", Entity: Entity{"order", "4711"}, Time: noon(), Data: []byte(`{"total":"12.50"}`)}
	seen := json
	seen.Observed = observed
	traced := json
	traced.Extensions = map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	record := func(e Event, s Stamp) Record {
		s.Time, s.Hash, s.Observed = hlc, e.ContentHash(), e.Observed
		return Record{Kind: KindEvent, Event: e, Stamp: s}
	}
	control := Control{Name: ControlGenesis, Data: []byte(`{"format":1,"origin":"us","lineage":"7f3a09c1"}`)}
	return map[string]Record{
		"minimal":     record(minimal, Stamp{}),
		"all":         record(full, Stamp{}),
		"json":        record(json, Stamp{}),
		"transaction": record(json, Stamp{Tx: Tx{2, 1000}}),
		"observed":    record(seen, Stamp{}),
		"traceparent": record(traced, Stamp{}),
		"key":         record(json, Stamp{Tx: Tx{1, 2}, Key: "k7"}),
		"control":     {Kind: KindControl, Control: control, Stamp: Stamp{Time: hlc, Hash: control.ContentHash()}},
	}
}

func TestTheWireFormIsGolden(t *testing.T) {
	for name, want := range wireForms() {
		t.Run(name, func(t *testing.T) {
			m := EncodeControl("us", want.Control, want.Stamp)
			if want.Kind == KindEvent {
				m = EncodeEvent("us", &want.Event, want.Stamp)
			}
			stored := golden(t, "wire/"+name+".txt", text(m))
			// What was stored once must read back, whatever becomes of the encoder.
			want.Sequence, want.Time, want.Subject = 7, noon(), m.Subject
			var got Record
			if err := Decode(&got, "us", 7, noon(), parseText(t, stored)); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("read back\n%+v\nwant\n%+v", got, want)
			}
		})
	}
}

func TestHeaderValuesArePrintableASCII(t *testing.T) {
	for name, r := range wireForms() {
		for key, values := range EncodeEvent("us", &r.Event, r.Stamp).Header {
			for _, c := range []byte(key + strings.Join(values, "")) {
				if c <= ' ' || c > '~' {
					t.Errorf("%s: %s: %q", name, key, values)
				}
			}
		}
	}
}

func TestADamagedRecordIsToldFromAMalformedOne(t *testing.T) {
	e := departed()
	good := EncodeEvent("us", &e, Stamp{Time: 1, Hash: e.ContentHash()})
	change := func(name, value string) func(*Message) {
		return func(m *Message) { m.Header[name] = []string{value} }
	}
	for name, change := range map[string]func(*Message){
		"payload":           func(m *Message) { m.Data = []byte(`{"n":3}`) },
		"subject":           func(m *Message) { m.Subject = "evt.us.airport.OSD" },
		"id":                change("ce-id", "e2"),
		"type":              change("ce-type", "FlightDeparteD"),
		"time":              change("ce-time", "2024-03-09T12:00:01Z"),
		"unreadable time":   change("ce-time", "2024-03-09T12:00:0xZ"),
		"unreadable source": change("ce-source", "urn:%zz"),
		"extension":         change("ce-tenant", "acmd"),
		"an extension more": change("ce-more", "x"),
		"no id":             func(m *Message) { delete(m.Header, "ce-id") },
		"no extension":      func(m *Message) { delete(m.Header, "ce-tenant") },
		"the hash":          change("tm", strings.Replace(good.Header["tm"][0], e.ContentHash().String(), Hash{1}.String(), 1)),
		"a control's data": func(m *Message) {
			*m = EncodeControl("us", Control{"mark", []byte("a")}, Stamp{Hash: Control{"mark", []byte("b")}.ContentHash()})
		},
		"a control's place": func(m *Message) {
			*m = EncodeControl("us", Control{"mark", nil}, Stamp{Hash: Control{"mork", nil}.ContentHash()})
		},
		"the content's type": change("ce-datacontenttype", "text/plain"),
	} {
		m := Message{Subject: good.Subject, Header: maps.Clone(good.Header), Data: good.Data}
		change(&m)
		var r Record
		if err := Decode(&r, "us", 7, noon(), m); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, %+v", name, err, r)
		}
	}
	// Where the hash agrees, the writer itself wrote what is no event: every copy of the log has it.
	for _, e := range []Event{{Source: "s", Type: "T", Entity: e.Entity}, {ID: "1", Source: "s", Type: "a b", Entity: e.Entity}} {
		var r Record
		if err := Decode(&r, "us", 7, noon(), EncodeEvent("us", &e, Stamp{Time: 1, Hash: e.ContentHash()})); err != nil || r.Kind != KindMalformed || r.Stamp.Time != 1 {
			t.Errorf("%v, %+v", err, r)
		}
	}
}

func TestASubjectOfAnotherOriginIsAForeignHistory(t *testing.T) {
	for _, subject := range []string{"evt.eu.airport.ORD", "ctl.eu.genesis", "evt.us", "ctl.us", "evt", "", "evt.us2.airport.ORD", "EVT.us.airport.ORD", "orders.1", "evt.usa", "ctl.us."} {
		var r Record
		if err := Decode(&r, "us", 7, noon(), Message{Subject: subject}); !errors.Is(err, ErrForeignHistory) {
			t.Errorf("%q: %v, %+v", subject, err, r)
		}
	}
	var r Record
	if err := Decode(&r, "us", 7, noon(), Message{Subject: "ctl.us.a..b", Data: []byte("x")}); err != nil || r.Kind != KindMalformed || r.Control.Name != "" || string(r.Event.Data) != "x" {
		t.Errorf("%v, %+v", err, r)
	}
}

// Headers in another case, several of one name, and the order of a map: every reader must read the same.
func TestForeignHeadersReadAlikeEveryTime(t *testing.T) {
	m := Message{Subject: "evt.us.airport.ORD", Data: []byte("{}"), Header: Header{
		"CE-ID": {"1"}, "Ce-Id": {"2"}, "cE-iD": {"3"}, "ce-source": {"s"}, "CE-SOURCE": {"t"}, "Ce-Specversion": {"1.0"}, "ce-type": {"T", "U"},
		"Ce-Tenant": {"a"}, "ce-tenant": {"b"}, "CE-TENANT": {"c"}, "Traceparent": {"d"}, "ce-traceparent": {"e"}, "Ce-Traceparent": {"f"}, "empty": {}, "ce-empty": {},
		"ce-tmx": {"ours"}, "ce-subject": {"x"}, "Content-Type": {"application/json"}, "content-type": {"application/x+json"},
	}}
	want := Event{
		ID: "1", Source: "s", Type: "T", Entity: Entity{"airport", "ORD"}, ContentType: "application/x+json", Data: m.Data,
		Extensions: map[string]string{"tenant": "b", "traceparent": "d"},
	}
	for range 100 {
		var r Record
		if err := Decode(&r, "us", 7, noon(), m); err != nil || !reflect.DeepEqual(r.Event, want) {
			t.Fatalf("%v %q\ngot  %+v\nwant %+v", err, r.Reason, r.Event, want)
		}
	}
}

func TestTheMediaTypeIsReadFromContentTypeOnlyWhereNothingElseSays(t *testing.T) {
	foreign := Header{"ce-id": {"1"}, "ce-source": {"s"}, "ce-specversion": {"1.0"}, "ce-type": {"T"}, "content-type": {"text/plain"}}
	both := maps.Clone(foreign)
	both["ce-datacontenttype"] = []string{"text/html"}
	e := departed()
	ours := EncodeEvent("us", &e, Stamp{Hash: e.ContentHash()})
	ours.Header["content-type"] = []string{"text/plain"}
	for want, m := range map[string]Message{
		"text/plain": {Subject: ours.Subject, Header: foreign}, "text/html": {Subject: ours.Subject, Header: both}, "": ours,
	} {
		var r Record
		if err := Decode(&r, "us", 7, noon(), m); err != nil || r.Event.ContentType != want || r.Kind != KindEvent {
			t.Errorf("%v: %q, want %q", err, r.Event.ContentType, want)
		}
	}
}

func TestATimeReadsTheSameInEveryZone(t *testing.T) {
	home := time.Local
	defer func() { time.Local = home }()
	m := Message{Subject: "evt.us.airport.ORD", Header: Header{
		"ce-id": {"1"}, "ce-source": {"s"}, "ce-specversion": {"1.0"}, "ce-type": {"T"}, "ce-time": {"2024-03-09T14:00:00+02:00"},
	}}
	var first Record
	for _, zone := range []*time.Location{time.UTC, time.FixedZone("EET", 7200), time.FixedZone("", -3600)} {
		time.Local = zone
		var r Record
		if err := Decode(&r, "us", 7, noon(), m); err != nil || r.Event.Time.String() != "2024-03-09 12:00:00 +0000 UTC" {
			t.Fatalf("%v: %s", err, r.Event.Time)
		}
		if first.Sequence != 0 && !reflect.DeepEqual(first, r) {
			t.Fatalf("%+v, %+v", first, r)
		}
		first = r
	}
}

func TestAnUnreadableStampLeavesNothingBehind(t *testing.T) {
	e := departed()
	good := Stamp{Time: 5, Hash: e.ContentHash(), Tx: Tx{1, 2}, Observed: At(Point{"us", ours, 1, 1})}
	m := EncodeEvent("us", &e, good)
	m.Header["tm"][0] += ";o=nonsense"
	var r Record
	if err := Decode(&r, "us", 7, noon(), m); err != nil || r.Kind != KindMalformed || !reflect.DeepEqual(r.Stamp, Stamp{}) {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestALaterVersionsFieldInTheStampIsNoHindrance(t *testing.T) {
	e := departed()
	m := EncodeEvent("us", &e, Stamp{Time: 5, Hash: e.ContentHash()})
	m.Header["tm"][0] += ";z=new;y="
	var r Record
	if err := Decode(&r, "us", 7, noon(), m); err != nil || r.Kind != KindEvent || r.Stamp.Time != 5 {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestFingerprintTellsEveryRecord(t *testing.T) {
	e := departed()
	base := decoded(t, e)
	seen := []Hash{base.Fingerprint()}
	for _, change := range []func(*Record){
		func(r *Record) { r.Sequence++ },
		func(r *Record) { r.Time = r.Time.Add(1) },
		func(r *Record) { r.Subject += "x" },
		func(r *Record) { r.Stamp.Hash[0] ^= 1 },
		func(r *Record) { r.Stamp.Hash = Hash{}; r.Event.Data = []byte("x") },
		func(r *Record) { r.Stamp.Hash = Hash{}; r.Kind, r.Control = KindControl, Control{"mark", nil} },
	} {
		r := base
		change(&r)
		seen = append(seen, r.Fingerprint())
	}
	for i := range seen {
		if slices.Index(seen, seen[i]) != i {
			t.Errorf("records %d and %d have one fingerprint", slices.Index(seen, seen[i]), i)
		}
	}
	foreign := base
	foreign.Stamp.Hash = Hash{}
	if foreign.Fingerprint() != base.Fingerprint() {
		t.Error("the fingerprint depends on who hashed the content")
	}
}

func TestDecodeAllocatesNothingForATypicalEvent(t *testing.T) {
	e, stamp := benchEvent()
	stamp.Observed = Position{}
	m := EncodeEvent("us", &e, stamp)
	var r Record
	if n := testing.AllocsPerRun(100, func() {
		if err := Decode(&r, "us", 1, noon(), m); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
