package telemetry

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"tidemark.dev/projections/reconcile"
)

// DefaultVerdictAge is how old a verdict may be before it says nothing any more.
const DefaultVerdictAge = 5 * time.Minute

// resultUnhealthy is shown of regions that are equal at a mark, and of which one has stopped passing marks.
const resultUnhealthy = "unhealthy"

// Verdicts shows what comparing regions came to. It is told by whoever compares them.
type Verdicts struct {
	result     metric.Int64ObservableGauge
	age        metric.Float64ObservableGauge
	number     metric.Int64ObservableGauge
	partitions metric.Int64ObservableGauge
	compared   metric.Int64Counter

	mu   sync.Mutex
	most time.Duration
	last map[string]told
}

// told is the last verdict on one projection.
type told struct {
	result     string
	number     uint64
	partitions int
	at         time.Time
}

func newVerdicts(m *maker) *Verdicts {
	v := &Verdicts{last: make(map[string]told), most: DefaultVerdictAge}
	v.compared = m.counter("tidemark_verify_comparisons_total", "{comparison}", "Comparisons of all regions: equal, different, unknown, or unhealthy.")
	v.result = m.gauge("tidemark_verify_result", "1", "1 for what comparing all regions came to last: equal, different, unknown, or unhealthy. An old one is unknown.")
	v.age = m.floatGauge("tidemark_verify_age_seconds", "s", "How long ago the regions were compared last.")
	v.number = m.gauge("tidemark_verify_mark_number", "{mark}", "Number of the mark at which they were compared. No sample when there was none.")
	v.partitions = m.gauge("tidemark_verify_different_partitions", "{partition}", "Partitions that differ. No sample while that is not known.")
	m.observe(v.observe, v.result, v.age, v.number, v.partitions)
	return v
}

// Verdicts returns what shows the verdicts of whoever compares regions in this process.
func (t *Telemetry) Verdicts() *Verdicts { return t.verdicts }

// Bound says how old a verdict may be before it is unknown; for whoever compares less often than twice in DefaultVerdictAge.
func (v *Verdicts) Bound(most time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.most = most
}

// Compared takes note of a verdict.
func (v *Verdicts) Compared(verdict *reconcile.Verdict) {
	now := told{result: string(verdict.Result), number: verdict.Number, partitions: len(verdict.Partitions), at: time.Now()}
	if verdict.Result == reconcile.Equal && !verdict.Healthy() {
		now.result = resultUnhealthy
	}
	if verdict.Result == reconcile.Unknown || verdict.Whole != nil {
		now.partitions = -1
	}
	v.compared.Add(context.Background(), 1, labels("projection", verdict.Projection, "result", now.result))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last[verdict.Projection] = now
}

// Gone forgets a projection that there is no more.
func (v *Verdicts) Gone(projection string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.last, projection)
}

func (v *Verdicts) observe(_ context.Context, o metric.Observer) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for projection, last := range v.last {
		by := labels("projection", projection)
		age := max(0, time.Since(last.at))
		fresh := age <= v.most
		if !fresh {
			last.result = string(reconcile.Unknown)
		}
		for _, result := range [...]string{string(reconcile.Equal), string(reconcile.Different), string(reconcile.Unknown), resultUnhealthy} {
			o.ObserveInt64(v.result, flag(result == last.result), labels("projection", projection, "result", result))
		}
		o.ObserveFloat64(v.age, age.Seconds(), by)
		if fresh && last.number > 0 {
			o.ObserveInt64(v.number, whole(last.number), by)
		}
		if fresh && last.partitions >= 0 {
			o.ObserveInt64(v.partitions, int64(last.partitions), by)
		}
	}
	return nil
}
