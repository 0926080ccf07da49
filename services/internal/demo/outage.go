package demo

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
)

const (
	// missed is how many events are published while a region is cut off.
	missed = 500
	// moment is how long a read or a confirmation waits that must not succeed.
	moment = 300 * time.Millisecond
	look   = 50 * time.Millisecond
)

// cut cuts the last region's links, publishes, and looks at what that region says: it answers from what it has, and never that it has everything.
func (d *demo) cut(ctx context.Context) error {
	step := d.say.step("Cutting the links of ap")
	for _, l := range d.far().links {
		l.Cut()
	}
	before := d.own
	for range missed {
		if _, err := d.departs(ctx, d.leader()); err != nil {
			return err
		}
		d.summary.CutOff++
	}
	if err := d.isolated(ctx); err != nil {
		return err
	}
	n, a, err := d.departures(ctx, d.far(), query.Options{})
	switch {
	case err != nil:
		return err
	case n != before || a.Lag != nil:
		return failed("the region that is cut off shows %d departures with lag %v, expected %d and an unknown lag", n, a.Lag, before)
	}
	_, _, err = d.departures(ctx, d.far(), query.Options{AtLeast: d.summary.Position, Wait: moment})
	if !errors.Is(err, projections.ErrNotReached) {
		return failed("a read at %s in the region that is cut off gave %v", d.summary.Position, err)
	}
	held, err := d.halfConfirmed(ctx)
	if err != nil {
		return err
	}
	step.done("%s events more in us, confirmed by %s; ap answers at %s with lag unknown, and to a read at %s \"not reached\"",
		display.Number(missed), held, a.Position, d.summary.Position)
	return nil
}

// isolated waits until the region that is cut off says that its lag is not known. That takes as long as its last look at the leader is believed.
func (d *demo) isolated(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		now := d.far().Copy().Replication()
		if now.State == events.CopyUnknown {
			if now.Lag != nil {
				return failed("a copy that is cut off has the lag %+v", *now.Lag)
			}
			return nil
		}
		if err := rest(ctx, look); err != nil {
			return err
		}
	}
}

// halfConfirmed checks that two regions confirm the last event and three do not, and names the two.
func (d *demo) halfConfirmed(ctx context.Context) (string, error) {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	held, err := events.Confirm(waiting, d.leader().Floors(), d.summary.Position, len(d.places)-1)
	if err != nil {
		return "", err
	}
	short, cancelShort := context.WithTimeout(ctx, moment)
	defer cancelShort()
	if _, err := events.Confirm(short, d.leader().Floors(), d.summary.Position, len(d.places)); !errors.Is(err, events.ErrNotConfirmed) {
		return "", failed("a region that is cut off confirmed an event: %v", err)
	}
	names := ""
	for i, name := range held {
		if i > 0 {
			names += " and "
		}
		names += name
	}
	return names, nil
}

// heal lets the links work again and waits until the region is level.
func (d *demo) heal(ctx context.Context) error {
	step := d.say.step("Healing the links")
	for _, l := range d.far().links {
		l.Heal()
	}
	n, a, err := d.departures(ctx, d.far(), d.at())
	if err != nil {
		return err
	}
	if n != d.own {
		return failed("after the links healed ap shows %d departures, expected %d", n, d.own)
	}
	d.summary.Healed = step.elapsed().Seconds()
	if err := d.confirmed(ctx, d.summary.Position); err != nil {
		return err
	}
	step.done("ap has all of it %.1f s later, at %s", d.summary.Healed, a.Position)
	return nil
}
