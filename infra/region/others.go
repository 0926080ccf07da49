package region

import (
	"context"
	"iter"
	"slices"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/projections/marks"
)

// Others returns the copies of the log that other regions hold, by region, to be compared with this one's: where the region mirrors the log, the leader's; where it leads, those of
// all regions that are known to mirror it. Each is opened when it is asked first, and is to be closed.
func (r *Region) Others(ctx context.Context) (map[string]marks.Other, error) {
	names := []string{r.config.Leader}
	if r.Leads() {
		names = slices.Clone(r.config.Regions)
		names = append(names, r.config.Peers...)
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
	out := make(map[string]marks.Other, len(names))
	for _, name := range names {
		if name != r.config.Name {
			out[name] = &otherLog{nc: r.nats, cfg: natslog.Config{Origin: r.config.Origin, Domain: name, ReadOnly: true}}
		}
	}
	return out, nil
}

// otherLog is the log of another region.
type otherLog struct {
	nc  *nats.Conn
	cfg natslog.Config
	log *natslog.Log // nil until it was opened
}

// Info opens the log, and asks it.
func (o *otherLog) Info(ctx context.Context) (events.Info, error) {
	if o.log == nil {
		log, err := natslog.Open(ctx, o.nc, o.cfg, natslog.Options{})
		if err != nil {
			return events.Info{}, err
		}
		o.log = log
	}
	return o.log.Info(ctx)
}

// Record returns a record. Info must have been asked.
func (o *otherLog) Record(ctx context.Context, seq uint64) (events.Record, error) {
	return o.log.Record(ctx, seq)
}

// Walk yields records. Info must have been asked.
func (o *otherLog) Walk(ctx context.Context, from uint64) iter.Seq2[events.Record, error] {
	return o.log.Walk(ctx, from)
}

// Close ends the log's use.
func (o *otherLog) Close() {
	if o.log != nil {
		o.log.Close()
	}
}
