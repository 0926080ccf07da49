package natsstream

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

// maxListed bounds the deleted sequences that a stream is asked to list: some 700 kB of JSON. Of one that has more, the leader is asked for the next message
// that it holds. That tells what a consumer left out, and not what is damaged on disk: a damaged message is in no list, and no search finds it.
const maxListed = 100_000

// gaps knows what a stream says it does not hold any more.
type gaps struct {
	api    natsapi.API
	logger *slog.Logger
	most   int // deleted sequences that are listed: maxListed

	mu      sync.Mutex
	created time.Time
	deleted []uint64 // sorted; what is deleted stays so
}

// of says which stream it is now.
func (g *gaps) of(created time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.created.Equal(created) {
		g.created, g.deleted = created, nil
	}
}

// run returns the last of the sequences from from on that are known to be deleted one after the other; 0 when from is not.
func (g *gaps) run(from uint64) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return runOf(g.deleted, from)
}

// runOf returns the last of the sequences from from on that stand in a sorted list one after the other; 0 when from does not.
func runOf(list []uint64, from uint64) uint64 {
	at, found := slices.BinarySearch(list, from)
	if !found {
		return 0
	}
	n := sort.Search(len(list)-at, func(k int) bool { return list[at+k] != from+uint64(k) }) //nolint:gosec // an index
	return from + uint64(n) - 1                                                              //nolint:gosec // at least one
}

// Gone returns the record that stands for sequence from and those after it, up to one that is to at most (0: the last), as far as the stream says that it
// does not hold them. It returns false when it holds from, or does not say.
func (g *gaps) Gone(ctx context.Context, from, to uint64) (events.Record, bool, error) {
	if last := g.run(from); last > 0 && to > 0 {
		return g.stretch(events.KindDeleted, from, min(last, to))
	}
	info, err := g.api.StreamInfo(ctx)
	if err != nil {
		return events.Record{}, false, err
	}
	list := info.State.NumDeleted > 0 && info.State.NumDeleted <= g.most
	if list {
		if info, err = g.api.StreamDetails(ctx); err != nil {
			return events.Record{}, false, err
		}
		g.learn(info)
	}
	state := &info.State
	if to == 0 || to > state.LastSeq {
		to = state.LastSeq
	}
	first := state.FirstSeq
	if state.Msgs == 0 {
		first = state.LastSeq + 1
	}
	switch {
	case from > to:
		return events.Record{}, false, nil
	case from < first && superseded(&info.Config):
		return g.stretch(events.KindDeleted, from, min(to, first-1))
	case from < first:
		return g.stretch(events.KindEvicted, from, min(to, first-1))
	case list:
		return g.stretch(events.KindDeleted, from, min(to, g.run(from)))
	case state.NumDeleted == 0:
		return events.Record{}, false, nil
	}
	m, err := g.api.Message(ctx, natsapi.Query{Sequence: from, NextOf: ">"})
	switch {
	case errors.Is(err, natsapi.ErrNoMessage):
		return g.stretch(events.KindDeleted, from, to)
	case err != nil:
		return events.Record{}, false, err
	}
	return g.stretch(events.KindDeleted, from, min(to, m.Sequence-1))
}

// learn takes over what the stream says was deleted.
func (g *gaps) learn(info *jetstream.StreamInfo) {
	list := info.State.Deleted
	if !slices.IsSorted(list) {
		slices.Sort(list)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.created.Equal(info.Created) {
		g.deleted = list
	}
}

// stretch returns the record of sequences that are gone; none when to is before from.
func (g *gaps) stretch(kind events.Kind, from, to uint64) (events.Record, bool, error) {
	if to < from {
		return events.Record{}, false, nil
	}
	if kind == events.KindEvicted {
		g.logger.Info("the stream retains nothing before a sequence that was to be read", "from", from, "first", to+1)
	}
	return events.Record{Kind: kind, First: from, Sequence: to}, true, nil
}
