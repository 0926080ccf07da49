package query_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

func TestATokenThatIsTooOldSaysSo(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(10)
		f := &follower{s: s}
		defer f.end()
		if err := f.list(); err != nil {
			t.Fatal(err)
		}
		var last events.Position
		for i := range 2*projections.ChangeEntries + 100 {
			last = s.set("k001", thing{Rank: int64(10_000 + i)})
			synctest.Wait() // each is a commit of its own
		}
		s.settled(last)
		f.watch(query.WatchOptions{})
		_, err := f.take()
		wants(t, err, projections.ErrResync)
		if !strings.Contains(err.Error(), "List") {
			t.Errorf("it does not say what to do: %v", err)
		}
	})
}

// first returns the error that a watch begins with.
func (r *region) first(projection string, o query.WatchOptions) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, err := range r.reader.Watch(ctx, projection, o) {
		return err
	}
	return errors.New("the watch ended without a word")
}

func TestATokenThatIsNoneHereIsRefused(t *testing.T) {
	onQuietShelf(t, func(s *shelf) {
		s.fill(10)
		page, err := s.reader.List(context.Background(), "things", query.ListOptions{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.first("things", query.WatchOptions{From: page.Watch}); err != nil {
			t.Errorf("a good one: %v", err)
		}
		info, err := s.log.Info(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		token := func(region, projection, generation, position string) string {
			return query.Seal('w', region, projection, generation, position)
		}
		here := info.Head().String()
		for name, c := range map[string]struct {
			token string
			code  events.Code
		}{
			"no token":               {"yesterday", projections.ErrInvalidCursor},
			"a cursor":               {page.Next, projections.ErrInvalidCursor},
			"half a token":           {page.Watch[:len(page.Watch)/2], projections.ErrInvalidCursor},
			"no position":            {token("us", "things", "1", ""), projections.ErrInvalidCursor},
			"a malformed position":   {token("us", "things", "1", "here"), projections.ErrInvalidCursor},
			"two positions":          {token("us", "things", "1", "eu.abcd@1:3,"+here), projections.ErrResync},
			"no generation":          {token("us", "things", "0", here), projections.ErrInvalidCursor},
			"a generation of words":  {token("us", "things", "first", here), projections.ErrInvalidCursor},
			"another projection":     {token("us", "airports", "1", here), projections.ErrInvalidCursor},
			"another region":         {token("eu", "things", "1", here), projections.ErrResync},
			"another generation":     {token("us", "things", "9", here), projections.ErrResync},
			"another history":        {token("us", "things", "1", "us.ffff@1:3"), projections.ErrResync},
			"another origin":         {token("us", "things", "1", "eu.7f3a11d2@1:3"), projections.ErrResync},
			"the future":             {token("us", "things", "1", "us.7f3a11d2@1:1000000"), projections.ErrResync},
			"a term that is to come": {token("us", "things", "1", "us.7f3a11d2@2:5"), projections.ErrResync},
		} {
			if err := s.first("things", query.WatchOptions{From: c.token}); !isCode(err, c.code) {
				t.Errorf("%s: %v, want %s", name, err, c.code)
			}
		}
		wants(t, s.first("nothing", query.WatchOptions{}), projections.ErrUnknownProjection)
		wants(t, s.first("nothing", query.WatchOptions{From: token("us", "nothing", "1", here)}), projections.ErrUnknownProjection)
		for _, h := range []time.Duration{-1, time.Millisecond, time.Hour} {
			wants(t, s.first("things", query.WatchOptions{Heartbeat: h}), projections.ErrInvalidQuery)
		}
		s.log.Truncate(3) // the log lost its end, and the token is of there
		pass(time.Second)
		wants(t, s.first("things", query.WatchOptions{From: page.Watch}), projections.ErrResync)
	})
}
