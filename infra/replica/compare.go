package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark.dev/events"
)

// foreign returns the error that closes the gate for good.
func (c Config) foreign(format string, args ...any) error {
	return events.Errorf(events.ErrForeignHistory, "the copy of origin %s in region %s is not on the history of its leader %s: %s; nothing more is taken from there",
		c.Origin, c.Region, c.Leader, fmt.Sprintf(format, args...)).
		Hint("Find out which of the two is right. If the leader is: delete stream %s in region %s, and it is copied anew.", c.stream(), c.Region)
}

// compareTerms returns ErrForeignHistory unless the leader's history, as far as the copy holds it, has the copy's lineage and terms.
func (c Config) compareTerms(here, there events.Info) error {
	if here.Last == 0 {
		return nil
	}
	if here.Terms.Lineage != there.Terms.Lineage {
		return c.foreign("sequence 1 is the genesis of lineage %s here, and of lineage %s there", here.Terms.Lineage, there.Terms.Lineage)
	}
	ours, theirs := here.Terms.Starts, there.Terms.Starts
	for i, start := range theirs {
		if i < len(ours) && ours[i] != start {
			return c.foreign("term %d begins at sequence %d here, and at sequence %d there", i+1, ours[i], start)
		}
		if i >= len(ours) && start <= here.Last {
			return c.foreign("term %d begins at sequence %d there, and the copy, which ends at %d, does not know it", i+1, start, here.Last)
		}
	}
	if n := len(theirs); len(ours) > n {
		return c.foreign("term %d begins at sequence %d here, and the leader does not know it", n+1, ours[n])
	}
	return nil
}

// place is a record that copy and leader were found to hold alike.
type place struct {
	sequence uint64
	print    events.Hash
}

// compareRecords returns ErrForeignHistory unless copy and leader hold the same record at a sequence. Headers that mirroring strips play no part in a
// fingerprint; sequence, time, subject and content do.
func (c Config) compareRecords(ctx context.Context, here, there events.Reader, seq uint64) (place, error) {
	mine, err := here.Record(ctx, seq)
	switch {
	case errors.Is(err, events.ErrNotFound):
		return place{}, c.hole(fmt.Sprintf("record %d is missing", seq))
	case errors.Is(err, events.ErrDamaged), errors.Is(err, events.ErrForeignHistory):
		return place{}, c.foreign("sequence %d cannot be read here: %v", seq, err)
	case err != nil:
		return place{}, err
	}
	theirs, err := there.Record(ctx, seq)
	switch {
	case errors.Is(err, events.ErrNotFound):
		return place{}, events.Errorf(events.ErrUnreachable, "leader %s of origin %s does not find its record %d; it is asked again", c.Leader, c.Origin, seq)
	case errors.Is(err, events.ErrForeignHistory):
		return place{}, c.foreign("sequence %d is %s here, and cannot be read there: %v", seq, describe(&mine), err)
	case err != nil:
		return place{}, err
	}
	if mine.Fingerprint() != theirs.Fingerprint() {
		return place{}, c.foreign("sequence %d is %s here, and %s there", seq, describe(&mine), describe(&theirs))
	}
	return place{seq, mine.Fingerprint()}, nil
}

func describe(r *events.Record) string {
	return fmt.Sprintf("%s of %s with fingerprint %s", r.Subject, r.Time.UTC().Format(time.RFC3339Nano), r.Fingerprint())
}

// hole returns the error of a copy that lacks records. Only a copy made anew has them again.
func (c Config) hole(what string) error {
	return events.Errorf(events.ErrHole, "the copy of origin %s in region %s has a hole: %s; nothing more is taken from leader %s", c.Origin, c.Region, what, c.Leader).
		Hint("Delete stream %s in region %s, and it is copied anew.", c.stream(), c.Region)
}
