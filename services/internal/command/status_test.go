package command

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

func TestTheStatusShowsWhatIsNotKnownAsUnknown(t *testing.T) {
	at, err := events.ParsePosition("us.7f3a@1:1042")
	if err != nil {
		t.Fatal(err)
	}
	finished := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	o := query.Overview{Region: "us", Head: at, Projections: []query.ModelStatus{
		{
			Name: "airports", State: "live", Generation: 2, Version: 1, Position: at, Lag: &query.Lag{Events: 1234}, Documents: 5678, Parked: 1,
			Projector: projections.ProjectorFollowing,
			Replay:    &projections.Replay{ID: "r1", State: projections.ReplayBuilding, Generation: 3, Sequence: 521, Head: 1042},
			Previous:  &query.KeptStatus{Generation: 1, Version: 1, Until: &finished},
			Copies: []query.CopyStatus{
				{Name: "before-audit", Position: "us.7f3a@1:521", Generation: 4, Version: 1, Documents: 1200, Made: finished},
				{Name: "later\x1b[2J", Position: "us.7f3a@1:522", Generation: 5, Version: 1, Documents: 1, Made: finished, Until: &finished},
			},
		},
		{
			Name: "routes", State: "unknown", Generation: 1, Version: 1, Projector: projections.ProjectorWaiting, Code: "store-unreachable",
			Message: "store-unreachable: Redis\x1b[2J does not answer",
		},
		{
			Name: "late", State: "live", Generation: 1, Version: 1, Position: at, Projector: projections.ProjectorRefused, Message: "hole: a sequence is missing",
			Replay: &projections.Replay{State: projections.ReplayFailed, Finished: &finished, Message: "hole: it is missing"},
			Stream: &query.StreamStatus{Name: "LATE\x1b[2J", Head: at, First: 1000},
		},
		{
			Name: "mute", State: "live", Generation: 1, Version: 1, Position: at, Projector: projections.ProjectorFollowing, Stream: &query.StreamStatus{Name: "MUTE"},
		},
	}}
	var out bytes.Buffer
	p := &program{self: "tidemark"}
	if err := p.overview(&out, &o); err != nil {
		t.Fatal(err)
	}
	want := `region us, log at us.7f3a@1:1042

PROJECTION  STATE    PROJECTOR  LAG      DOCUMENTS  PARKED   UNROUTED  VERSION  GENERATION  POSITION
airports    live     following  1,234    5,678      1        0         1        2           us.7f3a@1:1042
routes      unknown  waiting    unknown  unknown    unknown  unknown   1        1           none
late        live     refused    unknown  0          0        0         1        1           us.7f3a@1:1042
mute        live     following  unknown  0          0        0         1        1           us.7f3a@1:1042

airports: replay r1 of generation 3 is building, 521 of 1,042 records (50 %)
airports: generation 1 of version 1 is kept until 2026-01-02 03:04:05Z, and can take over again
airports: the copy before-audit is at us.7f3a@1:521: 1,200 documents, made 2026-01-02 03:04:05Z, kept
airports: the copy later\x1b[2J is at us.7f3a@1:522: 1 document, made 2026-01-02 03:04:05Z, kept until 2026-01-02 03:04:05Z
routes: store-unreachable: Redis\x1b[2J does not answer
late: the stream LATE\x1b[2J is at us.7f3a@1:1042 and retains what is from 1,000 on
late: hole: a sequence is missing
late: the last replay failed 2026-01-02 03:04:05Z: hole: it is missing
mute: the stream MUTE does not answer
`
	if out.String() != want {
		t.Errorf("the status is\n%s, want\n%s", out.String(), want)
	}
	if err := unanswered(&o); !errors.Is(err, projections.ErrStoreUnreachable) {
		t.Errorf("a store that does not answer gives %v", err)
	}
	o.Projections[1].Code, o.Projections[1].Message = string(events.ErrUnauthorized), "unauthorized: Redis refused the credentials"
	if err := unanswered(&o); !errors.Is(err, events.ErrUnauthorized) || !strings.Contains(err.Error(), "Redis refused the credentials") {
		t.Errorf("a store that refuses us gives %v", err)
	}
	o.Head = events.Position{}
	if err := unanswered(&o); !errors.Is(err, events.ErrUnreachable) {
		t.Errorf("a log that does not answer gives %v", err)
	}
	out.Reset()
	if err := p.overview(&out, &query.Overview{Region: "us"}); err != nil || !strings.HasPrefix(out.String(), "region us, log does not answer\nno projection yet") {
		t.Errorf("an empty region is shown as %s", out.String())
	}
}

func TestTheStatusShowsWhatEachRegionHolds(t *testing.T) {
	p := &program{self: "tidemark"}
	show := func(s standing) string {
		var out bytes.Buffer
		if err := p.standing(&out, &s); err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(out.String(), "runs some\n")
		return after
	}
	us := events.Floor{Region: "us", Sequence: 1042, Connected: true}
	want := `
REGION  CONFIRMED  NOT YET        FOLLOWS
ap      42     at least 1,000  no
eu      1,040  2             yes
us      1,042  0             yes
`
	got := show(standing{Floors: []events.Floor{{Region: "ap", Sequence: 42}, {Region: "eu", Sequence: 1040, Connected: true}, us}})
	if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("the floors are%s", got)
	}
	if got := show(standing{Floors: []events.Floor{us}}); got != "" {
		t.Errorf("a region alone shows %q", got)
	}
	if got := show(standing{FloorsUnknown: "the leader us\x1b[2J does not answer"}); got != "\nwhat the other regions hold is unknown: the leader us\\x1b[2J does not answer\n" {
		t.Errorf("floors that are not known show %q", got)
	}
}
