package replica

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
)

// Floors tells, in the region that leads an origin, how much of it each region holds.
type Floors struct {
	api    api
	origin string
	leader string
}

var _ events.Floors = (*Floors)(nil)

// NewFloors returns the floors of an origin in the region that leads it. nc is a connection to that region's servers; it is used as it is.
func NewFloors(nc *nats.Conn, origin, leader string) *Floors {
	return &Floors{api: ownAPI(nc, leader), origin: origin, leader: leader}
}

// namesPage is the request for the names of consumers from one on.
type namesPage struct {
	Offset int `json:"offset"`
}

// maxPages bounds how many pages of names are read: a stream has few durable consumers, and each reading adds one.
const maxPages = 100

// Floors returns the leader's head, and for each region that mirrors it what it has confirmed. A region is known from the first time on that its mirror was let in.
func (f *Floors) Floors(ctx context.Context) ([]events.Floor, error) {
	stream := natslog.StreamName(f.origin)
	// The floors are read first: no region may seem to be ahead of the leader.
	floors, err := f.mirrors(ctx, stream)
	if err != nil {
		return nil, err
	}
	info, err := f.api.streamInfo(ctx, stream)
	if err != nil {
		return nil, err
	}
	floors = append(floors, events.Floor{Region: f.leader, Sequence: info.State.LastSeq, Connected: true})
	slices.SortFunc(floors, func(a, b events.Floor) int { return cmp.Compare(a.Region, b.Region) })
	return floors, nil
}

func (f *Floors) mirrors(ctx context.Context, stream string) ([]events.Floor, error) {
	names, err := f.names(ctx, stream)
	if err != nil {
		return nil, err
	}
	var floors []events.Floor
	for _, name := range names {
		region, ok := natslog.MirrorRegion(name)
		if !ok || region == f.leader {
			continue
		}
		var c consumerAnswer
		switch _, err := f.api.call(ctx, callTimeout, "CONSUMER.INFO."+stream+"."+name, nil, &c); {
		case hasCode(err, codeNoConsumer): // taken away a moment ago
			continue
		case err != nil:
			return nil, f.api.named(stream, err)
		}
		floors = append(floors, events.Floor{Region: region, Sequence: c.AckFloor.Stream, Connected: c.PushBound})
	}
	return floors, nil
}

// errTooMany: the stream has so many consumers that something else must be wrong.
var errTooMany = errors.New("the stream has too many consumers to list")

func (f *Floors) names(ctx context.Context, stream string) ([]string, error) {
	var all []string
	for range maxPages {
		var page struct {
			Total     int      `json:"total"`
			Consumers []string `json:"consumers"`
		}
		if _, err := f.api.call(ctx, callTimeout, "CONSUMER.NAMES."+stream, namesPage{Offset: len(all)}, &page); err != nil {
			return nil, f.api.named(stream, err)
		}
		all = append(all, page.Consumers...)
		if len(page.Consumers) == 0 || len(all) >= page.Total {
			return all, nil
		}
	}
	return nil, events.Errorf(events.ErrUnreachable, "the floors of origin %s cannot be told: %w", f.origin, errTooMany)
}
