package region_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections/query"
)

// TestTheLeadersHeadIsAskedOverTheLink: in a region that mirrors, as it is at the leader and not as the copy has it; and when the link is down, never.
func TestTheLeadersHeadIsAskedOverTheLink(t *testing.T) {
	t.Parallel()
	m := newMesh(t)
	m.level(t, m.ap)
	if m.us.Head() != nil {
		t.Error("the leader would ask itself over a link")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range 20 {
		receipt, err := m.us.Log().Append(ctx, events.One(event("e", fmt.Sprint(i)), events.ExpectAny()))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []interface{ Head() events.Leader }{m.eu, m.ap} {
			if head, err := r.Head().Head(ctx); err != nil || !head.Equal(receipt.Position) {
				t.Errorf("the head is %s, %v, and the last event at %s", head, err, receipt.Position)
			}
		}
	}
	heads := query.NewCopyHeads(m.ap.Log(), m.ap.Copy(), m.ap.Head())
	before := time.Now()
	if lag := heads.Lag(ctx, events.At()); lag != nil {
		t.Errorf("the lag of nowhere is %+v", lag)
	}
	m.level(t, m.ap)
	info, err := m.ap.Log().Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lag is 0, as of a look at the leader", func() bool {
		lag := heads.Lag(ctx, info.Head())
		return lag != nil && lag.Events == 0 && lag.At.After(before.Add(-5*time.Second)) && !lag.At.After(time.Now())
	})
	for _, w := range m.wires["ap"] {
		w.Stall()
	}
	head, err := heads.Leader(ctx, 0)
	if !errors.Is(err, events.ErrUnreachable) || !head.IsZero() {
		t.Errorf("cut off, the head is %s, %v", head, err)
	}
	for _, w := range m.wires["ap"] {
		w.Heal()
	}
	eventually(t, "the leader answers again", func() bool {
		head, err := heads.Leader(ctx, time.Second)
		return err == nil && strings.HasSuffix(head.String(), ":21")
	})
}
