package events

import (
	"slices"
	"testing"
	"time"
)

// chained are three records of every sort that a log of ours has.
func chained() []Record {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	seen := Position{points: []Point{{Origin: "us", Lineage: "7f3a11d2", Term: 1, Sequence: 3}}}
	e := Event{ID: "e1", Source: "urn:test", Type: "Happened", Entity: Entity{Type: "thing", ID: "a"}, Data: []byte(`{"n":1}`)}
	c := Control{Name: "mark", Data: []byte(`{"n":2}`)}
	return []Record{
		{
			Sequence: 4, Time: at, Kind: KindEvent, Subject: "evt.us.thing.a", Event: e,
			Stamp: Stamp{Time: 7, Tx: Tx{Index: 1, Count: 2}, Hash: e.ContentHash(), Observed: seen, Key: "k1"},
		},
		{
			Sequence: 5, Time: at.Add(time.Second), Kind: KindControl, Subject: "ctl.us.mark", Control: c,
			Stamp: Stamp{Time: 8, Tx: Tx{Index: 2, Count: 2}, Hash: c.ContentHash(), Observed: seen, Key: "k2"},
		},
		{ // of somebody who does not write through this package
			Sequence: 6, Time: at.Add(time.Minute), Kind: KindMalformed, Subject: "evt.us.thing.b", Event: Event{Entity: Entity{Type: "thing", ID: "b"}, Data: []byte("junk")},
		},
	}
}

// covered is one thing that a chain covers.
type covered struct {
	change func(r *Record) // makes it another one
	erase  func(r *Record) // makes it as good as not covered
	at     []int           // the records that have it
}

func coverage() map[string]covered {
	all, stamped := []int{0, 1, 2}, []int{0, 1}
	return map[string]covered{
		"sequence":               {func(r *Record) { r.Sequence += 1 << 20 }, func(r *Record) { r.Sequence = 0 }, all},
		"the sequence by one":    {func(r *Record) { r.Sequence++ }, func(r *Record) { r.Sequence = 0 }, all},
		"broker time":            {func(r *Record) { r.Time = r.Time.Add(1) }, func(r *Record) { r.Time = time.Time{} }, all},
		"subject":                {func(r *Record) { r.Subject += "x" }, func(r *Record) { r.Subject = "" }, all},
		"content":                {func(r *Record) { r.Stamp.Hash[15] ^= 1 }, func(r *Record) { r.Stamp.Hash = Hash{1} }, stamped},
		"content without a hash": {func(r *Record) { r.Event.Data = []byte("junK") }, func(r *Record) { r.Event.Data = nil }, []int{2}},
		"writer's time":          {func(r *Record) { r.Stamp.Time++ }, func(r *Record) { r.Stamp.Time = 0 }, all},
		"place":                  {func(r *Record) { r.Stamp.Tx.Index += 3 }, func(r *Record) { r.Stamp.Tx.Index = 0 }, all},
		"size of transaction":    {func(r *Record) { r.Stamp.Tx.Count += 3 }, func(r *Record) { r.Stamp.Tx.Count = 0 }, all},
		"observed position": {
			func(r *Record) {
				r.Stamp.Observed = Position{points: []Point{{Origin: "us", Lineage: "7f3a11d2", Term: 1, Sequence: 2}}}
			},
			func(r *Record) { r.Stamp.Observed = Position{} }, all,
		},
		"key": {func(r *Record) { r.Stamp.Key += "x" }, func(r *Record) { r.Stamp.Key = "" }, all},
	}
}

// uncovered returns what a chain does not cover and should. sum is the chain.
func uncovered(sum func([]Record) Hash) (out []string) {
	want := sum(chained())
	same := func(what string, change func([]Record) []Record) {
		if sum(change(chained())) == want {
			out = append(out, what)
		}
	}
	for what, a := range coverage() {
		for _, i := range a.at {
			same(what, func(rs []Record) []Record {
				a.change(&rs[i])
				return rs
			})
		}
	}
	for i := range chained() {
		same("loss", func(rs []Record) []Record { return slices.Delete(rs, i, i+1) })
		same("repetition", func(rs []Record) []Record { return slices.Insert(rs, i, rs[i]) })
	}
	same("order", func(rs []Record) []Record { slices.Reverse(rs); return rs })
	same("boundary of two texts", func(rs []Record) []Record { // observed is the last text before the key
		s := &rs[0].Stamp
		text := s.Observed.String()
		s.Observed, s.Key = Position{}, text+s.Key
		return rs
	})
	slices.Sort(out)
	return slices.Compact(out)
}

func sumOf(rs []Record) Hash {
	var c Chain
	for i := range rs {
		c.Add(&rs[i])
	}
	return c.Sum()
}

func TestAChainCoversWhatEveryCopyHas(t *testing.T) {
	if missing := uncovered(sumOf); missing != nil {
		t.Errorf("a chain does not notice another %q", missing)
	}
	if one, two := sumOf(chained()), sumOf(chained()); one != two {
		t.Error("the same records have two sums")
	}
}

// TestAChainThatCoversLessIsFound plants one bug for each attribute.
func TestAChainThatCoversLessIsFound(t *testing.T) {
	for what, a := range coverage() {
		planted := func(rs []Record) Hash {
			for i := range rs {
				if slices.Contains(a.at, i) {
					a.erase(&rs[i])
				}
			}
			return sumOf(rs)
		}
		if found := uncovered(planted); !slices.Contains(found, what) {
			t.Errorf("that the %s is left out is not found: %q", what, found)
		}
	}
	for what, planted := range map[string]func([]Record) Hash{
		"loss": func(rs []Record) Hash { return sumOf(rs[:min(len(rs), 1)]) },
		"order": func(rs []Record) (x Hash) {
			for i := range rs {
				h := sumOf(rs[i : i+1])
				for b := range x {
					x[b] ^= h[b]
				}
			}
			return x
		},
		"repetition": func(rs []Record) Hash {
			return sumOf(slices.CompactFunc(rs, func(a, b Record) bool { return a.Sequence == b.Sequence }))
		},
	} {
		if found := uncovered(planted); !slices.Contains(found, what) {
			t.Errorf("that a chain does not notice %s is not found: %q", what, found)
		}
	}
}

func TestAChainIsAddedToAfterItsSumWasTaken(t *testing.T) {
	var c Chain
	if c.Sum() != sumOf(nil) {
		t.Error("the sum of no record is another one")
	}
	rs := chained()
	for i := range rs {
		c.Add(&rs[i])
		want := sumOf(rs[:i+1])
		for range 2 { // taking it changes nothing
			if got := c.Sum(); got != want {
				t.Errorf("after %d records the sum is another one", i+1)
			}
		}
	}
}

// TestAChainIsWhatItWas pins the sum: marks that were written stay true.
func TestAChainIsWhatItWas(t *testing.T) {
	if got := sumOf(chained()).String(); got != "O3Fkhkw2CG8xm0Rd3AAKqw" {
		t.Errorf("the chain of the three records is %s", got)
	}
	if got := sumOf(nil).String(); got != "47DEQpj8HBSa-_TImW-5JA" {
		t.Errorf("the chain of no record is %s", got)
	}
}
