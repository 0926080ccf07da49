package command

import (
	"context"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
	"tidemark.dev/services/internal/failure"
)

const (
	// defaultExpires is after how long a copy is dropped.
	defaultExpires = 24 * time.Hour
	never          = "never"
	// maxRate bounds the records in each second: more is no bound at all.
	maxRate = 100_000_000
)

// replayFlags are what replay is told.
type replayFlags struct {
	fromStart                                 bool
	fromSeq                                   uint64
	fromTime, to, as, expires, resume, cancel string
	rate                                      int
	dry, requireEqual, all                    bool

	given func(flag string) bool
	from  time.Time     // of --from-time
	lasts time.Duration // of --expires; 0: never
}

// check refuses flags that do not go together, or say nothing.
func (f *replayFlags) check(region string) error {
	var forms []string
	for _, name := range []string{"from-start", "from-seq", "from-time", "to", "resume", "cancel"} {
		if f.given(name) {
			forms = append(forms, name)
		}
	}
	refuse := func(format string, args ...any) *events.Error {
		return events.Errorf(failure.ErrUsage, format+"; nothing was started", args...)
	}
	switch {
	case len(forms) == 0 && f.given("as"):
		return refuse("--as names a copy, and it is not said of which position").Hint("Add --to POSITION: a position, a sequence, or a time.")
	case len(forms) == 0, len(forms) == 1 && f.given("from-start") && !f.fromStart:
		return refuse("where the replay begins is not said").
			Hint("Add --from-start: the read model is then built from the first event, whatever was wrong before. Or --from-seq N, --from-time T, --to POSITION --as NAME, --resume ID, --cancel ID.")
	case len(forms) > 1:
		return refuse("--%s and --%s were given, and a replay is one of them", forms[0], forms[1]).Hint("Leave one of them out.")
	}
	if form := forms[0]; form == "resume" || form == "cancel" {
		if f.resume == "" && f.cancel == "" {
			return refuse("the id of the replay is empty").Hint("tidemark replay list shows them.")
		}
		for _, name := range []string{"as", "expires", "rate", "dry-run", "require-equal", "all-regions"} {
			if f.given(name) {
				return refuse("--%s is about a replay as it was asked for, and --%s would change it", form, name).Hint("Leave --%s out.", name)
			}
		}
		return nil
	}
	switch {
	case f.given("from-seq") && f.fromSeq == 0:
		return projector.ZeroOffset()
	case f.given("rate") && (f.rate < 1 || f.rate > maxRate):
		return refuse("a rate of %d records in each second is outside 1 to %d", f.rate, maxRate).Hint("Leave --rate out to go as fast as it can.")
	case f.all && region != "":
		return refuse("--all-regions and --region %s contradict each other", region).Hint("Leave one of them out.")
	case f.given("to"):
		return f.checkCopy(refuse)
	case f.given("as"), f.given("expires"):
		return refuse("--as and --expires are about a copy, which --to makes").Hint("A copy: --to POSITION --as NAME.")
	}
	if f.given("from-time") {
		var err error
		if f.from, err = time.Parse(time.RFC3339Nano, f.fromTime); err != nil {
			return refuse("%.80q is not a time", f.fromTime).Hint("Write it like 2026-11-26T06:00:00Z.")
		}
	}
	return nil
}

func (f *replayFlags) checkCopy(refuse func(format string, args ...any) *events.Error) (err error) {
	switch {
	case f.to == "":
		return events.Errorf(events.ErrInvalidPosition, "the position of the copy is empty; nothing was started").Hint("Write --to POSITION: a position, a sequence, or a time.")
	case !f.given("as"):
		return refuse("a copy has a name, and none was given").Hint("Add --as NAME; queries then read it with --at NAME.")
	case f.requireEqual:
		return refuse("--require-equal is about what takes the place of the live read model, and a copy does not").Hint("Leave it out.")
	case f.expires == never:
		return nil
	}
	if f.lasts, err = time.ParseDuration(f.expires); err != nil || f.lasts <= 0 {
		return refuse("%.80q is not how long a copy is kept", f.expires).Hint("Write it like 48h, or never.")
	}
	return nil
}

// request returns what is asked for; log is what the read model is folded from.
func (f *replayFlags) request(ctx context.Context, log events.Reader) (asked projections.ReplayRequest, err error) {
	asked = projections.ReplayRequest{Reason: "tidemark replay", Rate: f.rate, RequireEqual: f.requireEqual}
	switch {
	case f.given("to"):
		at, err := projector.PositionAt(ctx, log, f.to)
		if err != nil {
			return asked, err
		}
		asked.Kind, asked.To, asked.As = projections.ReplayCopy, at.String(), f.as
		if f.lasts > 0 {
			until := time.Now().UTC().Add(f.lasts)
			asked.Until = &until
		}
	case f.given("from-time"):
		asked.From, err = projector.SequenceAt(ctx, log, f.from)
	case f.given("from-seq"):
		asked.From = f.fromSeq
	}
	return asked, err
}
