package main

import (
	"math/rand/v2"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// BenchmarkFold routes and folds in memory, batch by batch as the projector does, without log and store.
func BenchmarkFold(b *testing.B) {
	const batch = 1_000
	random := rand.New(rand.NewPCG(1, 2))
	list := make([]*events.Record, 20*batch)
	for i := range list {
		list[i] = &events.Record{Sequence: uint64(i) + 1, Kind: events.KindEvent, Event: event(random, 2_000, i)}
	}
	for _, how := range []struct {
		name string
		open func() (projections.Projection, error)
	}{{"go", inGo}, {"yaml", inYAML}} {
		p, err := how.open()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(how.name, func(b *testing.B) {
			b.ReportAllocs()
			states := map[string]projections.State{}
			var ops projections.Ops
			for b.Loop() {
				for from := 0; from < len(list); from += batch {
					ops.Reset()
					for i, r := range list[from : from+batch] {
						p.Route(r, i, &ops)
					}
					for i := range ops.List() {
						op := &ops.List()[i]
						s := states[op.Key]
						if s == nil {
							s = p.NewState()
							states[op.Key] = s
						}
						if err := p.Fold(s, list[from+op.At], op); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(list)), "ns/event")
		})
	}
}
