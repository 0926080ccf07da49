package projector

import (
	"context"
	"errors"
	"slices"
	"time"

	"tidemark.dev/projections"
)

// After a replay the generation before goes on being followed, beside the live one and under the same lease, until it is dropped. So it can take over again at once, and is not behind when it does.

// followKept follows the generation that the pointer says is kept, if this program has what it was folded with. One that was followed before is stopped.
func (p *Projector) followKept(ctx context.Context, token uint64, kept *follower) error {
	kept.stop()
	kept.engine, kept.cancel = nil, nil
	pointer, _, err := projections.ReadPointer(ctx, p.kv, p.def.Name)
	if err != nil || pointer.Previous == nil {
		return err
	}
	v, ok := p.version(pointer.Previous.Definition)
	if !ok {
		p.options.Logger.WarnContext(ctx, "the generation before cannot be followed: this program does not have its version", "generation", pointer.Previous.Generation,
			"version", pointer.Previous.Version)
		return nil
	}
	kept.engine = p.engine(v, pointer.Previous.Of(p.def.Name), token)
	kept.engine.demands, kept.engine.repairs, kept.engine.copies = nil, nil, nil
	kept.engine.options.Observer = nil // what it does is no news
	kept.start(ctx, 0)
	return nil
}

// keepUp follows a generation that is kept. Nobody waits for it, so what is wrong with it is logged, and tried again.
func (f *follower) keepUp(ctx context.Context) error {
	for said := ""; ; {
		err := f.run(ctx)
		if ctx.Err() != nil || errors.Is(err, errPaused) || lostOwnership(err) {
			return err
		}
		if text := err.Error(); text != said {
			said = text
			f.p.options.Logger.WarnContext(ctx, "the generation before is not followed now; it is tried again", "generation", f.engine.gen.Number, "reason", text)
		}
		if f.sleep(ctx, refusedWait) {
			return errPaused
		}
	}
}

// built describes the live generation, to be kept until a time.
func built(now *projections.Pointer, until time.Time) *projections.Built {
	return &projections.Built{
		Retiree: projections.Retiree{Generation: now.Generation, Partitions: now.Partitions}, Version: now.Version, Definition: now.Definition,
		Fields: now.Fields, Indexes: now.Indexes, Source: now.Source, Until: &until,
	}
}

// expire retires the generation before, and copies, whose time is over. It returns when it is to be called again; nil: it need not be, until something changes.
func (p *Projector) expire(ctx context.Context, kept *follower) (<-chan time.Time, error) {
	for {
		pointer, revision, err := projections.ReadPointer(ctx, p.kv, p.def.Name)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		var next time.Time
		over := func(until *time.Time) bool {
			if until == nil {
				return false
			}
			if until.After(now) {
				if next.IsZero() || until.Before(next) {
					next = *until
				}
				return false
			}
			return true
		}
		retired := false
		if before := pointer.Previous; before != nil && over(before.Until) {
			kept.stop()
			pointer.Previous, retired = nil, true
			retire(&pointer, before.Retiree)
		}
		pointer.Copies = slices.DeleteFunc(pointer.Copies, func(c projections.Copy) bool {
			if !over(c.Until) {
				return false
			}
			retired = true
			retire(&pointer, c.Retiree)
			return true
		})
		if retired {
			_, err = projections.WriteJSON(ctx, p.kv, projections.PointerKey(p.def.Name), pointer, revision)
			if errors.Is(err, projections.ErrRevision) {
				continue
			}
			if err != nil {
				return nil, err
			}
			p.wakeSweeper()
		}
		if next.IsZero() {
			return nil, nil
		}
		return time.After(max(time.Until(next), time.Millisecond)), nil
	}
}
