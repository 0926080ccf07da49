package telemetry_test

import (
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/infra/telemetry"
	"tidemark.dev/projections/reconcile"
)

func TestWhatIsNotKnownOfTheRegionsIsNotShownAsEqual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry(t, nil)
		v := tel.Verdicts()
		of := []string{"projection", "airports"}
		shows := func(want string) *scrape {
			t.Helper()
			s := scraped(t, tel)
			for _, result := range []string{"equal", "different", "unknown", "unhealthy"} {
				value := 0.0
				if result == want {
					value = 1
				}
				s.is(value, "tidemark_verify_result", append(of, "result", result)...)
			}
			return s
		}
		scraped(t, tel).missing("tidemark_verify_result")
		v.Compared(&reconcile.Verdict{Projection: "airports", Result: reconcile.Equal, Number: 41, Regions: []reconcile.Told{{}}})
		s := shows("equal")
		s.is(41, "tidemark_verify_mark_number", of...)
		s.is(0, "tidemark_verify_different_partitions", of...)
		<-time.After(time.Minute)
		shows("equal").is(60, "tidemark_verify_age_seconds", of...)
		<-time.After(telemetry.DefaultVerdictAge)
		s = shows("unknown") // nobody has compared since
		s.missing("tidemark_verify_mark_number")
		s.missing("tidemark_verify_different_partitions")

		v.Compared(&reconcile.Verdict{
			Projection: "airports", Result: reconcile.Equal, Number: 42, Regions: []reconcile.Told{{Standing: reconcile.Standing{Unhealthy: &reconcile.Reason{Code: "overdue"}}}},
		})
		shows("unhealthy")
		v.Compared(&reconcile.Verdict{Projection: "airports", Result: reconcile.Unknown})
		s = shows("unknown")
		s.missing("tidemark_verify_mark_number")
		s.missing("tidemark_verify_different_partitions")
		v.Compared(&reconcile.Verdict{Projection: "airports", Result: reconcile.Different, Number: 43, Partitions: make([]reconcile.Difference, 2)})
		shows("different").is(2, "tidemark_verify_different_partitions", of...)
		v.Compared(&reconcile.Verdict{Projection: "airports", Result: reconcile.Different, Number: 43, Whole: &reconcile.Reason{}})
		s = shows("different")
		s.missing("tidemark_verify_different_partitions")
		s.is(2, "tidemark_verify_comparisons_total", append(of, "result", "different")...)
		v.Bound(time.Hour)
		<-time.After(59 * time.Minute)
		shows("different")
		v.Gone("airports")
		scraped(t, tel).missing("tidemark_verify_result")
	})
}
