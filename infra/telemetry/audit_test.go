package telemetry_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/memstore"
)

// audited runs an auditor of a log with a mark, which ends with the test.
func audited(t *testing.T) (*marks.Auditor, *memlog.Log) {
	t.Helper()
	log := memlog.New("us", memlog.Options{})
	if _, err := log.Append(context.Background(), events.One(deposited(1, 1), events.ExpectAny())); err != nil {
		t.Fatal(err)
	}
	if err := marks.New(log, marks.Options{Interval: 1}).Write(context.Background()); err != nil {
		t.Fatal(err)
	}
	a := marks.NewAuditor(log, memstore.NewKV(), memstore.NewLeases(), marks.AuditorOptions{Region: "us", Leader: "us"})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		log.Close()
	})
	return a, log
}

func TestWhatAnAuditFindsIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry(t, nil)
		log := memlog.New("us", memlog.Options{})
		defer log.Close()
		tel.ObserveAudit(marks.NewAuditor(log, memstore.NewKV(), memstore.NewLeases(), marks.AuditorOptions{})) // which does not run
		s := scraped(t, tel)
		s.is(0, "tidemark_audit_known", "origin", "us")
		for _, name := range []string{"sound", "finding", "sequence", "age_seconds", "full_age_seconds"} {
			s.missing("tidemark_audit_" + name)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry(t, nil)
		a, log := audited(t)
		tel.ObserveAudit(a)
		time.Sleep(10 * time.Second) // of the bubble's clock
		synctest.Wait()
		s := scraped(t, tel)
		s.is(1, "tidemark_audit_known", "origin", "us")
		s.is(1, "tidemark_audit_sound", "origin", "us")
		s.is(2, "tidemark_audit_sequence", "origin", "us")
		s.missing("tidemark_audit_finding")
		log.Recreate()
		time.Sleep(10 * time.Second) // of the bubble's clock
		synctest.Wait()
		s = scraped(t, tel)
		s.is(0, "tidemark_audit_sound", "origin", "us")
		s.is(1, "tidemark_audit_finding", "origin", "us", "kind", "recreated")
	})
}
