package natslog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsapi"
)

// ControlNames returns the names of all control records that the log holds, sorted. Errors: ErrUnreachable, ErrUnauthorized, ErrNoLog, or the context's cause.
func (l *Log) ControlNames(ctx context.Context) ([]string, error) {
	ctx, stop := l.within(ctx)
	defer stop()
	names := map[string]bool{}
	for offset := 0; ; {
		request := struct {
			Filter string `json:"subjects_filter"`
			Offset int    `json:"offset"`
		}{events.ControlSubject(l.cfg.Origin, ">"), offset}
		var answer struct {
			natsapi.Answer
			Total int `json:"total"`
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		if err := l.reading.Call(ctx, "STREAM.INFO."+l.reading.Stream, request, &answer); err != nil {
			return nil, ended(ctx, l.reading.Unanswered(err))
		}
		for subject := range answer.State.Subjects {
			if name, ok := events.ParseControlSubject(l.cfg.Origin, subject); ok {
				names[name] = true
			}
		}
		if offset += len(answer.State.Subjects); len(answer.State.Subjects) == 0 || offset >= answer.Total {
			return slices.Sorted(maps.Keys(names)), nil
		}
	}
}

// lastRequest asks for the last message of each of some subjects, as of a sequence.
type lastRequest struct {
	LastOf []string `json:"multi_last"`
	UpTo   uint64   `json:"up_to_seq"`
}

// LastControls returns the newest control record of each of some names up to a sequence, by rising sequence; a name that has none is left out. It takes one request for 512 names, and works over a
// link. Errors are those of LastControl, without ErrNotFound.
func (l *Log) LastControls(ctx context.Context, names []string, upto uint64) ([]events.Record, error) {
	ctx, stop := l.within(ctx)
	defer stop()
	var all []events.Record
	var err error
	for part := range slices.Chunk(names, directBatch) {
		request := lastRequest{UpTo: upto}
		for _, name := range part {
			if events.ValidControlName(name) {
				request.LastOf = append(request.LastOf, events.ControlSubject(l.cfg.Origin, name))
			}
		}
		payload, err := json.Marshal(request)
		if err != nil {
			return nil, err
		}
		page, err := several(ctx, l.reading, payload)
		if err != nil {
			return nil, ended(ctx, err)
		}
		for _, m := range page.messages {
			r, err := record(m, l.cfg.Origin)
			if err != nil {
				return nil, err
			}
			all = append(all, r)
		}
	}
	if l.id.replicated() {
		if all, err = l.newer(ctx, all, names, upto); err != nil {
			return nil, ended(ctx, err)
		}
	}
	slices.SortFunc(all, func(a, b events.Record) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return all, nil
}

// newer puts what the leader has instead of what a replica that lags may have answered. Of a name whose newest record is behind upto, the replica has that one or what was before it long ago.
func (l *Log) newer(ctx context.Context, all []events.Record, names []string, upto uint64) ([]events.Record, error) {
	for _, name := range names {
		subject := events.ControlSubject(l.cfg.Origin, name)
		m, err := l.reading.Message(ctx, natsapi.Query{LastOf: subject})
		if errors.Is(err, natsapi.ErrNoMessage) || err == nil && m.Sequence > upto {
			continue
		}
		if err != nil {
			return nil, err
		}
		r, err := record(m, l.cfg.Origin)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(all, func(r events.Record) bool { return r.Subject == subject }); i >= 0 {
			all[i] = r
		} else {
			all = append(all, r)
		}
	}
	return all, nil
}
