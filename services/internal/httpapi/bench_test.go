//go:build unix

package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/infra/redisstore"
	"tidemark.dev/infra/redistest"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/httpapi"
)

const (
	benchDocuments   = 10_000
	benchConnections = 64
	benchRequests    = 6_400 // of a round
)

// BenchmarkOneDocument measures reading one document over HTTP, with 64 connections, against a bare handler that makes one HGETALL for each request, on the same Redis and in the same run.
// Rounds alternate, so that a noisy machine disturbs both alike; the ratios are what counts: of the requests in a time, and of the requests for the same processor time, of Redis and of this
// process, whose larger part is the client's.
func BenchmarkOneDocument(b *testing.B) {
	server := redistest.Start(b)
	redis := server.Client()
	store, err := redisstore.New(redis, redisstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	reader, gen := filled(b, store)
	ours := listening(b, httpapi.New(nil, reader, httpapi.Options{}))
	bare := listening(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.URL.Path[len("/v1/models/airports/"):]
		name := fmt.Sprintf("tm:{airports.1.%02d}:doc:%s", projections.PartitionOf(key, gen.Partitions), key)
		fields, err := redis.HGetAll(r.Context(), name).Result()
		if err != nil || len(fields) == 0 {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(fields)
	}))
	used := func() time.Duration {
		var own syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
			b.Fatal(err)
		}
		text, err := redis.Info(b.Context(), "cpu").Result()
		if err != nil {
			b.Fatal(err)
		}
		sum := time.Duration(own.Utime.Nano() + own.Stime.Nano())
		for _, found := range regexp.MustCompile(`used_cpu_(?:user|sys):([0-9.]+)`).FindAllStringSubmatch(text, -1) {
			seconds, err := strconv.ParseFloat(found[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += time.Duration(seconds * float64(time.Second))
		}
		return sum
	}
	measure := func(base string) (took, cpu time.Duration) {
		before := used()
		took = round(b, base)
		return took, used() - before
	}
	measure(ours)
	measure(bare)
	var ratios, cpuRatios []float64
	var took time.Duration
	for b.Loop() {
		theirs, theirCPU := measure(bare)
		mine, myCPU := measure(ours)
		took += mine
		ratios = append(ratios, theirs.Seconds()/mine.Seconds())
		cpuRatios = append(cpuRatios, theirCPU.Seconds()/myCPU.Seconds())
	}
	slices.Sort(ratios)
	slices.Sort(cpuRatios)
	b.ReportMetric(ratios[len(ratios)/2], "x-bare")
	b.ReportMetric(cpuRatios[len(cpuRatios)/2], "x-bare-cpu")
	b.ReportMetric(float64(benchRequests*b.N)/took.Seconds(), "requests/s")
}

// filled returns a reader of a live read model with documents.
func filled(b *testing.B, store *redisstore.Store) (*query.Reader, projections.Generation) {
	b.Helper()
	log := memlog.New("us", memlog.Options{Lineage: "abcd"})
	b.Cleanup(log.Close)
	p, err := flights.Airports()
	if err != nil {
		b.Fatal(err)
	}
	def := p.Definition()
	gen := projections.Generation{Projection: def.Name, Number: 1, Partitions: projections.DefaultPartitions}
	at := events.At(events.Point{Origin: "us", Lineage: "abcd", Term: 1, Sequence: 1})
	commits := make([]projections.Commit, gen.Partitions)
	for i := range commits {
		h := projections.Header{Partition: i, State: projections.Live, Owner: 1, Definition: def.Fingerprint()}
		if err := store.Create(b.Context(), gen, h); err != nil {
			b.Fatal(err)
		}
		h.Checkpoint = at
		commits[i] = projections.Commit{Partition: i, Next: h}
	}
	hasher := projections.NewHasher(def)
	for i := range benchDocuments {
		d := projections.Document{Key: fmt.Sprintf("A%05d", i), At: at.String(), Values: []string{"12", "345", "6789", "77", "4", "2001-01-31T09:15:00Z"}}
		d.Digest = hasher.Stored(&d)
		c := &commits[projections.PartitionOf(d.Key, gen.Partitions)]
		c.Writes = append(c.Writes, projections.Write{Document: d, Create: true})
		c.Next.Documents++
	}
	for _, err := range store.Apply(b.Context(), gen, def, commits) {
		if err != nil {
			b.Fatal(err)
		}
	}
	kv := memstore.NewKV()
	pointer := projections.Pointer{Generation: 1, Partitions: gen.Partitions, Version: def.Version, Definition: def.Fingerprint(), Fields: def.Fields, Highest: 1}
	if _, err := projections.WriteJSON(b.Context(), kv, projections.PointerKey(def.Name), pointer, 0); err != nil {
		b.Fatal(err)
	}
	return query.New("us", store, kv, query.NewHeads(log)), gen
}

// listening serves a handler and returns its address.
func listening(b *testing.B, h http.Handler) string {
	b.Helper()
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	b.Cleanup(func() { _ = s.Shutdown(context.WithoutCancel(b.Context())) })
	return "http://" + l.Addr().String()
}

// round makes the requests of a round, and returns how long they took.
func round(b *testing.B, base string) time.Duration {
	transport := &http.Transport{MaxConnsPerHost: benchConnections, MaxIdleConnsPerHost: benchConnections}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var next atomic.Int64
	var working sync.WaitGroup
	begun := time.Now()
	for range benchConnections {
		working.Go(func() {
			for {
				i := next.Add(1)
				if i > benchRequests {
					return
				}
				r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, fmt.Sprintf("%s/v1/models/airports/A%05d", base, (i*7919)%benchDocuments), nil)
				if err != nil {
					b.Error(err)
					return
				}
				w, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, w.Body)
				_ = w.Body.Close()
				if err != nil || w.StatusCode != http.StatusOK {
					b.Errorf("%d, %v", w.StatusCode, err)
					return
				}
			}
		})
	}
	working.Wait()
	return time.Since(begun)
}
