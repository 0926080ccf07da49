package query_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/skips"
)

// bad appends a landing whose delay is no number, and returns its sequence.
func (r *region) bad(airport string) uint64 {
	r.t.Helper()
	r.stored++
	receipt, err := r.log.Append(context.Background(), events.Batch{Events: []events.Event{{
		ID: fmt.Sprint(r.stored), Source: "urn:test", Type: flights.Landed, Entity: events.Entity{Type: flights.AirportType, ID: airport},
		Data: []byte(`{"delay":"SECRET"}`),
	}}})
	if err != nil {
		r.t.Fatal(err)
	}
	return receipt.Last
}

// head waits until everything is applied, and returns where that is.
func (r *region) head() events.Position {
	r.t.Helper()
	info, err := r.log.Info(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	r.applied(info.Head())
	return info.Head()
}

func (r *region) parked(o query.ParkedOptions) query.ParkedPage {
	r.t.Helper()
	page, err := r.reader.Parked(context.Background(), "airports", o)
	if err != nil {
		r.t.Fatal(err)
	}
	return page
}

func TestParkedDocumentsAreListedInTheOrderOfTheirEvents(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(30)
		want := map[string]uint64{}
		var order []string
		for i := range 20 {
			key := fmt.Sprintf("A%03d", (i*7)%30)
			want[key] = r.bad(key)
			order = append(order, key)
			r.bad(key) // the first one counts
		}
		at := r.head()
		for _, limit := range []int{1, 3, 19, 20, 0, query.MaxLimit} {
			var got []string
			for after := ""; ; {
				page := r.parked(query.ParkedOptions{Limit: limit, After: after})
				if page.Parked != 20 || page.Unrouted != 0 || !page.Position.Equal(at) || page.Lag == nil || page.Region != "us" || page.Projection != "airports" {
					t.Fatalf("the page is %+v", page)
				}
				for _, d := range page.Items {
					if d.Sequence != want[d.Key] || d.At != fmt.Sprintf("us.7f3a11d2@1:%d", d.Sequence) || !strings.Contains(d.Reason, "cannot be read") {
						t.Errorf("listed is %+v", d)
					}
					got = append(got, d.Key)
				}
				if after = page.Next; after == "" {
					break
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(order) {
				t.Errorf("in pages of %d listed are %v", limit, got)
			}
		}
	})
}

func TestAReleasedDocumentIsNotListedAnyMore(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		first, second := r.bad("A000"), r.bad("A001")
		r.head()
		for _, s := range []skips.Skip{{Key: "A000", Sequence: first}, {Key: "A001", Sequence: second}} {
			if _, err := skips.Write(context.Background(), r.log, "airports", s, ""); err != nil {
				t.Fatal(err)
			}
			r.head()
			if page := r.parked(query.ParkedOptions{}); len(page.Items) != int(page.Parked) || len(page.Items) > 0 && page.Items[0].Key != "A001" {
				t.Errorf("after the skip of %s the page is %+v", s.Key, page)
			}
		}
		if page := r.parked(query.ParkedOptions{}); page.Parked != 0 || page.Items == nil {
			t.Errorf("the page is %+v", page)
		}
	})
}

func TestUnroutedEventsAreCountedAndTheLastOneIsTold(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(1)
		r.log.StoreRaw("evt.us.airport.A000", nil, []byte("SECRET"))
		last := r.log.StoreRaw("evt.us.airport.A002", nil, []byte("SECRET"))
		r.head()
		page := r.parked(query.ParkedOptions{})
		if page.Unrouted != 2 || !strings.HasPrefix(page.UnroutedLast, fmt.Sprintf("us.7f3a11d2@1:%d ", last)) {
			t.Errorf("the page is %+v", page)
		}
	})
}

func TestValuesInReasonsAreTakenAwayOnRequest(t *testing.T) {
	page := query.ParkedPage{Items: []query.Parked{{Reason: `data.n is "SECRET", which is not an integer`}}, UnroutedLast: `us.7f3a@1:5 its key: data.k is "SECRET"`}
	page.Hide()
	if page.Items[0].Reason != `data.n is "…", which is not an integer` || page.UnroutedLast != `us.7f3a@1:5 its key: data.k is "…"` {
		t.Errorf("the page is %+v", page)
	}
}

func TestWhatIsNotAPageOfParkedDocumentsIsRefused(t *testing.T) {
	inRegion(t, func(r *region) {
		r.departures(3)
		r.bad("A001")
		r.bad("A002")
		r.head()
		keys, err := r.reader.List(context.Background(), "airports", query.ListOptions{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name string
			o    query.ParkedOptions
			code events.Code
		}{
			{"nothing", query.ParkedOptions{}, projections.ErrUnknownProjection},
			{"airports", query.ParkedOptions{Limit: -1}, projections.ErrInvalidQuery},
			{"airports", query.ParkedOptions{Limit: query.MaxLimit + 1}, projections.ErrInvalidQuery},
			{"airports", query.ParkedOptions{After: "zzz"}, projections.ErrInvalidCursor},
			{"airports", query.ParkedOptions{After: keys.Next}, projections.ErrInvalidCursor},
		} {
			page, err := r.reader.Parked(context.Background(), c.name, c.o)
			wants(t, err, c.code)
			if len(page.Items) > 0 {
				t.Errorf("%+v: the page is %+v", c, page)
			}
		}
		r.end()
		r.setState(projections.Building)
		_, err = r.reader.Parked(context.Background(), "airports", query.ParkedOptions{})
		wants(t, err, projections.ErrUnavailable)
	})
}

func TestWhereADocumentIsParkedIsRead(t *testing.T) {
	for text, want := range map[string]query.Parked{
		"us.7f3a@1:42 the data cannot be read": {Key: "k", Sequence: 42, At: "us.7f3a@1:42", Reason: "the data cannot be read"},
		"us.7f3a@1:42":                         {Key: "k", Sequence: 42, At: "us.7f3a@1:42"},
	} {
		if got, ok := query.ParkedOf("k", text); !ok || got != want {
			t.Errorf("%q is %+v", text, got)
		}
	}
	for _, text := range []string{"", "by hand", "us.7f3a@1:x y"} {
		if got, ok := query.ParkedOf("k", text); ok {
			t.Errorf("%q is %+v", text, got)
		}
	}
}
