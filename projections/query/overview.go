package query

import (
	"context"
	"slices"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Overview is how a region does.
type Overview struct {
	Region string `json:"region"`
	// Head is the log's last position; empty when the log does not answer.
	Head events.Position `json:"head"`
	// Replication is how the region's copy of the log stands to the leader's; nil where the region's own log is all there is.
	Replication *events.Replication `json:"replication,omitempty"`
	Projections []ModelStatus       `json:"projections"`
}

// ModelStatus is how one read model does.
type ModelStatus struct {
	Name string `json:"name"`
	// State is live, building, retired, empty, or mixed when partitions differ; unknown when the store does not answer.
	State      string                     `json:"state"`
	Generation uint32                     `json:"generation"`
	Version    int                        `json:"version"`
	Partitions int                        `json:"partitions"`
	Position   events.Position            `json:"position"` // the lowest checkpoint of all partitions
	Lag        *Lag                       `json:"lag"`      // nil: unknown
	Documents  uint64                     `json:"documents"`
	Parked     uint64                     `json:"parked"`
	Unrouted   uint64                     `json:"unrouted"`
	Digest     string                     `json:"digest,omitempty"` // only when all partitions are at Position
	Projector  projections.ProjectorState `json:"projector"`
	// Stream is the one that is not ours and that the read model is folded from; nil: it is folded from the installation's log.
	Stream *StreamStatus `json:"stream,omitempty"`
	// SilentSince is when the projector confirmed its status last; only when that is so long ago that Projector is silent.
	SilentSince *time.Time          `json:"silent_since,omitempty"`
	Code        string              `json:"code,omitempty"`
	Message     string              `json:"message,omitempty"`
	Replay      *projections.Replay `json:"replay,omitempty"`
	// Previous is the generation before, which goes on being followed so that it can take over again; nil: none is kept.
	Previous *KeptStatus `json:"previous,omitempty"`
	// Copies are the read model as it was at some positions, in the order in which they were made.
	Copies []CopyStatus `json:"copies,omitempty"`
}

// KeptStatus is a generation that was live before.
type KeptStatus struct {
	Generation uint32 `json:"generation"`
	Version    int    `json:"version"`
	// Until is when it is dropped; nil: when something takes its place.
	Until *time.Time `json:"until,omitempty"`
}

// CopyStatus is a read model as it was at a position.
type CopyStatus struct {
	Name       string    `json:"name"`
	Position   string    `json:"position"`
	Generation uint32    `json:"generation"`
	Version    int       `json:"version"`
	Documents  uint64    `json:"documents"`
	Digest     string    `json:"digest,omitempty"`
	Made       time.Time `json:"made"`
	// Until is when it is dropped; nil: when somebody drops it.
	Until *time.Time `json:"until,omitempty"`
}

// Overview returns the state of every projection. A part that does not answer is shown as unknown; it fails only when the region's
// KV does not answer.
func (r *Reader) Overview(ctx context.Context) (Overview, error) {
	o := Overview{Region: r.region, Projections: []ModelStatus{}}
	if info, err := r.heads.Info(ctx); err == nil {
		o.Head = info.Head()
	}
	if r, ok := r.heads.Replication(); ok {
		o.Replication = &r
	}
	names, err := r.Projections(ctx)
	if err != nil {
		return o, err
	}
	for _, name := range names {
		s, there, err := r.model(ctx, name)
		if err != nil {
			return o, err
		}
		if there {
			if s.Replay != nil {
				s.Replay.Difference = counts(s.Replay.Difference)
			}
			o.Projections = append(o.Projections, s)
		}
	}
	return o, nil
}

// counts leaves out the documents of a difference: whoever looks how a region does need not see what is in them.
func counts(d *projections.Difference) *projections.Difference {
	if d == nil {
		return nil
	}
	only := *d
	only.Samples = nil
	return &only
}

// Projections returns the names of the projections that the region has a read model of, or something to say about, sorted.
func (r *Reader) Projections(ctx context.Context) ([]string, error) {
	var names []string
	for _, key := range [...]func(string) string{projections.PointerKey, projections.StatusKey} {
		prefix := key("")
		keys, err := r.kv.Keys(ctx, prefix)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			names = append(names, strings.TrimPrefix(k, prefix))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// model returns how one projection does. It reports false for one that is being removed.
func (r *Reader) model(ctx context.Context, name string) (ModelStatus, bool, error) {
	s := ModelStatus{Name: name, State: "unknown", Projector: "unknown"}
	pointer, _, err := projections.ReadPointer(ctx, r.kv, name)
	if err != nil {
		return s, false, err
	}
	s.Generation, s.Version, s.Partitions, s.Stream = pointer.Generation, pointer.Version, pointer.Partitions, r.stream(ctx, pointer.Source)
	status, entry, err := projections.ReadStatus(ctx, r.kv, name)
	if err != nil {
		return s, false, err
	}
	r.hear(&s, &status, entry)
	if pointer.Generation == 0 { // it was never built here, and the projector says why; or it goes
		s.State = "empty"
		return s, status.State != "", nil
	}
	job, revision, err := projections.ReadJSON[projections.Replay](ctx, r.kv, projections.ReplayKey(name))
	if err != nil {
		return s, false, err
	}
	if revision != 0 {
		s.Replay = &job
	}
	s.besides(&pointer)
	headers, err := r.store.Headers(ctx, pointer.Live(name))
	if err != nil {
		code, _ := events.CodeOf(err) // the state stays unknown
		s.Code, s.Message = string(code), err.Error()
		return s, true, nil
	}
	r.summarise(ctx, &s, headers, r.headsFrom(pointer.Source))
	return s, true, nil
}

// besides says what there is beside the live generation.
func (s *ModelStatus) besides(p *projections.Pointer) {
	if b := p.Previous; b != nil {
		s.Previous = &KeptStatus{Generation: b.Generation, Version: b.Version, Until: b.Until}
	}
	for i := range p.Copies {
		c := &p.Copies[i]
		s.Copies = append(s.Copies, CopyStatus{
			Name: c.Name, Position: c.Position, Generation: c.Generation, Version: c.Version, Documents: c.Documents, Digest: c.Digest, Made: c.Made, Until: c.Until,
		})
	}
}

func (r *Reader) summarise(ctx context.Context, s *ModelStatus, headers []projections.Header, heads *Heads) {
	digest, documents, at := projections.Sum(headers)
	s.Documents = documents
	if !at.IsZero() {
		s.Digest = digest.String()
	}
	low := &headers[0]
	for i := range headers {
		h := &headers[i]
		s.Parked += h.Parked
		s.Unrouted += h.Unrouted
		state := string(h.State)
		if h.State == projections.Absent {
			state = "empty"
		}
		switch {
		case i == 0:
			s.State = state
		case s.State != state:
			s.State = "mixed"
		}
		if sequences(h.Checkpoint) < sequences(low.Checkpoint) {
			low = h
		}
	}
	s.Position = low.Checkpoint
	s.Lag = heads.Lag(ctx, low.Checkpoint)
}
