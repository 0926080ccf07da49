package memlog_test

import (
	"context"
	"fmt"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
)

func BenchmarkRead(b *testing.B) {
	const n = 50_000
	l := memlog.New("us", memlog.Options{})
	defer l.Close()
	for at := 0; at < n; at += events.MaxBatch {
		if _, err := l.Append(b.Context(), batch(at, at+events.MaxBatch-1)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		seen := 0
		for records, err := range l.Read(context.Background(), events.Range{}) {
			if err != nil {
				b.Fatal(err)
			}
			seen += len(records)
		}
		if seen != n+1 {
			b.Fatal(seen)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			l := memlog.New("us", memlog.Options{})
			defer l.Close()
			at := 0
			for b.Loop() {
				if _, err := l.Append(b.Context(), batch(at, at+size-1)); err != nil {
					b.Fatal(err)
				}
				at += size
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size), "ns/event")
		})
	}
}
