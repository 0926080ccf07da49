package query_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// thing is a document with a field of each kind.
type thing struct {
	Rank int64  `json:"rank"`
	Name string `json:"name"`
	Hot  bool   `json:"hot"`
}

func things() (projections.Projection, error) {
	p, err := projections.New("things", 1,
		projections.On("thing", "Set", func(_ thing, e projections.Event[thing]) (thing, error) {
			if e.Data.Rank == unfit {
				return thing{}, fmt.Errorf("it does not fit")
			}
			return *e.Data, nil
		}),
		projections.On("thing", "Gone", func(t thing, _ projections.Event[struct{}]) (thing, error) { return t, projections.Delete }))
	if err != nil {
		return nil, err
	}
	return p.Indexed(
		projections.Index{Name: "rank", Fields: []string{"rank"}}, projections.Index{Name: "name", Fields: []string{"name"}},
		projections.Index{Name: "hot_rank", Fields: []string{"hot", "rank"}}, projections.Index{Name: "all", Fields: []string{"name", "hot", "rank"}})
}

// unfit is the rank with which an event cannot be applied.
const unfit = 666

// shelf is a region with the projection of things, and what it should hold.
type shelf struct {
	*region
	held   map[string]thing
	random *rand.Rand
}

func onShelf(t *testing.T, seed uint64, test func(s *shelf)) {
	t.Helper()
	inRegion(t, func(r *region) {
		p, err := things()
		if err != nil {
			t.Fatal(err)
		}
		r.project(p)
		test(newShelf(r, seed))
	})
}

func newShelf(r *region, seed uint64) *shelf {
	return &shelf{region: r, held: map[string]thing{}, random: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // a seeded test
}

func (s *shelf) set(key string, v thing) events.Position {
	s.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	s.held[key] = v
	return s.emit("Set", key, data)
}

func (s *shelf) remove(key string) events.Position {
	s.t.Helper()
	delete(s.held, key)
	return s.emit("Gone", key, []byte("{}"))
}

func (s *shelf) emit(typ, key string, data []byte) events.Position {
	s.t.Helper()
	s.stored++
	receipt, err := s.log.Append(context.Background(), events.Batch{Events: []events.Event{{
		ID: fmt.Sprint(s.stored), Source: "urn:test", Type: typ, Entity: events.Entity{Type: "thing", ID: key}, Data: data,
	}}})
	if err != nil {
		s.t.Fatal(err)
	}
	return receipt.Position
}

// settled waits until the read model of things is at a position.
func (s *shelf) settled(p events.Position) {
	s.t.Helper()
	s.until(func() bool {
		_, err := s.reader.List(context.Background(), "things", query.ListOptions{Options: query.Options{AtLeast: p, Wait: time.Minute}, Limit: 1})
		return err == nil
	})
}

func (s *shelf) anything() thing {
	names := []string{"", "a", "aa", "ab", "b", "a\x00", "a\x00b", "\x00", "ü", "\U0010ffff", strings.Repeat("x", 1024), strings.Repeat("x", 1025), strings.Repeat("x", 1025) + "y"}
	ranks := []int64{0, 1, -1, 7, 7, 7, 99, -99, 1 << 62, -1 << 63, 1<<63 - 1}
	return thing{Rank: ranks[s.random.IntN(len(ranks))], Name: names[s.random.IntN(len(names))], Hot: s.random.IntN(2) == 0}
}

func (s *shelf) fill(n int) {
	s.t.Helper()
	var last events.Position
	for i := range n {
		last = s.set(fmt.Sprintf("k%03d", i), s.anything())
	}
	s.settled(last)
}

// fields of the indexes, in order.
func fieldsOf(index string) []string {
	return map[string][]string{"rank": {"rank"}, "name": {"name"}, "hot_rank": {"hot", "rank"}, "all": {"name", "hot", "rank"}, "": {}}[index]
}

// compareField compares two documents by a field; texts as an index does: beyond 1,024 bytes they are in no order that matters.
func compareField(field string, a, b thing) int {
	switch field {
	case "rank":
		return cmp.Compare(a.Rank, b.Rank)
	case "name":
		return cmp.Or(strings.Compare(a.Name[:min(len(a.Name), 1024)], b.Name[:min(len(b.Name), 1024)]), cmp.Compare(min(len(a.Name), 1025), min(len(b.Name), 1025)))
	default:
		return strings.Compare(strconv.FormatBool(a.Hot), strconv.FormatBool(b.Hot))
	}
}

func valueOf(field string, v thing) string {
	switch field {
	case "rank":
		return strconv.FormatInt(v.Rank, 10)
	case "name":
		return v.Name
	default:
		return strconv.FormatBool(v.Hot)
	}
}

// within reports whether a document is in a range.
func within(x query.Range, v thing) bool {
	fields := fieldsOf(x.Index)
	for i, want := range x.Equal {
		if valueOf(fields[i], v) != want {
			return false
		}
	}
	compare := func(bound string) int {
		var b thing
		field := fields[len(x.Equal)]
		switch field {
		case "rank":
			b.Rank, _ = strconv.ParseInt(bound, 10, 64)
		case "name":
			b.Name = bound
			if len(v.Name) > 1024 && v.Name[:1024] == bound {
				return 1
			}
		default:
			b.Hot = bound == "true"
		}
		return compareField(field, v, b)
	}
	return (x.From == nil || compare(*x.From) >= 0) && (x.To == nil || compare(*x.To) < 0)
}

// someRange returns a range that makes sense.
func (s *shelf) someRange() query.Range {
	x := query.Range{Index: []string{"rank", "name", "hot_rank", "all"}[s.random.IntN(4)]}
	fields := fieldsOf(x.Index)
	for i := range s.random.IntN(len(fields) + 1) {
		x.Equal = append(x.Equal, valueOf(fields[i], s.anything()))
	}
	if len(x.Equal) == len(fields) {
		return x
	}
	bound := func() *string {
		v := s.anything()
		if s.random.IntN(2) == 0 || len(v.Name) > 1024 {
			return nil
		}
		text := valueOf(fields[len(x.Equal)], v)
		return &text
	}
	x.From, x.To = bound(), bound()
	return x
}

// all goes through a whole listing.
func (s *shelf) all(x query.Range, descending bool, limit int, between func()) []query.Item {
	s.t.Helper()
	var items []query.Item
	for after := ""; ; {
		page, err := s.reader.List(context.Background(), "things", query.ListOptions{Range: x, Descending: descending, Limit: limit, After: after})
		if err != nil {
			s.t.Fatalf("%+v: %v", x, err)
		}
		if len(page.Items) > limit || page.Next == after && after != "" {
			s.t.Fatalf("a page of %d has %d items, and goes on where it did", limit, len(page.Items))
		}
		items = append(items, page.Items...)
		if after = page.Next; after == "" {
			return items
		}
		between()
	}
}

func show(x query.Range) string {
	text, err := json.Marshal(x)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// ordered fails unless items are in the order of an index, and then of their keys.
func (s *shelf) ordered(x query.Range, descending bool, items []query.Item) {
	s.t.Helper()
	for i := 1; i < len(items); i++ {
		a, b := decodeThing(s.t, items[i-1]), decodeThing(s.t, items[i])
		if descending {
			a, b = b, a
		}
		order := 0
		for _, f := range fieldsOf(x.Index) {
			if order == 0 {
				order = compareField(f, a, b)
			}
			if f == "name" && len(a.Name) > 1024 && len(b.Name) > 1024 && a.Name != b.Name {
				order = -1 // in no order that matters
			}
		}
		if order > 0 || order == 0 && (items[i-1].Key > items[i].Key) != descending {
			s.t.Fatalf("%s, descending %t: %s with %.50v comes before %s with %.50v", show(x), descending, items[i-1].Key, a, items[i].Key, b)
		}
	}
}

func decodeThing(t *testing.T, item query.Item) thing {
	t.Helper()
	v, err := projections.Decode[thing](item.Document.Fields, item.Document.Values)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAnIndexListsExactlyWhatIsInTheRangeInItsOrder(t *testing.T) {
	onShelf(t, 1, func(s *shelf) {
		s.fill(120)
		for key := range maps.Clone(s.held) { // they come and go, and what they leave behind in an index would show
			switch s.random.IntN(4) {
			case 0:
				s.settled(s.remove(key))
			case 1:
				s.settled(s.set(key, s.anything()))
			}
		}
		for n := range 400 {
			x, descending, limit := s.someRange(), s.random.IntN(2) == 0, []int{1, 2, 3, 7, 50, 1_000}[s.random.IntN(6)]
			if n == 0 {
				x = query.Range{Index: "all"}
			}
			items := s.all(x, descending, limit, func() {})
			s.ordered(x, descending, items)
			seen := map[string]bool{}
			for _, item := range items {
				if v := decodeThing(t, item); seen[item.Key] || v != s.held[item.Key] || !within(x, v) {
					t.Fatalf("%s lists %s with %.80v", show(x), item.Key, v)
				}
				seen[item.Key] = true
			}
			want := 0
			for key, v := range s.held {
				if within(x, v) {
					if want++; !seen[key] {
						t.Fatalf("%s lacks %s with %.80v", show(x), key, v)
					}
				}
			}
			c, err := s.reader.Count(context.Background(), "things", query.CountOptions{Range: x})
			if err != nil || c.Count != uint64(want) || c.ETag == "" || c.Lag == nil || c.Index != x.Index || c.Generation != 1 {
				t.Fatalf("%s counts %+v, %v, want %d", show(x), c, err, want)
			}
		}
		c, err := s.reader.Count(context.Background(), "things", query.CountOptions{})
		if err != nil || c.Count != uint64(len(s.held)) {
			t.Errorf("there are %d, and it counts %+v, %v", len(s.held), c, err)
		}
	})
}

// restless is a store in which documents change between the reading of an index and of the documents, as they may in one that is not in memory.
type restless struct {
	projections.Store
	one     chan struct{} // of those who read at the same time; a mutex would stop the bubble's clock
	between func()
}

func (r *restless) Find(
	ctx context.Context, g projections.Generation, def *projections.Definition, partition int, q projections.IndexQuery,
) (projections.Header, []projections.Found, error) {
	h, found, err := r.Store.Find(ctx, g, def, partition, q)
	if err != nil || len(found) == 0 {
		return h, found, err
	}
	r.one <- struct{}{}
	r.between()
	<-r.one
	refs := make([]projections.Ref, len(found))
	for i := range found {
		refs[i] = projections.Ref{Partition: partition, Key: found[i].Key}
	}
	documents, err := r.Load(ctx, g, def, refs)
	out := found[:0]
	for i, d := range documents {
		if d != nil {
			out = append(out, projections.Found{Value: found[i].Value, Document: *d})
		}
	}
	return h, out, err
}

// TestADocumentThatStaysIsListedOnceWhateverElseIsWritten: others move up and down, come and go, between the pages and in the middle of them.
func TestADocumentThatStaysIsListedOnceWhateverElseIsWritten(t *testing.T) {
	for seed := range uint64(20) {
		onShelf(t, seed, func(s *shelf) {
			s.fill(60)
			staying := maps.Clone(s.held)
			move := func() {
				for range s.random.IntN(3) {
					key := fmt.Sprintf("m%02d", s.random.IntN(30))
					if _, there := s.held[key]; there && s.random.IntN(3) == 0 {
						s.remove(key)
						continue
					}
					s.settled(s.set(key, s.anything()))
				}
			}
			for range 30 {
				move()
			}
			calm := s.reader
			s.reader = query.New("us", &restless{Store: s.store, one: make(chan struct{}, 1), between: func() {
				r := s.reader
				s.reader = calm // to wait for what is written
				move()
				s.reader = r
			}}, s.kv, query.NewHeads(s.asked))
			for range 10 {
				x, descending, limit := s.someRange(), s.random.IntN(2) == 0, 1+s.random.IntN(12)
				items := s.all(x, descending, limit, func() {})
				s.ordered(x, descending, items)
				seen := map[string]int{}
				for _, item := range items {
					seen[item.Key]++
					if v := decodeThing(t, item); !within(x, v) {
						t.Fatalf("seed %d: %s lists %s, which is %.80v by now", seed, show(x), item.Key, v)
					}
				}
				for key, v := range staying {
					if in := within(x, v); in && seen[key] != 1 || !in && seen[key] != 0 {
						t.Fatalf("seed %d: %s, descending %t, in pages of %d, lists %s with %.80v %d times", seed, show(x), descending, limit, key, v, seen[key])
					}
				}
			}
		})
	}
}

func text(s string) *string { return &s }

func TestAQueryOfAnIndexThatMakesNoSenseIsRefused(t *testing.T) {
	onShelf(t, 1, func(s *shelf) {
		s.fill(20)
		for name, c := range map[string]struct {
			x    query.Range
			code events.Code
		}{
			"an unknown index":           {query.Range{Index: "colour"}, projections.ErrUnknownIndex},
			"one of another name":        {query.Range{Index: "Rank"}, projections.ErrUnknownIndex},
			"a value and no index":       {query.Range{Equal: []string{"1"}}, projections.ErrInvalidQuery},
			"a bound and no index":       {query.Range{To: text("1")}, projections.ErrInvalidQuery},
			"text for a number":          {query.Range{Index: "rank", Equal: []string{"many"}}, projections.ErrInvalidQuery},
			"a fraction":                 {query.Range{Index: "rank", From: text("1.5")}, projections.ErrInvalidQuery},
			"a number beyond 64 bits":    {query.Range{Index: "rank", To: text("9223372036854775808")}, projections.ErrInvalidQuery},
			"an empty number":            {query.Range{Index: "rank", To: text("")}, projections.ErrInvalidQuery},
			"a number for a truth":       {query.Range{Index: "hot_rank", Equal: []string{"1"}}, projections.ErrInvalidQuery},
			"more values than fields":    {query.Range{Index: "rank", Equal: []string{"1", "2"}}, projections.ErrInvalidQuery},
			"a bound behind all fields":  {query.Range{Index: "rank", Equal: []string{"1"}, From: text("2")}, projections.ErrInvalidQuery},
			"a bound that is too long":   {query.Range{Index: "name", From: text(strings.Repeat("x", 1025))}, projections.ErrInvalidQuery},
			"a value that is no text":    {query.Range{Index: "name", Equal: []string{"\xff"}}, projections.ErrInvalidQuery},
			"a bound that is no text":    {query.Range{Index: "name", To: text("\xff")}, projections.ErrInvalidQuery},
			"a place of the parked ones": {query.Range{Index: projections.ParkedIndexName, Equal: []string{"us.7f3a@1:2"}}, projections.ErrInvalidQuery},
		} {
			page, err := s.reader.List(context.Background(), "things", query.ListOptions{Range: c.x})
			if got, _ := events.CodeOf(err); got != c.code || len(page.Items) > 0 {
				t.Errorf("%s: %v, want %s", name, err, c.code)
			}
			if _, err := s.reader.Count(context.Background(), "things", query.CountOptions{Range: c.x}); !isCode(err, c.code) {
				t.Errorf("%s: counting: %v, want %s", name, err, c.code)
			}
		}
		_, err := s.reader.List(context.Background(), "things", query.ListOptions{Descending: true})
		wants(t, err, projections.ErrInvalidQuery)
		if page, err := s.reader.List(context.Background(), "things", query.ListOptions{Range: query.Range{Index: "rank", From: text("8"), To: text("2")}}); err != nil || len(page.Items) > 0 {
			t.Errorf("a range that ends before it begins: %+v, %v", page, err)
		}
	})
}

func isCode(err error, code events.Code) bool {
	got, _ := events.CodeOf(err)
	return got == code
}

func TestACursorHoldsForItsOwnQueryOnly(t *testing.T) {
	onShelf(t, 1, func(s *shelf) {
		s.fill(40)
		queries := []query.ListOptions{
			{},
			{Range: query.Range{Index: "rank"}},
			{Range: query.Range{Index: "rank"}, Descending: true},
			{Range: query.Range{Index: "rank", From: text("-100")}},
			{Range: query.Range{Index: "rank", To: text("-100")}},
			{Range: query.Range{Index: "rank", From: text("-9223372036854775808")}},
			{Range: query.Range{Index: "name"}},
			{Range: query.Range{Index: "name", From: text("")}},
			{Range: query.Range{Index: "hot_rank"}},
			{Range: query.Range{Index: "hot_rank", Equal: []string{"true"}}},
			{Range: query.Range{Index: "hot_rank", Equal: []string{"false"}}},
			{Range: query.Range{Index: "all"}},
		}
		cursors := make([]string, len(queries))
		for i, o := range queries {
			o.Limit = 1
			page, err := s.reader.List(context.Background(), "things", o)
			if err != nil {
				t.Fatal(err)
			}
			cursors[i] = page.Next
		}
		for i, o := range queries {
			for j, cursor := range cursors {
				if cursor == "" {
					continue
				}
				o.After = cursor
				_, err := s.reader.List(context.Background(), "things", o)
				if i == j && err != nil {
					t.Errorf("query %d does not take its own cursor: %v", i, err)
				}
				if i != j && !isCode(err, projections.ErrInvalidCursor) {
					t.Errorf("query %d takes the cursor of query %d: %v", i, j, err)
				}
			}
		}
	})
}

func TestParkedDocumentsAreListedByTheirPlace(t *testing.T) {
	onShelf(t, 1, func(s *shelf) {
		s.fill(30)
		var places []string
		for _, key := range []string{"k007", "k021", "k003"} {
			places = append(places, s.set(key, thing{Rank: unfit}).String())
		}
		s.settled(s.remove("k029"))
		x := query.Range{Index: projections.ParkedIndexName}
		items := s.all(x, false, 2, func() {})
		if len(items) != 3 {
			t.Fatalf("%d documents are parked: %+v", len(items), items)
		}
		for i, key := range []string{"k007", "k021", "k003"} {
			if items[i].Key != key || !strings.HasPrefix(items[i].Parked, places[i]+" ") {
				t.Errorf("item %d is %s, parked at %q, want %s at %s", i, items[i].Key, items[i].Parked, key, places[i])
			}
		}
		if c, err := s.reader.Count(context.Background(), "things", query.CountOptions{Range: x}); err != nil || c.Count != 3 {
			t.Errorf("%+v, %v", c, err)
		}
	})
}
