package telemetry

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"tidemark.dev/projections/marks"
)

// audits asks auditors at each scrape.
type audits struct {
	known, sound, sequence, finding metric.Int64ObservableGauge
	age, fullAge                    metric.Float64ObservableGauge

	mu   sync.Mutex
	list []*marks.Auditor
}

func (a *audits) make(m *maker) {
	a.known = m.gauge("tidemark_audit_known", "1", "Whether it is known what the audit of this region's copy of an origin has found.")
	a.sound = m.gauge("tidemark_audit_sound", "1", "Whether nothing is wrong with this region's copy of an origin, as far as it was audited. No sample while unknown.")
	a.finding = m.gauge("tidemark_audit_finding", "1", "1 for what is wrong with this region's copy of an origin. No sample while nothing is.")
	a.sequence = m.gauge("tidemark_audit_sequence", "{sequence}", "Up to which sequence this region's copy was audited.")
	a.age = m.floatGauge("tidemark_audit_age_seconds", "s", "Time since the newest mark was found right.")
	a.fullAge = m.floatGauge("tidemark_audit_full_age_seconds", "s", "Time since the whole copy was found right. No sample before that.")
	m.observe(a.observe, a.known, a.sound, a.finding, a.sequence, a.age, a.fullAge)
}

// ObserveAudit shows what an auditor finds.
func (t *Telemetry) ObserveAudit(a *marks.Auditor) {
	t.audits.mu.Lock()
	defer t.audits.mu.Unlock()
	t.audits.list = append(t.audits.list, a)
}

func (a *audits) observe(_ context.Context, o metric.Observer) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, auditor := range a.list {
		now := auditor.State()
		by := labels("origin", now.Origin)
		o.ObserveInt64(a.known, flag(now.Known), by)
		if !now.Known {
			continue
		}
		o.ObserveInt64(a.sound, flag(now.Finding == ""), by)
		if now.Finding != "" {
			o.ObserveInt64(a.finding, 1, labels("origin", now.Origin, "kind", string(now.Finding)))
		}
		o.ObserveInt64(a.sequence, whole(now.Upto), by)
		if !now.Audited.IsZero() {
			o.ObserveFloat64(a.age, time.Since(now.Audited).Seconds(), by)
		}
		if !now.Full.IsZero() {
			o.ObserveFloat64(a.fullAge, time.Since(now.Full).Seconds(), by)
		}
	}
	return nil
}
