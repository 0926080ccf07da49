package command

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/services/internal/failure"
)

func TestWhatDiffersIsNamedAndWhatIsNotKnownIsNotEqual(t *testing.T) {
	digest := func(end string) projections.Digest {
		d, ok := projections.ParseDigest("000000000000000000000000000000" + end)
		if !ok {
			t.Fatal(end)
		}
		return d
	}
	stands := func(region, end string, documents uint64) reconcile.Standing {
		s := reconcile.Standing{Region: region, Projection: "airports", Version: 1, Partitions: 2, Marks: []reconcile.Mark{{Sequence: 1042, Number: 41, Sum: reconcile.Sum{Documents: documents, Digest: digest(end)}}}}
		age := 3.2
		s.Age, s.Scrubbed = &age, time.Date(2026, 11, 26, 1, 2, 3, 0, time.UTC)
		s.At = &reconcile.PartitionsAt{Sequence: 1042, Number: 41, Partitions: []reconcile.Sum{{Documents: 1}, {Documents: documents - 1, Digest: digest(end)}}}
		return s
	}
	different := []reconcile.Standing{stands("us", "0a", 5), stands("eu", "0b", 5), stands("ap", "0a", 5)}
	airports := reconcile.Compare(different)
	airports.Narrow(different)
	dead := stands("eu", "0c", 7)
	dead.Unhealthy = &reconcile.Reason{Code: "silent", Message: "its projector is silent: \x1b[2J"}
	unknown := reconcile.Standing{Region: "ap", Unknown: &reconcile.Reason{Code: "unreachable", Message: "it does not answer"}}
	routes, late := reconcile.Compare([]reconcile.Standing{stands("us", "0c", 7), stands("eu", "0c", 7), unknown}), reconcile.Compare([]reconcile.Standing{stands("us", "0c", 7), dead})
	routes.Projection, late.Projection = "routes", "late"

	v := &verified{Verdicts: []reconcile.Verdict{airports, late, routes}}
	v.conclude()
	var out bytes.Buffer
	if err := v.write(&out); err != nil {
		t.Fatal(err)
	}
	want := `PROJECTION  REGION  VERDICT           MARK  SEQUENCE  DOCUMENTS  DIGEST                            NEWEST MARK   SCRUBBED
airports    ap      DIFFERENT         41    1,042     5          0000000000000000000000000000000a  41, 3.2s old  2026-11-26 01:02:03Z
airports    eu      DIFFERENT         41    1,042     5          0000000000000000000000000000000b  41, 3.2s old  2026-11-26 01:02:03Z
airports    us      DIFFERENT         41    1,042     5          0000000000000000000000000000000a  41, 3.2s old  2026-11-26 01:02:03Z
late        eu      equal, UNHEALTHY  41    1,042     7          0000000000000000000000000000000c  41, 3.2s old  2026-11-26 01:02:03Z
late        us      equal             41    1,042     7          0000000000000000000000000000000c  41, 3.2s old  2026-11-26 01:02:03Z
routes      ap      unknown           none  none      unknown    unknown                           unknown       unknown
routes      eu      unknown           41    1,042     7          0000000000000000000000000000000c  41, 3.2s old  2026-11-26 01:02:03Z
routes      us      unknown           41    1,042     7          0000000000000000000000000000000c  41, 3.2s old  2026-11-26 01:02:03Z

airports: different at mark 41, sequence 1042, in 1 partition
airports: partition 1: ap, us had 4 documents with 0000000000000000000000000000000a; eu had 4 documents with 0000000000000000000000000000000b
late: eu is unhealthy: its projector is silent: \x1b[2J
routes: ap: it does not answer
`
	if out.String() != want {
		t.Errorf("it prints\n%s, want\n%s", out.String(), want)
	}
	for _, c := range []struct {
		verdicts []reconcile.Verdict
		result   reconcile.Result
		healthy  bool
		code     error
		exit     int
	}{
		{nil, reconcile.Equal, true, nil, failure.ExitDone},
		{[]reconcile.Verdict{late, routes, airports}, reconcile.Different, false, failure.ErrDifferent, failure.ExitNotMet},
		{[]reconcile.Verdict{late, routes}, reconcile.Unknown, false, failure.ErrNotVerified, failure.ExitUnknown},
		{[]reconcile.Verdict{late}, reconcile.Equal, false, failure.ErrNotVerified, failure.ExitUnknown},
		{[]reconcile.Verdict{airports, routes}, reconcile.Different, true, failure.ErrDifferent, failure.ExitNotMet},
	} {
		v := &verified{Verdicts: c.verdicts}
		v.conclude()
		err := v.err()
		if v.Result != c.result || v.Healthy != c.healthy || !errors.Is(err, c.code) {
			t.Errorf("%d verdicts: %s, healthy %t, %v", len(c.verdicts), v.Result, v.Healthy, err)
		}
		if err != nil && failure.ExitCode(err) != c.exit {
			t.Errorf("%v exits with %d", err, failure.ExitCode(err))
		}
	}
	odd := reconcile.Compare(different)
	odd.Narrow(different[:1])
	out.Reset()
	if err := (&verified{Verdicts: []reconcile.Verdict{odd}}).write(&out); err != nil || !bytes.Contains(out.Bytes(), []byte("which partitions differ is not known")) {
		t.Errorf("it prints\n%s", out.String())
	}
}
