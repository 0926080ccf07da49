package projector_test

import (
	"errors"
	"fmt"
	"testing"

	"tidemark.dev/projections"
)

// The projections under test. Their folds notice every event that is missing, repeated or out of order: chain depends on all of them.

type ledger struct {
	Sum   int64  `json:"sum"`
	Chain int64  `json:"chain"`
	Count int64  `json:"count"`
	Note  string `json:"note"`
	Odd   bool   `json:"odd"`
}

type change struct {
	N   int64  `json:"n"`
	Tag string `json:"tag"`
}

type nothing struct{}

const (
	accountType = "acct"
	otherType   = "misc"

	added     = "Added"
	withdrawn = "Withdrawn"
	closed    = "Closed"
	cleared   = "Cleared"
	ignored   = "Ignored"

	boom  = "boom"   // a tag with which the fold of added panics
	noKey = "no key" // a tag whose key cannot be told, with a panic
)

var errNotEnough = errors.New("there is not enough to withdraw")

func add(version int) func(ledger, projections.Event[change]) (ledger, error) {
	return func(l ledger, e projections.Event[change]) (ledger, error) {
		if e.Data.Tag == boom {
			l.Sum += make([]int64, 0)[l.Count] // panics
		}
		n := e.Data.N * int64(version)
		l.Sum, l.Chain, l.Count = l.Sum+n, l.Chain*31+n, l.Count+1
		l.Note, l.Odd = e.Data.Tag, !l.Odd
		return l, nil
	}
}

// most is the largest change that few applies.
const most = 14

var errTooMuch = errors.New("it is too much at once")

// few is add for small changes only: so it can be that one function applies an event to a document and the next one does not.
func few(version int) func(ledger, projections.Event[change]) (ledger, error) {
	add := add(version)
	return func(l ledger, e projections.Event[change]) (ledger, error) {
		if e.Data.N > most {
			return l, errTooMuch
		}
		return add(l, e)
	}
}

func withdraw(l ledger, e projections.Event[change]) (ledger, error) {
	if l.Sum < e.Data.N {
		return l, errNotEnough
	}
	l.Sum, l.Chain = l.Sum-e.Data.N, l.Chain*31-e.Data.N
	return l, nil
}

func remove[P any](l ledger, _ projections.Event[P]) (ledger, error) { return l, projections.Delete }

func tagOf(e projections.Event[change]) string {
	if e.Data.Tag == noKey {
		panic("there is no key for this tag")
	}
	return e.Data.Tag
}

// kinds of projections: one whose documents are keyed by entity, one keyed anew, and one that is both.
var kinds = []string{"accounts", "tags", "both"}

// indexes are those of all of them.
func indexes() []projections.Index {
	return []projections.Index{{Name: "by_sum", Fields: []string{"sum"}}, {Name: "by_odd_and_note", Fields: []string{"odd", "note"}}}
}

func newProjection(kind string, version int) (projections.Projection, error) {
	plain, err := newPlainProjection(kind, version)
	if err != nil {
		return nil, err
	}
	return plain.Indexed(indexes()...)
}

func newPlainProjection(kind string, version int) (*projections.Typed[ledger], error) {
	switch kind {
	case "accounts":
		return projections.New(kind, version,
			projections.On(accountType, added, add(version)), projections.On(accountType, withdrawn, withdraw),
			projections.On(accountType, closed, remove[nothing]))
	case "tags":
		return projections.New(kind, version,
			projections.OnKey("", added, tagOf, add(version)), projections.OnKey("", cleared, tagOf, remove[change]))
	case "both":
		return projections.New(kind, version,
			projections.On(accountType, added, add(version)), projections.OnKey("", added, tagOf, few(version)),
			projections.On(accountType, closed, remove[nothing]), projections.OnKey("", cleared, tagOf, remove[change]))
	}
	return nil, fmt.Errorf("no projection of kind %q", kind)
}

func mustProjection(t *testing.T, kind string, version int) projections.Projection {
	t.Helper()
	p, err := newProjection(kind, version)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustDefinition(t testing.TB, kind string, version int) *projections.Definition {
	t.Helper()
	p, err := newProjection(kind, version)
	if err != nil {
		t.Fatal(err)
	}
	return p.Definition()
}
