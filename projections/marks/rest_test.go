package marks

import (
	"testing"
	"time"

	"tidemark.dev/events/memlog"
)

func TestAuditingStaysWithinItsBudget(t *testing.T) {
	log := memlog.New("us", memlog.Options{})
	defer log.Close()
	a := NewAuditor(log, nil, nil, AuditorOptions{})
	if got := a.rest(time.Second); got.Round(time.Millisecond) != 19*time.Second {
		t.Errorf("after a second of work it rests %s", got)
	}
	a.audit.Finding = &Finding{}
	if got := a.rest(time.Second); got != time.Second {
		t.Errorf("while nothing is applied it rests %s", got)
	}
	a = NewAuditor(log, nil, nil, AuditorOptions{Budget: 1})
	if got := a.rest(time.Second); got != 0 {
		t.Errorf("with a core to itself it rests %s", got)
	}
}
