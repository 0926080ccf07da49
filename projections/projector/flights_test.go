package projector_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/projector"
	"tidemark.dev/projections/query"
)

// flight is a line of the real data, read without the example's own types.
type flight struct {
	Date, Origin, Destination string
	Delay, Distance           int64
}

// counted holds the fields of every document, counted by a plain loop over the lines.
func counted(t *testing.T, log *memlog.Log) (airports, routes map[string][]int64) {
	t.Helper()
	lines, err := flights.Lines()
	if err != nil {
		t.Fatal(err)
	}
	airports, routes = map[string][]int64{}, map[string][]int64{}
	var batch events.Batch
	flush := func() {
		if _, err := log.Append(context.Background(), batch); err != nil {
			t.Fatal(err)
		}
		batch.Events = nil
	}
	n := 0
	for scanner := bufio.NewScanner(lines); scanner.Scan(); n++ {
		var f flight
		line := append([]byte{}, scanner.Bytes()...)
		if err := json.Unmarshal(line, &f); err != nil {
			t.Fatal(err)
		}
		for i, airport := range []string{f.Origin, f.Destination} {
			typ := []string{flights.Departed, flights.Landed}[i]
			batch.Events = append(batch.Events, events.Event{
				ID: fmt.Sprint(n, typ), Source: "urn:test", Type: typ, Entity: events.Entity{Type: flights.AirportType, ID: airport}, Data: line,
			})
			if airports[airport] == nil {
				airports[airport] = make([]int64, 5)
			}
		}
		if len(batch.Events) == events.MaxBatch {
			flush()
		}
		from, to := airports[f.Origin], airports[f.Destination]
		from[0]++
		if to[1] == 0 || f.Delay > to[3] {
			to[3] = f.Delay
		}
		to[1], to[2] = to[1]+1, to[2]+f.Delay
		if f.Delay <= 0 {
			to[4]++
		}
		route := f.Origin + "-" + f.Destination
		if routes[route] == nil {
			routes[route] = make([]int64, 3)
		}
		r := routes[route]
		r[0], r[1], r[2] = r[0]+1, r[1]+f.Distance, r[2]+f.Delay
	}
	if len(batch.Events) > 0 {
		flush()
	}
	if n != flights.Count {
		t.Fatalf("there are %d flights", n)
	}
	return airports, routes
}

func TestTheRealFlightsAreFoldedAsAPlainLoopCountsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		log, store, kv, leases := memlog.New("us", memlog.Options{}), memstore.New(), memstore.NewKV(), memstore.NewLeases()
		defer log.Close()
		airports, routes := counted(t, log)
		info, err := log.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		all, err := flights.All()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{}, len(all))
		for _, p := range all {
			worker, err := projector.New(p, log, store, kv, leases, projector.Options{})
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				if err := worker.Run(ctx); err != nil {
					t.Error(err)
				}
				done <- struct{}{}
			}()
		}
		reader := query.New("us", store, kv, query.NewHeads(log))
		for name, want := range map[string]map[string][]int64{"airports": airports, "routes": routes} {
			listed := 0
			for after := ""; ; {
				page := firstAnswer(t, reader, name, query.ListOptions{Options: query.Options{AtLeast: info.Head()}, Limit: query.MaxLimit, After: after})
				for _, item := range page.Items {
					compare(t, name, item, want[item.Key])
				}
				listed += len(page.Items)
				if after = page.Next; after == "" {
					break
				}
			}
			if listed != len(want) {
				t.Errorf("%s has %d documents, expected %d", name, listed, len(want))
			}
		}
		cancel()
		for range all {
			<-done
		}
	})
}

// firstAnswer asks until the projection is known.
func firstAnswer(t *testing.T, reader *query.Reader, name string, o query.ListOptions) query.Page {
	t.Helper()
	for range 1_000 {
		if page, err := reader.List(context.Background(), name, o); err == nil {
			return page
		}
		pass(10 * time.Millisecond)
	}
	t.Fatalf("%s does not answer", name)
	return query.Page{}
}

func compare(t *testing.T, name string, item query.Item, want []int64) {
	t.Helper()
	for i, n := range want {
		if got := item.Document.Values[i]; got != strconv.FormatInt(n, 10) {
			t.Errorf("%s %s: %s is %s, expected %d", name, item.Key, item.Document.Fields[i].Name, got, n)
		}
	}
	if item.Parked != "" || item.Document.Fields[0].Kind != projections.KindInt {
		t.Errorf("%s %s: %+v", name, item.Key, item)
	}
}
