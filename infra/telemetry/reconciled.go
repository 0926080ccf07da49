package telemetry

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"tidemark.dev/events"
	"tidemark.dev/projections/reconcile"
)

// Reconciled shows what a reconciler does: what comparing regions came to, what was examined, found and repaired. It is a reconcile.Observer.
type Reconciled struct {
	*Verdicts

	passes, documents, findings, repaired, failed metric.Int64Counter
	age                                           metric.Float64ObservableGauge
	open                                          metric.Int64ObservableGauge

	mu   sync.Mutex
	last map[string]examined
}

// examined is the last examination of a projection.
type examined struct {
	at   time.Time
	open int
}

var _ reconcile.Observer = (*Reconciled)(nil)

func newReconciled(m *maker, v *Verdicts) *Reconciled {
	r := &Reconciled{Verdicts: v, last: make(map[string]examined)}
	r.passes = m.counter("tidemark_scrub_passes_total", "{pass}", "Examinations of a whole read model that ended: scrub, or deep, when everything was folded again.")
	r.documents = m.counter("tidemark_scrub_documents_total", "{document}", "Documents that were read and compared with their digests.")
	r.findings = m.counter("tidemark_findings_total", "{finding}", "Documents, entries of indexes and partitions that were stored otherwise than the log says.")
	r.repaired = m.counter("tidemark_repairs_documents_total", "{document}", "Documents that were repaired.")
	r.failed = m.counter("tidemark_repairs_failed_total", "{repair}", "Repairs that were not carried out, or not whole, by the code of the error.")
	r.age = m.floatGauge("tidemark_scrub_age_seconds", "s", "How long ago the last examination of a whole read model ended.")
	r.open = m.gauge("tidemark_findings_open", "{finding}", "Findings of the last examination that are not repaired.")
	m.observe(r.observe, r.age, r.open)
	return r
}

// Reconciled returns what shows the reconciler of this process.
func (t *Telemetry) Reconciled() *Reconciled { return t.reconciled }

// Examined takes note of an examination.
func (r *Reconciled) Examined(report *reconcile.Report) {
	ctx, kind := context.Background(), "scrub"
	if report.Deep {
		kind = "deep"
	}
	r.passes.Add(ctx, 1, labels("projection", report.Projection, "kind", kind))
	r.documents.Add(ctx, whole(report.Documents), labels("projection", report.Projection))
	for i := range report.Findings {
		r.findings.Add(ctx, 1, labels("projection", report.Projection, "kind", string(report.Findings[i].Kind)))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[report.Projection] = examined{at: report.Ended, open: len(report.Findings) + report.More}
}

// Mended takes note of a repair.
func (r *Reconciled) Mended(projection string, out reconcile.Outcome, err error) {
	ctx := context.Background()
	r.repaired.Add(ctx, int64(out.Repaired), labels("projection", projection))
	if err != nil {
		code, ok := events.CodeOf(err)
		if !ok && errors.Is(err, context.DeadlineExceeded) {
			code = "timed-out"
		}
		r.failed.Add(ctx, 1, labels("projection", projection, "code", string(code)))
	}
}

func (r *Reconciled) observe(_ context.Context, o metric.Observer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for projection, last := range r.last {
		by := labels("projection", projection)
		if !last.at.IsZero() {
			o.ObserveFloat64(r.age, max(0, time.Since(last.at)).Seconds(), by)
		}
		o.ObserveInt64(r.open, int64(last.open), by)
	}
	return nil
}
