package region

import (
	"context"
	"iter"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/projections/marks"
)

// Others returns the copies of the log that other regions hold, by region, to be compared with this one's: where the region mirrors the log, the leader's; where it leads, those of
// all regions that are known to hold it.
func (r *Region) Others(ctx context.Context) (map[string]marks.Opener, error) {
	names := []string{r.config.Leader}
	if r.Leads() {
		names = slices.Concat(r.config.Regions, r.config.Peers)
		for _, link := range r.config.Links {
			names = append(names, link.Region)
		}
		floors, err := r.floors.Floors(ctx)
		if err != nil && len(names) == 0 {
			return nil, err
		}
		for _, f := range floors {
			names = append(names, f.Region)
		}
	}
	out := make(map[string]marks.Opener, len(names))
	for _, name := range names {
		if name != r.config.Name {
			out[name] = func(ctx context.Context) (marks.Other, error) { return r.other(ctx, name) }
		}
	}
	return out, nil
}

// other opens another region's copy of the log.
func (r *Region) other(ctx context.Context, name string) (*otherLog, error) {
	log, err := natslog.Open(ctx, r.nats, natslog.Config{Origin: r.config.Origin, Domain: name, ReadOnly: true}, natslog.Options{})
	if err != nil {
		return nil, err
	}
	return &otherLog{log}, nil
}

// otherLog is the log of another region. It is read without consumers, which nobody may make over a link.
type otherLog struct{ *natslog.Log }

// Read yields the records of a range, which is not followed.
func (o *otherLog) Read(ctx context.Context, wanted events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		next := max(wanted.From, 1)
		batch := make([]events.Record, 0, events.DefaultReadBatch)
		for r, err := range o.Walk(ctx, next) {
			if wanted.To != 0 && next > wanted.To {
				break
			}
			if err == nil && r.Sequence != next {
				err = events.Errorf(events.ErrHole, "sequence %d is missing from the log of origin %s, which goes on behind it", next, o.Origin())
			}
			if err != nil {
				if len(batch) == 0 || yield(batch, nil) {
					yield(nil, err)
				}
				return
			}
			batch = append(batch, r)
			if next++; len(batch) < cap(batch) {
				continue
			}
			if !yield(batch, nil) {
				return
			}
			batch = batch[:0]
		}
		if len(batch) > 0 {
			yield(batch, nil)
		}
	}
}
