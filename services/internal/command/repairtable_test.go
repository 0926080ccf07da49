package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/services/internal/failure"
)

// someMended is a repair of two read models, one of which could not be looked at.
func someMended() *mended {
	at := time.Date(2026, 11, 26, 1, 33, 6, 0, time.UTC)
	six, seven := "6", "7"
	one := &examined{
		Region: "eu", Projection: "airports", fields: []projections.Field{{Name: "delay", Kind: projections.KindInt}},
		Report: &reconcile.Report{
			Region: "eu", Projection: "airports", Version: 1, Generation: 2, Began: at.Add(-time.Second), Ended: at, Documents: 224, Partitions: 16, Compared: 16,
			Findings: []reconcile.Finding{{
				Region: "eu", Projection: "airports", Generation: 2, Partition: 3, Key: "O\x1bRD", Kind: reconcile.KindAltered, Position: "us.7f3a@1:1042",
				Expected: &reconcile.Content{At: "us.7f3a@1:1038", Digest: "0a"}, Found: &reconcile.Content{At: "us.7f3a@1:1038", Digest: "0b"},
				Fields: []reconcile.FieldDifference{{Field: "delay", Expected: &six, Found: &seven}, {Field: "gate", Found: &six}}, Outside: true, LastGood: 1040, Detected: at,
			}},
		},
	}
	gone := &examined{Region: "sa", Unknown: &reconcile.Reason{Code: "unreachable", Message: "NATS does not answer: \x1b[2J"}}
	return &mended{Hidden: true, Models: []*mendedModel{
		{
			examined: one, Plan: &plan{ID: "01a2", Made: at, Digest: "3df7", Generation: 2, Share: 0.1, Findings: 1, Documents: 1}, Outcome: &reconcile.Outcome{Repaired: 1, Jobs: []string{"01a3"}},
			Verified: &at, Left: []reconcile.Finding{}, after: &examined{Report: &reconcile.Report{}},
		},
		{examined: gone},
	}}
}

func TestTheShapeOfARepairIsStable(t *testing.T) {
	m := someMended()
	m.hide()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"read_models":[{"region":"eu","projection":"airports","report":{"region":"eu","projection":"airports","version":1,"generation":2,"began":"2026-11-26T01:33:05Z","ended":"2026-11-26T01:33:06Z","deep":false,` +
		`"documents":224,"partitions":16,"compared":16,"findings":[{"region":"eu","projection":"airports","generation":2,"partition":3,"key":"O\u001bRD","kind":"altered","position":"us.7f3a@1:1042",` +
		`"expected":{"at":"us.7f3a@1:1038","digest":"0a"},"found":{"at":"us.7f3a@1:1038","digest":"0b"},"fields":[{"field":"delay","expected":"\u003cint\u003e","found":"\u003cint\u003e"},{"field":"gate","expected":null,"found":"\u003cunknown\u003e"}],` +
		`"outside_the_log":true,"last_good_mark":1040,"detected":"2026-11-26T01:33:06Z"}]},"plan":{"id":"01a2","made":"2026-11-26T01:33:06Z","findings_digest":"3df7","generation":2,"share":0.1,"findings":1,"documents":1},` +
		`"outcome":{"repaired":1,"right":0,"recounted":0,"jobs":["01a3"]},"verified":"2026-11-26T01:33:06Z","left":[]},{"region":"sa","unknown":{"code":"unreachable","message":"NATS does not answer: \u001b[2J"},"left":null}],"values_hidden":true}`
	if string(text) != want {
		t.Errorf("it is\n%s, want\n%s", text, want)
	}
}

func TestARepairAsText(t *testing.T) {
	var out bytes.Buffer
	m := someMended()
	if err := errors.Join(m.write(&out), m.writeOutcome(&out)); err != nil {
		t.Fatal(err)
	}
	const want = `REGION  PROJECTION  EXAMINED                         DOCUMENTS  PARTITIONS  FINDINGS
eu      airports    2026-11-26 01:33:06Z, took 1.0s  224        16 of 16    1
sa      all         no                               unknown    unknown     unknown
sa: NATS does not answer: \x1b[2J

REGION  PROJECTION  KEY        KIND     SINCE                    WHAT
eu      airports    "O\x1bRD"  altered  changed outside the log  delay; gate

REGION  PROJECTION  PLAN  MADE                  FINDINGS  DOCUMENTS  SUMS OF PARTITIONS  WHAT
eu      airports    01a2  2026-11-26 01:33:06Z  1         1          0                   fold again

REGION  PROJECTION  PLAN  REPAIRED  RIGHT ALREADY  RECOUNTED  LEFT
eu      airports    01a2  1         0              0          0
`
	if out.String() != want {
		t.Errorf("it prints\n%s, want\n%s", out.String(), want)
	}
	out.Reset()
	m.Hidden = false
	if err := m.write(&out); err != nil || !strings.Contains(out.String(), "delay is 7, should be 6; gate") {
		t.Errorf("revealed is\n%s", out.String())
	}
}

func TestWhatIsKnownToBeWrongIsWorseThanWhatIsNotKnown(t *testing.T) {
	notMet, unknown := events.Errorf(failure.ErrDamaged, "a"), events.Errorf(failure.ErrNotVerified, "b")
	for _, c := range []struct {
		a, b error
		code events.Code
	}{
		{nil, nil, ""}, {notMet, nil, failure.ErrDamaged}, {nil, unknown, failure.ErrNotVerified}, {notMet, unknown, failure.ErrDamaged}, {unknown, notMet, failure.ErrDamaged},
	} {
		if code, _ := events.CodeOf(worse(c.a, c.b)); code != c.code {
			t.Errorf("of %v and %v the worse is %s", c.a, c.b, code)
		}
	}
	m := someMended()
	if err := m.err(); !errors.Is(err, failure.ErrNotVerified) {
		t.Errorf("with a region that is not known it ends with %v", err)
	}
	m.Models[0].after.Report.Findings = m.Models[0].Report.Findings
	if err := m.err(); !errors.Is(err, failure.ErrDamaged) {
		t.Errorf("with a finding that is left it ends with %v", err)
	}
	m.Models[0].fail(events.Errorf(reconcile.ErrRebuild, "c"))
	if err := m.err(); !errors.Is(err, reconcile.ErrRebuild) {
		t.Errorf("with one to be built anew it ends with %v", err)
	}
}
