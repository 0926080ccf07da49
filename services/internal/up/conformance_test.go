package up_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/storetest"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/up"
)

// visits are documents of a projection with an index.
type visits struct {
	Flights int64
	Last    string
	Late    bool
	Delays  []int64
	To      projections.Set[string]
}

// asks is what can be asked of a reader: the region's own, and the client that asks over NATS.
type asks interface {
	Get(ctx context.Context, projection, key string, o query.Options) (query.Answer, error)
	Lookup(ctx context.Context, projection string, keys []string, o query.Options) (query.Documents, error)
	List(ctx context.Context, projection string, o query.ListOptions) (query.Page, error)
	Count(ctx context.Context, projection string, o query.CountOptions) (query.Count, error)
	Overview(ctx context.Context) (query.Overview, error)
}

// row is one request, as it is asked in Go and over HTTP.
type row struct {
	name string
	ask  func(ctx context.Context, s asks) (any, error)
	path string
	code events.Code // empty: it is answered
}

// newVisited runs a region with documents that stand still.
func newVisited(t *testing.T) (app *up.App, at events.Position) {
	t.Helper()
	c := config(t)
	typed, err := projections.New("visits", 1, projections.On(flights.AirportType, flights.Departed,
		func(v visits, e projections.Event[flights.Flight]) (visits, error) {
			v.Flights, v.Last, v.Late = v.Flights+1, e.Data.Destination, e.Data.Delay > 0
			v.Delays, v.To = append(v.Delays, e.Data.Delay), v.To.With(e.Data.Destination, "<all>")
			return v, nil
		}))
	if err == nil {
		typed, err = typed.Indexed(projections.Index{Name: "by_flights", Fields: []string{"flights"}}, projections.Index{Name: "by_last", Fields: []string{"last", "flights"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Projections = []projections.Projection{typed}
	app, _ = run(t, c)
	for i := range 40 {
		for n := range 1 + i%5 {
			r, err := app.Region().Log().Append(t.Context(), events.One(events.Event{
				ID: fmt.Sprintf("%d-%d", i, n), Source: "urn:test", Type: flights.Departed, Entity: events.Entity{Type: flights.AirportType, ID: fmt.Sprintf("<A&%02d>", i)},
				Data: fmt.Appendf(nil, `{"destination":%q,"delay":%d}`, []string{"ORD", "JFK", "ö"}[i%3], i-20),
			}, events.ExpectAny()))
			if err != nil {
				t.Fatal(err)
			}
			at = r.Position
		}
	}
	for deadline := time.Now().Add(patience); ; { // every partition stands at the end
		o, err := app.Reader().Overview(t.Context())
		if err == nil && len(o.Projections) == 1 && !o.Projections[0].Position.IsZero() && o.Projections[0].Position.Points()[0].Sequence >= at.Points()[0].Sequence { // a mark may have come
			return app, at
		}
		if time.Now().After(deadline) {
			t.Fatalf("the read model does not come to %s: %+v, %v", at, o, err)
		}
	}
}

func text(s string) *string { return &s }

// rows returns the requests. after is a cursor of the listing by key in pages of 7.
func rows(at events.Position, after string) []row {
	get := func(projection, key string, o query.Options) func(context.Context, asks) (any, error) {
		return func(ctx context.Context, s asks) (any, error) { return s.Get(ctx, projection, key, o) }
	}
	list := func(projection string, o query.ListOptions) func(context.Context, asks) (any, error) {
		return func(ctx context.Context, s asks) (any, error) { return s.List(ctx, projection, o) }
	}
	count := func(projection string, o query.CountOptions) func(context.Context, asks) (any, error) {
		return func(ctx context.Context, s asks) (any, error) { return s.Count(ctx, projection, o) }
	}
	lookup := func(projection string, o query.Options, keys ...string) func(context.Context, asks) (any, error) {
		return func(ctx context.Context, s asks) (any, error) { return s.Lookup(ctx, projection, keys, o) }
	}
	point := at.Points()[0]
	point.Sequence += 1_000
	future := events.At(point)
	point.Lineage = "ffff"
	foreign := events.At(point)
	q, one, early := url.QueryEscape, "/v1/models/visits/"+url.PathEscape("<A&07>"), query.Options{At: "early"}
	return []row{
		{"get", get("visits", "<A&07>", query.Options{}), "/v1/models/visits/" + url.PathEscape("<A&07>"), ""},
		{"get at least", get("visits", "<A&07>", query.Options{AtLeast: at}), "/v1/models/visits/" + url.PathEscape("<A&07>") + "?at-least=" + q(at.String()), ""},
		{"get strong", get("visits", "<A&07>", query.Options{Strong: true}), "/v1/models/visits/" + url.PathEscape("<A&07>") + "?consistency=strong", ""},
		{"get what is not there", get("visits", "XXX", query.Options{}), "/v1/models/visits/XXX", projections.ErrNoDocument},
		{"get of nothing", get("ships", "XXX", query.Options{}), "/v1/models/ships/XXX", projections.ErrUnknownProjection},
		{"get what is no key", get("visits", strings.Repeat("k", 3_000), query.Options{}), "/v1/models/visits/" + strings.Repeat("k", 3_000), projections.ErrInvalidKey},
		{"get in the future", get("visits", "<A&07>", query.Options{AtLeast: future, Wait: -1}), "/v1/models/visits/" + url.PathEscape("<A&07>") + "?wait=0s&at-least=" + q(future.String()), projections.ErrNotReached},
		{"get of another history", get("visits", "<A&07>", query.Options{AtLeast: foreign}), "/v1/models/visits/" + url.PathEscape("<A&07>") + "?at-least=" + q(foreign.String()), events.ErrLostPosition},
		{"get twice told", get("visits", "<A&07>", query.Options{AtLeast: at, Strong: true}), "/v1/models/visits/" + url.PathEscape("<A&07>") + "?consistency=strong&at-least=" + q(at.String()), projections.ErrInvalidQuery},
		{"get with a long wait", get("visits", "<A&07>", query.Options{AtLeast: at, Wait: time.Hour}), "/v1/models/visits/" + url.PathEscape("<A&07>") + "?wait=1h0m0s&at-least=" + q(at.String()), projections.ErrInvalidQuery},
		{"lookup", lookup("visits", query.Options{}, "<A&07>", "none", "<A&03>"), "/v1/lookup/visits?key=" + q("<A&07>") + "&key=none&key=" + q("<A&03>"), ""},
		{"lookup at least", lookup("visits", query.Options{AtLeast: at}, "<A&07>"), "/v1/lookup/visits?key=" + q("<A&07>") + "&at-least=" + q(at.String()), ""},
		{"lookup of no keys", lookup("visits", query.Options{}), "/v1/lookup/visits", projections.ErrInvalidQuery},
		{"lookup of an empty key", lookup("visits", query.Options{}, ""), "/v1/lookup/visits?key=", projections.ErrInvalidKey},
		{"list", list("visits", query.ListOptions{}), "/v1/models/visits", ""},
		{"list a little", list("visits", query.ListOptions{Limit: 7}), "/v1/models/visits?limit=7", ""},
		{"list on", list("visits", query.ListOptions{Limit: 7, After: after}), "/v1/models/visits?limit=7&after=" + q(after), ""},
		{"list by an index", list("visits", query.ListOptions{Range: query.Range{Index: "by_flights"}, Limit: 9}), "/v1/models/visits?index=by_flights&limit=9", ""},
		{"list from and to", list("visits", query.ListOptions{Range: query.Range{Index: "by_flights", From: text("2"), To: text("4")}}), "/v1/models/visits?index=by_flights&from=2&to=4", ""},
		{"list downwards", list("visits", query.ListOptions{Range: query.Range{Index: "by_last", Equal: []string{"ö"}, From: text("3")}, Descending: true}), "/v1/models/visits?index=by_last&eq=" + q("ö") + "&from=3&order=desc", ""},
		{"list with another's cursor", list("visits", query.ListOptions{Range: query.Range{Index: "by_last"}, After: after}), "/v1/models/visits?index=by_last&after=" + q(after), projections.ErrInvalidCursor},
		{"list with no cursor of ours", list("visits", query.ListOptions{After: "x"}), "/v1/models/visits?after=x", projections.ErrInvalidCursor},
		{"list too much", list("visits", query.ListOptions{Limit: 1_000_000_000}), "/v1/models/visits?limit=1000000000", projections.ErrInvalidQuery},
		{"list less than nothing", list("visits", query.ListOptions{Limit: -1}), "/v1/models/visits?limit=-1", projections.ErrInvalidQuery},
		{"list by no index", list("visits", query.ListOptions{Range: query.Range{Index: "by_size"}}), "/v1/models/visits?index=by_size", projections.ErrUnknownIndex},
		{"list by what is no number", list("visits", query.ListOptions{Range: query.Range{Index: "by_flights", From: text("many")}}), "/v1/models/visits?index=by_flights&from=many", projections.ErrInvalidQuery},
		{"list of nothing", list("ships", query.ListOptions{}), "/v1/models/ships", projections.ErrUnknownProjection},
		{"count", count("visits", query.CountOptions{}), "/v1/count/visits", ""},
		{"count by an index", count("visits", query.CountOptions{Range: query.Range{Index: "by_last", Equal: []string{"ORD"}}}), "/v1/count/visits?index=by_last&eq=ORD", ""},
		{"count without an index", count("visits", query.CountOptions{Range: query.Range{From: text("3")}}), "/v1/count/visits?from=3", projections.ErrInvalidQuery},
		{"get of a copy", get("visits", "<A&07>", early), one + "?at=early", ""},
		{"get of a copy at least", get("visits", "<A&07>", query.Options{At: "early", AtLeast: at}), one + "?at=early&at-least=" + q(at.String()), ""},
		{"get what a copy has not", get("visits", "XXX", early), "/v1/models/visits/XXX?at=early", projections.ErrNoDocument},
		{"get of a copy in the future", get("visits", "<A&07>", query.Options{At: "early", AtLeast: future}), one + "?at=early&at-least=" + q(future.String()), projections.ErrNotReached},
		{"get strong of a copy", get("visits", "<A&07>", query.Options{At: "early", Strong: true}), one + "?at=early&consistency=strong", projections.ErrInvalidQuery},
		{"get of no copy", get("visits", "<A&07>", query.Options{At: "late"}), one + "?at=late", projections.ErrUnknownCopy},
		{"lookup in a copy", lookup("visits", early, "<A&07>", "none"), "/v1/lookup/visits?key=" + q("<A&07>") + "&key=none&at=early", ""},
		{"list a copy", list("visits", query.ListOptions{Options: early, Limit: 7}), "/v1/models/visits?at=early&limit=7", ""},
		{"list a copy by an index", list("visits", query.ListOptions{Options: early, Range: query.Range{Index: "by_last", Equal: []string{"ö"}}}), "/v1/models/visits?at=early&index=by_last&eq=" + q("ö"), ""},
		{"list a copy with another's cursor", list("visits", query.ListOptions{Options: early, Limit: 7, After: after}), "/v1/models/visits?at=early&limit=7&after=" + q(after), projections.ErrInvalidCursor},
		{"count a copy", count("visits", query.CountOptions{Options: early}), "/v1/count/visits?at=early", ""},
		{"count no copy", count("visits", query.CountOptions{Options: query.Options{At: "Early"}}), "/v1/count/visits?at=Early", projections.ErrUnknownCopy},
		{"status", func(ctx context.Context, s asks) (any, error) { return s.Overview(ctx) }, "/v1/status", ""},
	}
}

// TestReaderHTTPAndNATSAnswerAlike asks each request of a table in three ways. What a lag is as of, and when a projector confirmed its state, are other times at each look.
func TestReaderHTTPAndNATSAnswerAlike(t *testing.T) {
	app, at := newVisited(t)
	nats, err := client.Dial(t.Context(), client.Config{Patience: -1, AttemptTimeout: patience, Regions: []region.Config{app.Address().Config()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nats.Close() })
	first, err := app.Reader().List(t.Context(), "visits", query.ListOptions{Limit: 7})
	if err != nil || first.Next == "" {
		t.Fatalf("%+v, %v", first, err)
	}
	storetest.MakeCopy(t, app.Region().Store(), app.Region().KV(), "visits", "early")
	for _, r := range rows(at, first.Next) {
		t.Run(r.name, func(t *testing.T) {
			read, readErr := r.ask(t.Context(), app.Reader())
			asked, askedErr := r.ask(t.Context(), nats)
			status, body := httpGet(t, app.Address().HTTP+r.path)
			for range 10 { // until no mark comes meanwhile
				again, againErr := r.ask(t.Context(), app.Reader())
				if readErr != nil && againErr != nil && failure.ProblemOf(againErr) == failure.ProblemOf(readErr) ||
					readErr == nil && againErr == nil && alike(encoded(t, again), encoded(t, read)) {
					break
				}
				read, readErr = again, againErr
				asked, askedErr = r.ask(t.Context(), nats)
				status, body = httpGet(t, app.Address().HTTP+r.path)
			}
			if (readErr != nil) != (r.code != "") {
				t.Fatalf("the reader says %v", readErr)
			}
			if r.code == "" {
				same(t, "over NATS", askedErr, encoded(t, asked), encoded(t, read))
				same(t, "over HTTP", nil, body, encoded(t, read))
				return
			}
			want := failure.ProblemOf(readErr)
			if want.Code != string(r.code) {
				t.Errorf("the reader says %s, want %s", want.Code, r.code)
			}
			if got := failure.ProblemOf(askedErr); got != want {
				t.Errorf("over NATS: %+v\nthe reader: %+v", got, want)
			}
			var got failure.Problem
			if err := json.Unmarshal(body, &got); err != nil || got != want || status != want.Status {
				t.Errorf("over HTTP: %d %s\nthe reader: %+v", status, body, want)
			}
		})
	}
	t.Run("typed", func(t *testing.T) {
		got, answer, err := client.Get[visits](t.Context(), nats, "visits", "<A&07>", query.Options{AtLeast: at})
		want, wantErr := projections.Decode[visits](answer.Document.Fields, answer.Document.Values)
		if err != nil || wantErr != nil || got.Flights != 3 || len(got.Delays) != 3 || !got.To.Has("JFK") || !got.To.Has("<all>") || !reflect.DeepEqual(got, want) {
			t.Errorf("it is %+v, %v", got, err)
		}
		many, _, err := client.GetMany[visits](t.Context(), nats, "visits", []string{"<A&07>", "none"}, query.Options{})
		if err != nil || len(many) != 2 || !reflect.DeepEqual(many[0].Document, got) || !many[1].Missing {
			t.Errorf("they are %+v, %v", many, err)
		}
		n := 0
		for d, err := range client.All[visits](t.Context(), nats, "visits", query.ListOptions{Limit: 7, Range: query.Range{Index: "by_flights", From: text("2")}}) {
			if n++; err != nil || d.Document.Flights < 2 || len(d.Document.Delays) != int(d.Document.Flights) {
				t.Fatalf("it is %+v, %v", d, err)
			}
		}
		if n != 32 {
			t.Errorf("%d are listed", n)
		}
	})
	t.Run("watch", func(t *testing.T) { watchesAlike(t, app, nats, first.Watch) })
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(text.Bytes())
}

// same compares two answers, but for times.
func same(t *testing.T, how string, err error, got, want []byte) {
	t.Helper()
	if err != nil || !alike(got, want) {
		t.Errorf("%s it is\n%s, %v\nthe reader's is\n%s", how, got, err, want)
	}
}

// alike reports whether two answers are the same, but for times.
func alike(one, other []byte) bool {
	var a, b any
	return json.Unmarshal(one, &a) == nil && json.Unmarshal(other, &b) == nil && reflect.DeepEqual(timeless(a), timeless(b))
}

// timeless removes times from what was JSON.
func timeless(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if text, is := v["at"].(string); is { // of a lag, and not the name of a copy
			if _, err := time.Parse(time.RFC3339Nano, text); err == nil {
				delete(v, "at")
			}
		}
		for name := range v {
			v[name] = timeless(v[name])
		}
	case []any:
		for i := range v {
			v[i] = timeless(v[i])
		}
	}
	return v
}

func httpGet(t *testing.T, url string) (status int, body []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

// changes collects what a watch tells until it has seen an update without changes.
func changes(t *testing.T, updates iter.Seq2[query.Update, error]) (all []query.Change) {
	t.Helper()
	for u, err := range updates {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u.Changes...)
		if len(u.Changes) == 0 {
			break
		}
	}
	return all
}

// watchesAlike watches from a token, after one more event. The ends of a watch that cannot go on are alike, too.
func watchesAlike(t *testing.T, app *up.App, nats *client.Regions, token string) {
	at := publish(t, app)
	if _, err := app.Reader().Get(t.Context(), "visits", "ORD", query.Options{AtLeast: at}); err != nil {
		t.Fatal(err)
	}
	o := query.WatchOptions{From: token, Heartbeat: 100 * time.Millisecond}
	read := changes(t, app.Reader().Watch(t.Context(), "visits", o))
	if len(read) != 1 || read[0].Key != "ORD" {
		t.Fatalf("the reader tells %+v", read)
	}
	var asked []client.Change[query.Document]
	for step, err := range nats.Watch(t.Context(), "visits", client.WatchOptions{From: token, Region: "us", Heartbeat: o.Heartbeat}) {
		if err != nil || step.Reset {
			t.Fatalf("%+v, %v", step, err)
		}
		asked = append(asked, step.Changes...)
		if len(step.Changes) == 0 {
			break
		}
	}
	if len(asked) != 1 || asked[0].Key != "ORD" || !reflect.DeepEqual(asked[0].Document, read[0].Document) {
		t.Errorf("over NATS it is %+v", asked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, app.Address().HTTP+"/v1/watch/visits?heartbeat=100ms&token="+token, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var told []byte
	buffer := make([]byte, 4<<10)
	for !slices.Contains(strings.Split(string(told), "\n"), "event: position") {
		n, err := response.Body.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, buffer[:n]...)
	}
	if !strings.Contains(string(told), "data: "+string(encoded(t, read[0]))+"\n") {
		t.Errorf("over HTTP it is %s", told)
	}
	var ends []failure.Problem
	for _, err := range app.Reader().Watch(t.Context(), "visits", query.WatchOptions{From: "x"}) {
		ends = append(ends, failure.ProblemOf(err))
	}
	for _, err := range nats.Watch(t.Context(), "visits", client.WatchOptions{From: "x", Region: "us"}) {
		ends = append(ends, failure.ProblemOf(err))
	}
	_, body := httpGet(t, app.Address().HTTP+"/v1/watch/visits?token=x")
	var end failure.Problem
	if err := errors.Join(json.Unmarshal(body, &end)); err != nil {
		t.Fatal(err)
	}
	if ends = append(ends, end); len(ends) != 3 || ends[0].Code != string(projections.ErrInvalidCursor) || ends[1] != ends[0] || ends[2] != ends[0] {
		t.Errorf("the ends are %+v", ends)
	}
}
