package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// pages is a source of documents 00 to 99 in pages. It fails as it is told.
type pages struct {
	client.Source
	fail func(o query.ListOptions) error
	most int
}

type number struct{ N int64 }

func item(key string, n string) query.Item {
	return query.Item{Key: key, Document: query.Document{Fields: []projections.Field{{Name: "n", Kind: projections.KindInt}}, Values: []string{n}}}
}

func (p *pages) List(_ context.Context, _ string, o query.ListOptions) (query.Page, error) {
	if err := p.fail(o); err != nil {
		return query.Page{}, err
	}
	p.most = max(p.most, o.Limit)
	from := 0
	if o.After != "" {
		from, _ = strconv.Atoi(strings.TrimPrefix(o.After, "behind "))
		from++
	}
	var page query.Page
	for i := from; i < min(from+o.Limit, 100); i++ {
		page.Items = append(page.Items, item(fmt.Sprintf("%02d", i), strconv.Itoa(i)))
		page.Next = fmt.Sprint("behind ", i)
	}
	if from+o.Limit >= 100 {
		page.Next = ""
	}
	return page, nil
}

func (p *pages) Lookup(_ context.Context, _ string, keys []string, _ query.Options) (query.Documents, error) {
	var d query.Documents
	for _, key := range keys {
		if key == "none" {
			d.Items = append(d.Items, query.Item{Key: key, Missing: true})
			continue
		}
		one := item(key, key)
		one.Parked = "at 7"
		d.Items = append(d.Items, one)
	}
	return d, nil
}

func collect(p *pages, o query.ListOptions) (keys []string, err error) {
	for d, err := range client.All[number](context.Background(), p, "numbers", o) {
		if err != nil {
			return keys, err
		}
		if want := fmt.Sprintf("%02d", d.Document.N); d.Key != want {
			return keys, fmt.Errorf("the document of %s is %+v", d.Key, d)
		}
		keys = append(keys, d.Key)
	}
	return keys, nil
}

func everyNumber() (keys []string) {
	for i := range 100 {
		keys = append(keys, fmt.Sprintf("%02d", i))
	}
	return keys
}

func TestAListingGoesThroughAllPages(t *testing.T) {
	p := &pages{fail: func(query.ListOptions) error { return nil }}
	for _, limit := range []int{1, 7, 50, 100, 1_000} {
		if keys, err := collect(p, query.ListOptions{Limit: limit}); err != nil || !slices.Equal(keys, everyNumber()) {
			t.Errorf("in pages of %d: %v, %v", limit, keys, err)
		}
	}
	n := 0
	for _, err := range client.All[number](t.Context(), p, "numbers", query.ListOptions{Limit: 7}) {
		if n++; err != nil || n == 10 {
			break
		}
	}
	if n != 10 {
		t.Errorf("it went on for %d", n)
	}
}

// TestAListingOfAReadModelThatIsReplacedGoesOnBehindTheLastKey is told to begin anew in the middle, again and again.
func TestAListingOfAReadModelThatIsReplacedGoesOnBehindTheLastKey(t *testing.T) {
	asked := 0
	p := &pages{fail: func(o query.ListOptions) error {
		if asked++; o.After != "" && (asked == 3 || asked == 5 || asked == 11) {
			return events.Errorf(projections.ErrResync, "the generation was replaced")
		}
		return nil
	}}
	if keys, err := collect(p, query.ListOptions{Limit: 20}); err != nil || !slices.Equal(keys, everyNumber()) || asked < 8 {
		t.Errorf("after %d questions: %v, %v", asked, keys, err)
	}
	asked = 0
	if keys, err := collect(p, query.ListOptions{Limit: 20, Range: query.Range{Index: "by_n"}}); !errors.Is(err, projections.ErrResync) || len(keys) != 40 {
		t.Errorf("by an index: %v, %v", keys, err)
	}
	asked = 0
	p.fail = func(o query.ListOptions) error { // it never comes further than the first page
		if asked++; o.After != "" {
			return events.Errorf(projections.ErrResync, "again and again")
		}
		return nil
	}
	if keys, err := collect(p, query.ListOptions{Limit: 20}); !errors.Is(err, projections.ErrResync) || len(keys) != 20 || asked > 20 {
		t.Errorf("after %d questions: %v, %v", asked, keys, err)
	}
	p.fail = func(query.ListOptions) error { return events.Errorf(projections.ErrResync, "always") }
	if _, err := collect(p, query.ListOptions{Limit: 20, After: "behind 3"}); !errors.Is(err, projections.ErrResync) {
		t.Errorf("a cursor that was good once: %v", err)
	}
}

func TestPagesThatDoNotFitAreMadeSmaller(t *testing.T) {
	p := &pages{fail: func(o query.ListOptions) error {
		if o.Limit == 0 || o.Limit > 6 {
			return events.Errorf(events.ErrTooLarge, "it does not fit")
		}
		return nil
	}}
	for _, limit := range []int{0, 100} {
		if keys, err := collect(p, query.ListOptions{Limit: limit}); err != nil || !slices.Equal(keys, everyNumber()) || p.most != 6 {
			t.Errorf("in pages of %d: %v, %v", p.most, keys, err)
		}
	}
	p.fail = func(query.ListOptions) error { return events.Errorf(events.ErrTooLarge, "nothing fits") }
	if _, err := collect(p, query.ListOptions{}); !errors.Is(err, events.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestSeveralDocumentsAreTypedInTheirOrder(t *testing.T) {
	docs, _, err := client.GetMany[number](t.Context(), &pages{}, "numbers", []string{"7", "none", "3"}, query.Options{})
	want := []client.Doc[number]{{Key: "7", Document: number{7}, Parked: "at 7"}, {Key: "none", Missing: true}, {Key: "3", Document: number{3}, Parked: "at 7"}}
	if err != nil || !slices.Equal(docs, want) {
		t.Errorf("%+v, %v", docs, err)
	}
	if _, _, err := client.GetMany[struct{ Other string }](t.Context(), &pages{}, "numbers", []string{"7"}, query.Options{}); !errors.Is(err, projections.ErrInvalidQuery) {
		t.Errorf("got %v", err)
	}
}
