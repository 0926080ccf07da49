package reconcile_test

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/reconcile"
)

// digest returns one that ends with a digit.
func digest(t *testing.T, last string) projections.Digest {
	t.Helper()
	d, ok := projections.ParseDigest(strings.Repeat("0", 32-len(last)) + last)
	if !ok {
		t.Fatalf("%q is no end of a digest", last)
	}
	return d
}

// stands returns what a region says that has recorded marks: each is a number and a digest's end, such as 7:a. Mark n is at sequence 10n.
func stands(t *testing.T, region string, marks ...string) reconcile.Standing {
	t.Helper()
	s := reconcile.Standing{Region: region, Projection: "airports", Version: 1, Definition: "d1", Generation: 1, Partitions: 2}
	s.Position = events.At(events.Point{Origin: "us", Lineage: "7f3a", Term: 1, Sequence: 99})
	for _, m := range marks {
		number, end, _ := strings.Cut(m, ":")
		n := uint64(0)
		for _, c := range number {
			n = 10*n + uint64(c-'0')
		}
		s.Marks = append(s.Marks, reconcile.Mark{Sequence: 10 * n, Number: n, Sum: reconcile.Sum{Documents: 3, Digest: digest(t, end)}})
	}
	return s
}

func unknown(region, code string) reconcile.Standing {
	return reconcile.Standing{Region: region, Projection: "airports", Unknown: &reconcile.Reason{Code: code, Message: "it does not answer"}}
}

func TestRegionsAreComparedAtTheSameMark(t *testing.T) {
	other := func(s reconcile.Standing, change func(*reconcile.Standing)) reconcile.Standing {
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		list    []reconcile.Standing
		result  reconcile.Result
		number  uint64
		reasons []string
		ill     []string
	}{
		"all the same": {
			list: []reconcile.Standing{stands(t, "us", "1:a", "2:b"), stands(t, "eu", "1:a", "2:b"), stands(t, "ap", "1:a", "2:b")}, result: reconcile.Equal, number: 2,
		},
		"one is behind by a mark": {
			list: []reconcile.Standing{stands(t, "us", "1:a", "2:b"), stands(t, "eu", "1:a"), stands(t, "ap", "1:a", "2:b")}, result: reconcile.Equal, number: 1,
		},
		"one differs": {
			list: []reconcile.Standing{stands(t, "us", "1:a", "2:b"), stands(t, "eu", "1:a", "2:c"), stands(t, "ap", "1:a", "2:b")}, result: reconcile.Different, number: 2,
		},
		"one differed, and does not any more": {
			list: []reconcile.Standing{stands(t, "us", "1:a", "2:b"), stands(t, "eu", "1:c", "2:b")}, result: reconcile.Equal, number: 2,
		},
		"two differ at a mark that a third has not passed": {
			list: []reconcile.Standing{stands(t, "us", "1:a", "2:b"), stands(t, "eu", "1:a", "2:c"), stands(t, "ap", "1:a")}, result: reconcile.Different, number: 2,
		},
		"the same number of documents, and another digest of one more": {
			list: []reconcile.Standing{stands(t, "us", "2:b"), other(stands(t, "eu", "2:b"), func(s *reconcile.Standing) { s.Marks[0].Documents++ })}, result: reconcile.Different, number: 2,
		},
		"one does not answer": {
			list: []reconcile.Standing{stands(t, "us", "2:b"), stands(t, "eu", "2:b"), unknown("ap", "unreachable")}, result: reconcile.Unknown, number: 2, reasons: []string{"unreachable"},
		},
		"one does not answer, and the others differ": {
			list: []reconcile.Standing{stands(t, "us", "2:b"), stands(t, "eu", "2:c"), unknown("ap", "unreachable")}, result: reconcile.Different, number: 2, reasons: []string{"unreachable"},
		},
		"nobody answers": {
			list: []reconcile.Standing{unknown("us", "unreachable"), unknown("ap", "unreachable")}, result: reconcile.Unknown, reasons: []string{"unreachable", "unreachable"},
		},
		"no mark in common": {
			list: []reconcile.Standing{stands(t, "us", "2:b"), stands(t, "eu", "1:b")}, result: reconcile.Unknown, reasons: []string{"no-common-mark"},
		},
		"no mark": {
			list: []reconcile.Standing{stands(t, "us", "2:b"), stands(t, "eu", "2:b"), stands(t, "ap")}, result: reconcile.Unknown, number: 2, reasons: []string{"no-marks"},
		},
		"one region": {
			list: []reconcile.Standing{stands(t, "us", "2:b")}, result: reconcile.Unknown, reasons: []string{"alone"},
		},
		"no region": {result: reconcile.Unknown, reasons: []string{"alone"}},
		"another version, which the regions have not all come to": {
			list:   []reconcile.Standing{stands(t, "us", "2:b"), other(stands(t, "eu", "2:c"), func(s *reconcile.Standing) { s.Version, s.Definition = 2, "d2" })},
			result: reconcile.Unknown, reasons: []string{"other-definition"},
		},
		"another definition of the same version": {
			list:   []reconcile.Standing{stands(t, "us", "2:b"), other(stands(t, "eu", "2:c"), func(s *reconcile.Standing) { s.Definition = "d2" })},
			result: reconcile.Unknown, reasons: []string{"other-definition"},
		},
		"another version, and those of the same differ": {
			list:   []reconcile.Standing{stands(t, "us", "2:b"), stands(t, "ap", "2:d"), other(stands(t, "eu", "2:c"), func(s *reconcile.Standing) { s.Version = 2 })},
			result: reconcile.Different, number: 2, reasons: []string{"other-definition", "other-definition"},
		},
		"another log": {
			list: []reconcile.Standing{stands(t, "us", "2:b"), other(stands(t, "eu", "2:c"), func(s *reconcile.Standing) {
				s.Position = events.At(events.Point{Origin: "us", Lineage: "7f3b", Term: 1, Sequence: 99})
			})}, result: reconcile.Unknown, reasons: []string{"other-history"},
		},
		"another mark at the same sequence": {
			list:   []reconcile.Standing{stands(t, "us", "2:b"), other(stands(t, "eu", "2:b"), func(s *reconcile.Standing) { s.Marks[0].Number = 3 })},
			result: reconcile.Unknown, reasons: []string{"no-common-mark"},
		},
		"a stream that is not ours": {
			list:   []reconcile.Standing{other(stands(t, "us"), func(s *reconcile.Standing) { s.Stream = "ORDERS" }), other(stands(t, "eu"), func(s *reconcile.Standing) { s.Stream = "ORDERS" })},
			result: reconcile.Unknown, reasons: []string{"attached", "attached"},
		},
		"equal, and dead": {
			list:   []reconcile.Standing{stands(t, "us", "2:b"), other(stands(t, "eu", "2:b"), func(s *reconcile.Standing) { s.Unhealthy = &reconcile.Reason{Code: "overdue"} })},
			result: reconcile.Equal, number: 2, ill: []string{"eu overdue"},
		},
		"equal, and others went on": {
			list: []reconcile.Standing{stands(t, "us", "2:b", "3:b", "4:b", "5:b"), stands(t, "eu", "2:b"), stands(t, "ap", "2:b", "3:b")}, result: reconcile.Equal, number: 2, ill: []string{"eu behind"},
		},
		"two and two, where a third has what was mended since": {
			list: []reconcile.Standing{stands(t, "us", "1:a", "2:b"), stands(t, "eu", "1:f", "2:b")}, result: reconcile.Equal, number: 2,
		},
		"every two are the same, and all three are not": {
			list:   []reconcile.Standing{stands(t, "us", "1:a", "2:b", "3:c"), stands(t, "eu", "1:a", "2:b", "4:d"), stands(t, "ap", "1:f", "3:c", "4:d")},
			result: reconcile.Unknown, reasons: []string{"no-common-mark"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := reconcile.Compare(c.list)
			if v.Result != c.result || v.Number != c.number || v.Sequence != 10*c.number {
				t.Errorf("the verdict is %s at mark %d (sequence %d)", v.Result, v.Number, v.Sequence)
			}
			var reasons, ill []string
			for _, r := range v.Reasons {
				reasons = append(reasons, r.Code)
			}
			for _, r := range v.Regions {
				if r.Unhealthy != nil {
					ill = append(ill, r.Region+" "+r.Unhealthy.Code)
				}
				if r.Unknown == nil && c.number > 0 && r.Here == nil && r.Newest != nil && r.Newest.Number >= c.number {
					t.Errorf("it is not said what %s had", r.Region)
				}
			}
			if !slices.Equal(reasons, c.reasons) || !slices.Equal(ill, c.ill) {
				t.Errorf("the reasons are %v, and unhealthy are %v", v.Reasons, ill)
			}
			if v.Healthy() != (c.ill == nil) || v.Holds() != (c.ill == nil && c.result == reconcile.Equal) {
				t.Errorf("healthy %t, holds %t", v.Healthy(), v.Holds())
			}
			// It depends on nothing but what the regions say.
			for range 5 {
				list := slices.Clone(c.list)
				rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
				if again := reconcile.Compare(list); !reflect.DeepEqual(again, v) {
					t.Errorf("in another order it is %+v, and was %+v", again, v)
				}
			}
		})
	}
}

func TestDifferingPartitionsAreNamed(t *testing.T) {
	sum := func(documents uint64, end string) reconcile.Sum {
		return reconcile.Sum{Documents: documents, Digest: digest(t, end)}
	}
	say := func(region string, sums ...reconcile.Sum) reconcile.Standing {
		s := stands(t, region, "2:b")
		s.At = &reconcile.PartitionsAt{Sequence: 20, Number: 2, Partitions: sums}
		return s
	}
	v := reconcile.Compare([]reconcile.Standing{stands(t, "us", "2:b"), stands(t, "eu", "2:c"), stands(t, "ap", "2:b")})
	v.Narrow([]reconcile.Standing{say("us", sum(1, "a"), sum(2, "b"), sum(3, "c")), say("eu", sum(1, "a"), sum(2, "f"), sum(4, "c")), say("ap", sum(1, "a"), sum(2, "b"), sum(3, "c"))})
	want := []reconcile.Difference{
		{Partition: 1, Regions: []reconcile.InPlace{{"ap", sum(2, "b")}, {"eu", sum(2, "f")}, {"us", sum(2, "b")}}},
		{Partition: 2, Regions: []reconcile.InPlace{{"ap", sum(3, "c")}, {"eu", sum(4, "c")}, {"us", sum(3, "c")}}},
	}
	if !reflect.DeepEqual(v.Partitions, want) || v.Whole != nil {
		t.Errorf("%+v, %v", v.Partitions, v.Whole)
	}
	v.Narrow([]reconcile.Standing{say("us", sum(1, "a")), say("eu", sum(1, "a"), sum(0, "0"))})
	if v.Partitions != nil || v.Whole == nil || v.Whole.Code != reconcile.ReasonOtherDefinition {
		t.Errorf("with other partitions: %+v, %v", v.Partitions, v.Whole)
	}
	older := say("eu", sum(1, "a"))
	older.At.Sequence = 10
	v.Narrow([]reconcile.Standing{say("us", sum(1, "a")), older, unknown("ap", "unreachable")})
	if v.Partitions != nil || v.Whole == nil || v.Whole.Code != reconcile.ReasonNoCommonMark {
		t.Errorf("of another mark: %+v, %v", v.Partitions, v.Whole)
	}
}

func TestAVerdictIsData(t *testing.T) {
	v := reconcile.Compare([]reconcile.Standing{stands(t, "us", "1:a", "2:b"), stands(t, "eu", "2:c"), unknown("ap", "unreachable")})
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var again reconcile.Verdict
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(again, v) {
		t.Errorf("%s is read as %+v, %v", text, again, err)
	}
	if strings.Contains(string(text), `"marks"`) {
		t.Errorf("the marks of every region are in it: %s", text)
	}
	if err := json.Unmarshal([]byte(`{"digest":"12"}`), &reconcile.Sum{}); err == nil {
		t.Error("a digest of two digits is taken")
	}
}
