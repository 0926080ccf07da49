package events

import (
	"testing"
	"time"
)

// benchEvent is a typical event: 300 bytes of payload, a time, an expected sequence.
func benchEvent() (Event, Stamp) {
	e := Event{
		ID: "0190a5c4-7f3e-7cc1-8f5e-2b1d1c7a9e10", Source: "urn:tidemark:flights", Type: "FlightDeparted",
		Entity: Entity{Type: "airport", ID: "ORD"}, Time: time.Date(2024, 3, 9, 14, 22, 41, 123_000_000, time.UTC), Data: []byte(flightJSON),
	}
	stamp := Stamp{Time: TimestampAt(e.Time), Hash: e.ContentHash(), Observed: At(Point{Origin: "us", Lineage: "7f3a09c1", Term: 1, Sequence: 104_233})}
	return e, stamp
}

func BenchmarkEncodeEvent(b *testing.B) {
	e, stamp := benchEvent()
	b.ReportAllocs()
	for b.Loop() {
		EncodeEvent("us", &e, stamp)
	}
}

func BenchmarkDecode(b *testing.B) {
	e, stamp := benchEvent()
	alone := stamp
	alone.Observed = Position{}
	foreign := EncodeEvent("us", &e, stamp)
	delete(foreign.Header, HeaderStamp)
	atOrigin := EncodeEvent("us", &e, stamp)
	atOrigin.Header["Nats-Expected-Last-Subject-Sequence"] = []string{"104233"}
	for _, c := range []struct {
		name string
		m    Message
	}{
		{"observed", EncodeEvent("us", &e, stamp)}, {"plain", EncodeEvent("us", &e, alone)},
		{"expected-header", atOrigin}, {"foreign", foreign},
	} {
		b.Run(c.name, func(b *testing.B) {
			var r Record
			stored := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				if err := Decode(&r, "us", 1, stored, c.m); err != nil || r.Kind != KindEvent {
					b.Fatal(err, r.Reason)
				}
			}
		})
	}
}

func BenchmarkContentHash(b *testing.B) {
	e, _ := benchEvent()
	b.ReportAllocs()
	for b.Loop() {
		e.ContentHash()
	}
}

func BenchmarkValidate(b *testing.B) {
	e, _ := benchEvent()
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMessages is the whole of the writer's side but sending.
func BenchmarkMessages(b *testing.B) {
	e, _ := benchEvent()
	var clock Clock
	batch := One(e, ExpectExactly(7))
	observed := At(Point{Origin: "us", Lineage: "7f3a09c1", Term: 1, Sequence: 7})
	b.ReportAllocs()
	for b.Loop() {
		if err := batch.Validate(); err != nil {
			b.Fatal(err)
		}
		if _, err := batch.Messages("us", &clock, func(uint64) Position { return observed }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParsePosition(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParsePosition("eu.09c1@1:77,us.7f3a@1:1042"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTransactions(b *testing.B) {
	e, stamp := benchEvent()
	m := EncodeEvent("us", &e, stamp)
	records := make([]Record, 1_000)
	for i := range records {
		if err := Decode(&records[i], "us", uint64(i+1), e.Time, m); err != nil {
			b.Fatal(err)
		}
	}
	var t Transactions
	var out []Record
	b.ReportAllocs()
	for b.Loop() {
		out = out[:0]
		for i := range records {
			out = t.Add(out, records[i])
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1_000, "ns/record")
}
