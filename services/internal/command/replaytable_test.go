package command

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// unproven is a replay that was required to be equal, and is not.
func unproven() projections.Replay {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	after := at.Add(1500 * time.Millisecond)
	return projections.Replay{
		ID: "r7", Projection: "airports", State: projections.ReplayFailed, ReplayRequest: projections.ReplayRequest{Reason: "tidemark replay", From: 12_000, RequireEqual: true, Rate: 5000},
		Plan:     &projections.ReplayPlan{Strategy: projections.StrategySnapshot, Why: "the snapshot s1 is of sequence 11,000", Snapshot: "s1", First: 11_001, Last: 13_000, Records: 2_000, Bytes: 900_000, Documents: 300, Memory: 150_000, Seconds: 0.2},
		Sequence: 13_000, Head: 13_000, Documents: 300, Generation: 3, Requested: at, Finished: &after, Back: []string{"it is not proven: eu had another digest: beginning anew at 1"},
		Position: "us.7f3a@1:13000", Digest: "0a0b", Compared: true, Proof: &projections.Proof{Result: projections.ProofDifferent, With: "eu", Sequence: 12_900, Why: "eu had another digest"},
		Difference: &projections.Difference{Same: 298, Changed: 1, Added: 1, Samples: []projections.Differing{
			{Key: "ORD", Before: map[string]string{"arrivals": "7"}, After: map[string]string{"arrivals": "8", "_parked": "us.7f3a@1:5"}},
			{Key: "L\x1b[2JAX", After: map[string]string{"arrivals": "secret"}},
		}},
		Code: "not-proven", Message: "not-proven: what was built of airports is not proven equal: eu had another digest; nothing was switched",
	}
}

func TestAReplayThatIsNotProvenShowsWhatDiffersAndHidesValues(t *testing.T) {
	for _, output := range []string{outputTable, outputJSON} {
		kv, job := requested(t)
		after := unproven()
		after.ID = job.ID
		write(t, kv, after)
		var out bytes.Buffer
		p := &program{out: &out, err: &bytes.Buffer{}, self: "tidemark", globals: globals{output: output}}
		err := p.attend(t.Context(), kv, job)
		if !errors.Is(err, projections.ErrNotProven) || failure.ExitCode(err) != failure.ExitNotMet {
			t.Errorf("the error is %v", err)
		}
		if text := out.String(); !strings.Contains(text, "ORD") || strings.Contains(text, "secret") || !strings.Contains(text, "hidden") {
			t.Errorf("as %s it prints %s", output, text)
		}
	}
}

func TestOneReplayIsShownWhole(t *testing.T) {
	r := unproven()
	var out bytes.Buffer
	if err := showReplay(&out, &r, true); err != nil {
		t.Fatal(err)
	}
	want := `replay      r7 of airports: failed
asked       2026-01-02 03:04:05Z, built anew, trusting what was before sequence 12,000 (tidemark replay)
rate        at most 5,000 records in each second
required    that it is proven equal
strategy    snapshot: the snapshot s1 is of sequence 11,000
records     2,000, 11,001 to 13,000, some 878.9 KiB
documents   some 300
time        some 200ms
generation  3

airports    the replay failed: not-proven: what was built of airports is not proven equal: eu had another digest; nothing was switched
how         snapshot: the snapshot s1 is of sequence 11,000
went back   it is not proven: eu had another digest: beginning anew at 1
compared    DIFFERENT from the generation before, which was wrong
proof       DIFFERENT, with eu at 12,900: eu had another digest
difference  1 changed, 1 only now, 0 only before, 298 the same
documents   300
position    us.7f3a@1:13000
digest      0a0b
took        1.5s

KEY              BEFORE       NOW
ORD              arrivals=7   _parked=us.7f3a@1:5 arrivals=8
"L\x1b[2JAX"     no document  arrivals=secret
`
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	if squeeze(out.String()) != squeeze(want) {
		t.Errorf("it prints\n%s, want\n%s", out.String(), want)
	}
	hideSamples(&r)
	out.Reset()
	if err := showReplay(&out, &r, false); err != nil || strings.Contains(out.String(), "secret") || !strings.Contains(out.String(), "_parked=us.7f3a@1:5 arrivals=<hidden>") ||
		!strings.HasSuffix(out.String(), "values are hidden; --reveal shows them\n") {
		t.Errorf("hidden it prints\n%s%v", out.String(), err)
	}
}

func TestWhatAReplayDoesNowIsTold(t *testing.T) {
	plan := &projections.ReplayPlan{Strategy: projections.StrategySnapshot, First: 1001, Documents: 50}
	for name, c := range map[string]struct {
		job  projections.Replay
		says string
	}{
		"requested": {projections.Replay{State: projections.ReplayRequested}, "requested"},
		"planning":  {projections.Replay{State: projections.ReplaySwitching}, "planning"},
		"loading":   {projections.Replay{State: projections.ReplayBuilding, Plan: plan, Head: 2000, Documents: 10}, "loading the snapshot, 10 of 50 documents (20 %)"},
		"building": {projections.Replay{State: projections.ReplayBuilding, Plan: plan, Head: 2000, Sequence: 1500, PerSecond: 250, Remaining: 2},
			"building, 500 of 1,000 records (50 %), 250/s, 2.0s left"},
		"comparing": {projections.Replay{State: projections.ReplayBuilding, Plan: plan, Head: 2000, Sequence: 2000}, "comparing, 1,000 of 1,000 records (100 %)"},
		"switching": {projections.Replay{State: projections.ReplaySwitching, Plan: plan, Head: 2000, Sequence: 2000}, "switching, 1,000 of 1,000 records (100 %)"},
		"a copy":    {projections.Replay{State: projections.ReplayBuilding, ReplayRequest: projections.ReplayRequest{Kind: projections.ReplayCopy}, Plan: &projections.ReplayPlan{First: 1}, Head: 9, Sequence: 9}, "building, 9 of 9 records (100 %)"},
		"refold":    {projections.Replay{State: projections.ReplayBuilding, Plan: &projections.ReplayPlan{Strategy: projections.StrategyRefold, First: 5, Documents: 4}, Head: 9, Sequence: 6, Documents: 1}, "folding again, 1 of 4 documents (25 %)"},
	} {
		s := stageOf(&c.job)
		if got := s.String(); got != c.says {
			t.Errorf("%s: it does %q, want %q", name, got, c.says)
		}
	}
}

func TestWhyAReplayGoesBackOrStandsStillIsSaidOnce(t *testing.T) {
	var out bytes.Buffer
	w := replayWatch{progress: display.NewPaced(&out, "replay airports"), region: "eu: "}
	job := projections.Replay{State: projections.ReplayBuilding, Yields: "the store is nearly full"}
	w.see(&job)
	w.see(&job)
	job.Yields, job.Back = "", []string{"not proven"}
	w.see(&job)
	w.see(&job)
	job.State = projections.ReplayDone
	w.see(&job)
	want := "eu: it stands still: the store is nearly full\neu: it goes further back: not proven\neu: it goes on\n"
	if out.String() != want {
		t.Errorf("it says\n%s, want\n%s", out.String(), want)
	}
}

func TestTheResultOfReplaysInAllRegionsIsATable(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	after := at.Add(2 * time.Second)
	done := projections.Replay{
		ID: "r1", Projection: "airports", State: projections.ReplayDone, Generation: 2, Documents: 1_200, Requested: at, Finished: &after, Position: "us.7f3a@1:9", Digest: "0a",
		Plan: &projections.ReplayPlan{Strategy: projections.StrategyWhole}, Proof: &projections.Proof{Result: projections.ProofEqual},
	}
	full := done
	full.State, full.Code, full.Message, full.Proof, full.Position, full.Digest = projections.ReplayFailed, "store-full", "store-full: no room", nil, "", ""
	p := &program{self: "tidemark"}
	silent, failed := &regionReplay{Region: "ap"}, &regionReplay{Region: "eu", Replay: &full}
	silent.fail(events.Errorf(events.ErrUnreachable, "it does not answer"))
	failed.fail(p.outcome(&full))
	all := &everywhereReplayed{Projection: "airports", Regions: []*regionReplay{silent, failed, {Region: "us", Replay: &done}}}
	var out bytes.Buffer
	if err := all.write(&out); err != nil {
		t.Fatal(err)
	}
	want := `REGION  STATE        STRATEGY  GENERATION  DOCUMENTS  TOOK  PROOF  POSITION     DIGEST
ap      NOT STARTED  none      none        none       none  none   none         none
eu      FAILED       whole     2           1,200      2.0s  none   none         none
us      done         whole     2           1,200      2.0s  equal  us.7f3a@1:9  0a
ap: it does not answer
eu: the replay r1 of airports failed, and what is live goes on: no room
`
	if out.String() != want {
		t.Errorf("it prints\n%s, want\n%s", out.String(), want)
	}
	if err := all.worst(); !errors.Is(err, projections.ErrStoreFull) || !strings.Contains(err.Error(), "2 of 3 regions did not (ap, eu)") {
		t.Errorf("the error is %v", err)
	}
	if err := all.refused(); err != nil {
		t.Errorf("one does it, and %v", err)
	}
	if err := (&everywhereReplayed{Regions: []*regionReplay{silent, silent}}).refused(); !errors.Is(err, events.ErrUnreachable) {
		t.Errorf("all refused, and it is %v", err)
	}
	running := done
	running.State = projections.ReplayBuilding
	if err := (&everywhereReplayed{Projection: "airports", Regions: []*regionReplay{silent, {Region: "us", Replay: &running}}}).unwatched(p); !strings.Contains(err.Error(), "r1 in us") || !strings.Contains(err.Error(), "--resume r1 --region us") {
		t.Errorf("interrupted it is %v", err)
	}
}

func TestSizesAreRead(t *testing.T) {
	for bytes, text := range map[uint64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 3 << 30: "3.0 GiB", 1 << 62: "4194304.0 TiB"} {
		if got := size(bytes); got != text {
			t.Errorf("%d bytes are %s, want %s", bytes, got, text)
		}
	}
}
