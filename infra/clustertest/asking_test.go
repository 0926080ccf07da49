package clustertest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

const (
	// maxAnswers bounds what the askers remember.
	maxAnswers = 100_000
	askEvery   = 2 * time.Millisecond
	askWait    = 200 * time.Millisecond
	// wentBack is how many sequences an answer is behind an earlier one to be counted as old.
	wentBack = 200
)

// answer is what a query was told. Whether that was true is known when the whole log is.
type answer struct {
	key     string
	at      uint64
	atLeast uint64
	found   bool
	doc     tally
	page    map[string]tally // of a listing
	code    events.Code      // of a refusal
}

// askers put queries without end and remember what they were told.
type askers struct {
	mu      sync.Mutex
	answers []answer
	refused map[events.Code]int
	slowest time.Duration
	stop    []func()
}

// ask begins to ask for documents with and without a position, and for listings. written is the sequence acknowledged last.
func (r *region) ask(keys []string, written *atomic.Uint64) *askers {
	a := &askers{refused: make(map[events.Code]int)}
	info, err := r.log.Info(r.t.Context())
	must(r.t, err)
	for kind, one := range []func(context.Context, int) answer{
		func(ctx context.Context, i int) answer { return r.get(ctx, keys[i%len(keys)], info, 0) },
		func(ctx context.Context, i int) answer { return r.get(ctx, keys[i%len(keys)], info, written.Load()) },
		func(ctx context.Context, _ int) answer { return r.list(ctx) },
	} {
		a.stop = append(a.stop, background(r.t, func(ctx context.Context) {
			tick := time.NewTicker(askEvery * time.Duration(1+kind*kind))
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				begun := time.Now()
				if one := one(ctx, i); ctx.Err() == nil {
					a.add(one, time.Since(begun))
				}
			}
		}))
	}
	return a
}

func (a *askers) add(one answer, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.slowest = max(a.slowest, took)
	if one.code != "" {
		a.refused[one.code]++
	}
	if len(a.answers) < maxAnswers {
		a.answers = append(a.answers, one)
	}
}

func (r *region) get(ctx context.Context, key string, info events.Info, atLeast uint64) answer {
	o := query.Options{Wait: askWait}
	if atLeast > 0 {
		o.AtLeast = info.Position(atLeast)
	}
	got, err := r.reader.Get(ctx, tallies, key, o)
	a := answer{key: key, atLeast: atLeast, at: r.sequence(got.Position)}
	switch {
	case err == nil:
		a.found = true
		a.doc, err = projections.Decode[tally](got.Document.Fields, got.Document.Values)
	case errors.Is(err, projections.ErrNoDocument):
		return a
	}
	a.code = codeOf(err)
	return a
}

func (r *region) list(ctx context.Context) answer {
	page, err := r.reader.List(ctx, tallies, query.ListOptions{Limit: query.MaxLimit})
	a := answer{at: r.sequence(page.Position), page: make(map[string]tally), code: codeOf(err)}
	for _, i := range page.Items {
		doc, err := projections.Decode[tally](i.Document.Fields, i.Document.Values)
		if err != nil {
			a.code = codeOf(err)
		}
		a.page[i.Key] = doc
	}
	return a
}

func (r *region) sequence(p events.Position) uint64 {
	point, _ := p.Point(r.origin)
	return point.Sequence
}

func codeOf(err error) events.Code {
	if err == nil {
		return ""
	}
	if code, ok := events.CodeOf(err); ok {
		return code
	}
	return events.Code(err.Error())
}

// honest are the refusals that are true while something is broken.
func honest(c events.Code) bool {
	return slices.Contains([]events.Code{projections.ErrUnavailable, projections.ErrStoreUnreachable, projections.ErrNotReached, events.ErrUnreachable}, c)
}

// weigh ends the asking and compares every answer with the history.
func (a *askers) weigh(t testing.TB, h history) {
	t.Helper()
	for _, stop := range a.stop {
		stop()
	}
	lies, found, absent, listed, back := 0, 0, 0, 0, 0
	var latest uint64
	for _, one := range a.answers {
		if one.code == "" && one.at+wentBack < latest {
			back++
		}
		latest = max(latest, one.at)
		wrong := one.wrong(h)
		switch {
		case wrong != "":
			if lies++; lies <= 10 {
				t.Errorf("a query was told what is not so: %s", wrong)
			}
		case one.code != "":
		case one.page != nil:
			listed++
		case one.found:
			found++
		default:
			absent++
		}
	}
	if found == 0 || listed == 0 {
		t.Errorf("nobody was told anything: %d documents, %d listings", found, listed)
	}
	var refused []string
	for _, code := range slices.Sorted(maps.Keys(a.refused)) {
		refused = append(refused, fmt.Sprintf("%d %s", a.refused[code], code))
	}
	t.Logf("asked %d times: %d documents, %d times none, %d listings, %d of them true long before; refused: %s; untrue: %d; the slowest took %s",
		len(a.answers), found, absent, listed, back, strings.Join(refused, ", "), lies, a.slowest.Round(time.Millisecond))
}

// wrong says what is wrong with an answer, or nothing.
func (a answer) wrong(h history) string {
	switch {
	case a.code != "":
		if honest(a.code) {
			return ""
		}
		return fmt.Sprintf("refused with %s", a.code)
	case a.at > h.head:
		return fmt.Sprintf("%s at %d, and the log ends at %d", a.key, a.at, h.head)
	case a.at < a.atLeast:
		return fmt.Sprintf("%s at %d, and %d was asked for", a.key, a.at, a.atLeast)
	case a.page != nil:
		return a.wrongPage(h)
	}
	want, exists := h.at(a.key, a.at)
	if a.found != exists || a.doc != want {
		return fmt.Sprintf("%s at %d is %+v (there: %v), but it is %+v (there: %v)", a.key, a.at, a.doc, a.found, want, exists)
	}
	return ""
}

// wrongPage: every document that existed at the page's position is there, as it was then or later.
func (a answer) wrongPage(h history) string {
	for key, states := range h.states {
		if states[0].seq > a.at {
			continue
		}
		doc, there := a.page[key]
		if !there {
			return fmt.Sprintf("a listing at %d has no %s, which exists since %d", a.at, key, states[0].seq)
		}
		if !slices.ContainsFunc(states[h.index(key, a.at):], func(s state) bool { return s.doc == doc }) {
			return fmt.Sprintf("a listing at %d has %s as %+v, which it never was from there on", a.at, key, doc)
		}
	}
	return ""
}

// index returns which state of a document is that of a position.
func (h history) index(key string, seq uint64) int {
	i, _ := slices.BinarySearchFunc(h.states[key], seq+1, func(s state, seq uint64) int {
		if s.seq < seq {
			return -1
		}
		return 1
	})
	return max(0, i-1)
}
