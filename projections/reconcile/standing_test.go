package reconcile_test

import (
	"testing"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/reconcile"
)

func TestAMarkCountsWhenEveryPartitionHasRecordedIt(t *testing.T) {
	mark := func(number, documents uint64, end string) projections.PartitionMark {
		return projections.PartitionMark{Sequence: 10 * number, Number: number, Documents: documents, Digest: digest(t, end)}
	}
	other := mark(4, 1, "1")
	other.Number = 5
	recorded := [][]projections.PartitionMark{
		{mark(1, 1, "1"), mark(2, 2, "2"), mark(3, 3, "3"), mark(4, 1, "1")},
		{mark(1, 1, "f"), mark(3, 4, "e"), other},
	}
	common := reconcile.Common(recorded)
	if len(common) != 2 || common[0].Number != 1 || common[0].Documents != 2 || common[0].Digest != digest(t, "10") ||
		common[1].Sequence != 30 || common[1].Documents != 7 || common[1].Digest != digest(t, "11") {
		t.Errorf("the marks are %+v", common)
	}
	if at := reconcile.At(recorded, 30); at == nil || at.Number != 3 || len(at.Partitions) != 2 || at.Partitions[1].Documents != 4 {
		t.Errorf("at mark 3 they are %+v", at)
	}
	for _, sequence := range []uint64{0, 20, 40, 50} {
		if at := reconcile.At(recorded, sequence); at != nil {
			t.Errorf("at sequence %d they are %+v", sequence, at)
		}
	}
	if reconcile.Common(nil) != nil || reconcile.Common([][]projections.PartitionMark{{}, {mark(1, 1, "1")}}) != nil {
		t.Error("there are marks that nobody or not everybody has")
	}
}

func TestMarksAreOverdueByThePaceOfTheLog(t *testing.T) {
	pace := reconcile.Pace{Interval: 10 * time.Second, Idle: time.Minute}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]struct {
		newest, next time.Time
		overdue      bool
	}{
		"an empty log":                             {},
		"nobody writes":                            {newest: ago(time.Minute)},
		"nobody writes, nor marks":                 {newest: ago(3*time.Minute + 1), overdue: true},
		"written to a moment ago, after a quiet":   {newest: ago(59 * time.Second), next: ago(time.Second)},
		"written to":                               {newest: ago(31 * time.Second), next: ago(30 * time.Second)},
		"written to, and no mark passed":           {newest: ago(40 * time.Second), next: ago(30*time.Second + 1), overdue: true},
		"a young log":                              {next: ago(time.Second)},
		"a log that never got a mark":              {next: ago(time.Minute), overdue: true},
		"a clock that is behind that of the log":   {newest: ago(-time.Minute), next: ago(-time.Minute)},
		"the next mark is there and is not passed": {newest: ago(2 * time.Minute), next: ago(time.Minute), overdue: true},
	} {
		if got := pace.Overdue(c.newest, c.next, now); got != c.overdue {
			t.Errorf("%s: overdue %t", name, got)
		}
	}
}
