package skips

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// record returns a record under the name of skip records.
func record(seq uint64, data string) *events.Record {
	return &events.Record{Sequence: seq, Kind: events.KindControl, Control: events.Control{Name: Name("airports"), Data: []byte(data)}}
}

// two returns the list after the records at 10 and 20: ORD's event 7, then JFK's 8 and 9.
func two(t *testing.T) *List {
	t.Helper()
	l := &List{}
	for _, r := range []*events.Record{
		record(10, `{"skips":[{"key":"ORD","sequence":7}],"reason":"it carries no distance"}`),
		record(20, `{"skips":[{"key":"ORD","sequence":7,"at":10},{"key":"JFK","sequence":9},{"key":"JFK","sequence":8}]}`),
	} {
		if _, err := l.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func TestRecordsAddUp(t *testing.T) {
	l := &List{}
	if l.Last() != 0 || l.Ignored() != nil || len(l.Skips()) != 0 {
		t.Fatalf("%+v", l)
	}
	added, err := l.Add(record(10, `{"skips":[{"key":"ORD","sequence":7}]}`))
	if want := []Skip{{"ORD", 7, 10}}; err != nil || !reflect.DeepEqual(added, want) || !reflect.DeepEqual(l.Skips(), want) || l.Last() != 10 {
		t.Fatalf("%+v, %v", added, err)
	}
	l = two(t)
	if want := []Skip{{"ORD", 7, 10}, {"JFK", 9, 20}, {"JFK", 8, 20}}; !reflect.DeepEqual(l.Skips(), want) || l.Last() != 20 {
		t.Fatalf("%+v", l)
	}
	for _, c := range []struct {
		key            string
		sequence, upto uint64
		at             uint64
	}{
		{"ORD", 7, 10, 10}, {"ORD", 7, 99, 10}, {"ORD", 7, 9, 0}, {"JFK", 8, 20, 20}, {"JFK", 8, 19, 0}, {"ORD", 8, 99, 0}, {"JFK", 7, 99, 0}, {"jfk", 8, 99, 0},
	} {
		if at, ok := l.Find(c.key, c.sequence, c.upto); at != c.at || ok != (c.at != 0) {
			t.Errorf("%+v: %d %t", c, at, ok)
		}
	}
}

func TestARecordThatIsNotOneIsIgnoredAndSaysWhy(t *testing.T) {
	const inForce = `{"key":"ORD","sequence":7,"at":10},{"key":"JFK","sequence":9,"at":20},{"key":"JFK","sequence":8,"at":20}`
	many := make([]string, MaxSkips)
	for i := range many {
		many[i] = fmt.Sprintf(`{"key":"k%d","sequence":1}`, i)
	}
	malformed, inside := record(30, `{}`), record(30, `{"skips":[`+inForce+`,{"key":"LAX","sequence":25}]}`)
	malformed.Kind, malformed.Reason = events.KindMalformed, "the tm header cannot be read"
	inside.Stamp.Tx = events.Tx{Index: 2, Count: 2}
	for what, c := range map[string]struct {
		r      *events.Record
		reason string
	}{
		"no JSON":            {record(30, `skip it, please`), "not JSON"},
		"no data":            {record(30, ``), "not JSON"},
		"two values":         {record(30, `{"skips":[]} {}`), "not JSON"},
		"a key twice":        {record(30, `{"skips":[],"skips":[]}`), "not JSON"},
		"a list":             {record(30, `[{"key":"LAX","sequence":25}]`), "it is not {"},
		"a text as sequence": {record(30, `{"skips":[`+inForce+`,{"key":"LAX","sequence":"25"}]}`), "it is not {"},
		"a negative one":     {record(30, `{"skips":[`+inForce+`,{"key":"LAX","sequence":-1}]}`), "it is not {"},
		"a fraction":         {record(30, `{"skips":[`+inForce+`,{"key":"LAX","sequence":25.5}]}`), "it is not {"},
		"an unknown member":  {record(30, `{"skips":[`+inForce+`,{"key":"LAX","sequence":25,"until":3}]}`), "it is not {"},
		"too long":           {record(30, `{"skips":[],"reason":"`+strings.Repeat("x", MaxBytes)+`"}`), "over the bound"},
		"too many":           {record(30, `{"skips":[`+inForce+`,`+strings.Join(many, ",")+`]}`), "1003 skips"},
		"nothing at all":     {record(30, `{}`), "forgets or changes"},
		"what is in force":   {record(30, `{"skips":[`+inForce+`]}`), "adds nothing"},
		"only the new one":   {record(30, `{"skips":[{"key":"LAX","sequence":25}]}`), "forgets or changes"},
		"one forgotten":      {record(30, `{"skips":[{"key":"ORD","sequence":7,"at":10},{"key":"JFK","sequence":8,"at":20},{"key":"LAX","sequence":25}]}`), "forgets or changes"},
		"another order":      {record(30, `{"skips":[{"key":"JFK","sequence":9,"at":20},{"key":"ORD","sequence":7,"at":10},{"key":"JFK","sequence":8,"at":20},{"key":"LAX","sequence":25}]}`), "forgets or changes"},
		"another place":      {record(30, `{"skips":[{"key":"ORD","sequence":7,"at":11},{"key":"JFK","sequence":9,"at":20},{"key":"JFK","sequence":8,"at":20},{"key":"LAX","sequence":25}]}`), "forgets or changes"},
		"no place":           {record(30, `{"skips":[{"key":"ORD","sequence":7},{"key":"JFK","sequence":9,"at":20},{"key":"JFK","sequence":8,"at":20},{"key":"LAX","sequence":25}]}`), "forgets or changes"},
		"a place of its own": {record(30, `{"skips":[`+inForce+`,{"key":"LAX","sequence":25,"at":30}]}`), "names a record before it"},
		"no key":             {record(30, `{"skips":[`+inForce+`,{"sequence":25}]}`), "cannot exist"},
		"a long key":         {record(30, `{"skips":[`+inForce+`,{"key":"`+strings.Repeat("x", projections.MaxKeyBytes+1)+`","sequence":25}]}`), "cannot exist"},
		"no event":           {record(30, `{"skips":[`+inForce+`,{"key":"LAX","sequence":0}]}`), "sequence 0"},
		"itself":             {record(30, `{"skips":[`+inForce+`,{"key":"LAX","sequence":30}]}`), "was not in the log before it"},
		"a later event":      {record(30, `{"skips":[`+inForce+`,{"key":"LAX","sequence":31}]}`), "was not in the log before it"},
		"one in force":       {record(30, `{"skips":[`+inForce+`,{"key":"ORD","sequence":7}]}`), "twice"},
		"one twice":          {record(30, `{"skips":[`+inForce+`,{"key":"LAX","sequence":25},{"key":"LAX","sequence":25}]}`), "twice"},
		"malformed":          {malformed, "malformed"},
		"in a transaction":   {inside, "part of a transaction"},
	} {
		l, before := two(t), two(t)
		added, err := l.Add(c.r)
		if !errors.Is(err, projections.ErrInvalidSkip) || !strings.Contains(err.Error(), c.reason) || added != nil {
			t.Errorf("%s: %v, %v", what, added, err)
		}
		if i := l.Ignored(); i == nil || i.Sequence != 30 || !strings.Contains(i.Reason, c.reason) || l.Last() != 30 || !reflect.DeepEqual(l.Skips(), before.Skips()) {
			t.Errorf("%s: %+v", what, l)
		}
		// The next one is measured by what was there before.
		if added, err := l.Add(record(40, `{"skips":[`+inForce+`,{"key":"LAX","sequence":25}]}`)); err != nil || len(added) != 1 || added[0] != (Skip{"LAX", 25, 40}) {
			t.Errorf("%s: then %v, %v", what, added, err)
		}
	}
}

func TestWhatIsWrittenIsObeyed(t *testing.T) {
	l := two(t)
	for i, key := range []string{"LAX", `<&>"\`, "ö \x01\u2028 😀", strings.Repeat("k", projections.MaxKeyBytes)} {
		at := uint64(30 + 10*i)
		data, err := l.with(Skip{Key: key, Sequence: 25}, "because")
		if err != nil {
			t.Fatal(err)
		}
		if added, err := l.Add(record(at, string(data))); err != nil || len(added) != 1 || added[0] != (Skip{key, 25, at}) {
			t.Errorf("%q: %+v, %v", key, added, err)
		}
	}
}

// FuzzList adds any two records: a list never loses or changes what it has, and what it has is what was asked for before.
func FuzzList(f *testing.F) {
	f.Add([]byte(`{"skips":[{"key":"a","sequence":1}]}`), []byte(`{"skips":[{"key":"a","sequence":1,"at":10},{"key":"b","sequence":2}]}`))
	f.Add([]byte(`{"skips":[{"KEY":"a","sequence":1}]}`), []byte(`{"skips":null}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		l := &List{}
		before := []Skip{}
		for i, data := range [][]byte{first, second} {
			seq := uint64(10 + 10*i)
			added, err := l.Add(record(seq, string(data)))
			if (err == nil) != (len(added) > 0) || len(l.Skips()) != len(before)+len(added) || len(before) > 0 && !reflect.DeepEqual(l.Skips()[:len(before)], before) {
				t.Fatalf("%+v after %+v: %v", l, before, err)
			}
			for _, s := range added {
				if at, ok := l.Find(s.Key, s.Sequence, seq); !ok || at != seq || s.Sequence >= seq || projections.ValidateKey(s.Key) != nil {
					t.Fatalf("%+v", s)
				}
			}
			before = append(before, added...)
			again := &List{skips: l.skips[:len(before)-len(added)]}
			if text, _ := json.Marshal(content{Skips: l.Skips()}); len(added) > 0 {
				if _, err := again.Add(record(seq, string(text))); err == nil {
					t.Fatalf("%s: what is new has a place already", text)
				}
			}
		}
	})
}
