package projector_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

// BenchmarkFollowing folds a log from its beginning to its end, with and without an observer. An operation is one event.
func BenchmarkFollowing(b *testing.B) {
	for _, seen := range []projector.Observer{nil, newWitness()} {
		b.Run(fmt.Sprint("observed=", seen != nil), func(b *testing.B) {
			log := memlog.New("us", memlog.Options{Lineage: "7f3a11d2"})
			defer log.Close()
			for n := 0; n < b.N; {
				var list []events.Event
				for ; n < b.N && len(list) < events.MaxBatch; n++ {
					e := events.Entity{Type: accountType, ID: fmt.Sprint("a", n%1_000)}
					list = append(list, events.Event{ID: fmt.Sprint(n), Source: "urn:test", Type: added, Entity: e, Data: []byte(`{"n":1,"tag":"red"}`)})
				}
				if _, err := log.Append(context.Background(), events.Batch{Events: list}); err != nil {
					b.Fatal(err)
				}
			}
			info, err := log.Info(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			proj, err := newProjection("accounts", 1)
			if err != nil {
				b.Fatal(err)
			}
			store, kv := memstore.New(), memstore.NewKV()
			p, err := projector.New(proj, log, store, kv, memstore.NewLeases(), projector.Options{Observer: seen})
			if err != nil {
				b.Fatal(err)
			}
			reader := query.New("us", store, kv, query.NewHeads(log))
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			b.ResetTimer()
			go func() { done <- p.Run(ctx) }()
			for {
				if o, err := reader.Overview(ctx); err == nil && len(o.Projections) == 1 && o.Projections[0].Position.Equal(info.Head()) {
					break
				}
				pass(2 * time.Millisecond)
			}
			b.StopTimer()
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
