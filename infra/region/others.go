package region

import (
	"cmp"
	"context"
	"encoding/json"
	"iter"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/projections/marks"
	"tidemark.dev/projections/reconcile"
)

// Others returns the copies of the log that other regions hold, by region, to be compared with this one's: where the region mirrors the log, the leader's; where it leads, those of
// all regions that are known to hold it.
func (r *Region) Others(ctx context.Context) (map[string]marks.Opener, error) {
	names := []string{r.config.Leader}
	if r.Leads() {
		var err error
		if names, err = r.Elsewhere(ctx); err != nil {
			return nil, err
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

// Elsewhere returns the names of the other regions that hold the log, as far as they are known here, sorted: where the region leads, those that follow it too.
func (r *Region) Elsewhere(ctx context.Context) ([]string, error) {
	names := slices.Concat(r.config.Regions, r.config.Peers, []string{r.config.Leader})
	for _, link := range r.config.Links {
		names = append(names, link.Region)
	}
	if r.Leads() {
		floors, err := r.floors.Floors(ctx)
		if err != nil && len(names) == 1 {
			return nil, err
		}
		for _, f := range floors {
			names = append(names, f.Region)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == r.config.Name }), nil
}

// Ask asks the query service of another region. Errors are those of queryservice.Caller.Ask.
func (r *Region) Ask(ctx context.Context, region, operation string, request, body any) error {
	_, err := queryservice.Ask(ctx, r.nats, region, operation, request, body)
	return err
}

// FindingsSubject is where a region announces that what is stored of a projection is not what the log says, and that it was repaired: tm.findings.<region>.<projection>. Messages are a reconcile.Record as JSON.
func FindingsSubject(region, projection string) string {
	return "tm.findings." + region + "." + projection
}

// Announce tells whoever has subscribed of a record of the region's reconciler.
func (r *Region) Announce(record *reconcile.Record) error {
	text, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if limit := r.nats.MaxPayload(); limit > 0 && int64(len(text)) > limit {
		short := *record
		short.Findings = nil
		if text, err = json.Marshal(&short); err != nil {
			return err
		}
	}
	return r.nats.Publish(FindingsSubject(r.config.Name, record.Projection), text)
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
		batch := make([]events.Record, 0, cmp.Or(max(wanted.Batch, 0), events.DefaultReadBatch))
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
