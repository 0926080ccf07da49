package projections_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"tidemark.dev/projections"
)

func TestExpiriesHaveTheOrderOfTheirTimes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	zone := time.FixedZone("", -7*3600)
	before, text := time.Unix(0, 0), ""
	for range 1_000 {
		at := time.Unix(random.Int64N(253402300800), random.Int64N(1e9)).In(zone)
		got, ok := projections.FormatExpiry(at)
		if !ok || len(got) != 30 || text != "" && strings.Compare(text, got) != before.Compare(at) {
			t.Fatalf("%s is %s, and %s is %s", before, text, at, got)
		}
		if back, ok := projections.ParseExpiry(got); !ok || !back.Equal(at) {
			t.Fatalf("%s is read back as %s", got, back)
		}
		before, text = at, got
	}
	for _, at := range []time.Time{{}, time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if got, ok := projections.FormatExpiry(at); ok {
			t.Errorf("%s is %s", at, got)
		}
	}
	for _, bad := range []string{" ", "never", "2001-01-01T00:00:00Z", "2001-01-01T00:00:00.000000000+00:00", "2001-02-30T00:00:00.000000000Z", "1969-01-01T00:00:00.000000000Z"} {
		if at, ok := projections.ParseExpiry(bad); ok {
			t.Errorf("%s is read as %s", bad, at)
		}
	}
}

func TestAMarkRemovesWhatExpiresThenOrEarlier(t *testing.T) {
	const noon = "2001-02-03T12:00:00.000000000Z"
	mark := time.Date(2001, 2, 3, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		expires, parked string
		mark            time.Time
		want            bool
	}{
		{noon, "", mark, true}, {noon, "", mark.Add(time.Hour), true}, {noon, "", mark.Add(-1), false}, {"", "", mark, false},
		{noon, "us.7f3a11d2@1:3 reason", mark, false}, {"2001-02-03", "", mark, false}, {noon, "", mark.In(time.FixedZone("", 3600)), true},
	} {
		if got := projections.Expired(c.expires, c.parked, c.mark); got != c.want {
			t.Errorf("%q, parked %q: at %s it is %v", c.expires, c.parked, c.mark, got)
		}
	}
}
