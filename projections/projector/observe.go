package projector

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Observer is told what a projector does, for metrics and traces. Folding waits while it is told, so its methods must be quick and must not
// wait for anything. Several goroutines call them. What they are given is valid during the call only.
//
// Documents, checkpoints and digests do not depend on an observer: it is told, never asked.
type Observer interface {
	// Changed: the projector is in another state, or says something else about it. Without a state: the projection is nobody's here any more.
	Changed(projections.Status)
	// Committed: a batch is in the store, or the checkpoints of partitions moved that no event touched.
	Committed(*Committed)
	// Stood: the log and the store were looked at. Called each CheckInterval while nothing is wrong, also when no event comes.
	Stood(Standing)
	// Parked: the fold of a document stopped at an event that cannot be applied, and that is committed.
	Parked(Parked)
	// Skipped: a skip record was met, and is committed, or ignored.
	Skipped(Skipped)
	// Refolded: documents that were not what was written were folded again from the log.
	Refolded(projection string, documents int, took time.Duration)
	// Resynced: the stored checkpoints were not the remembered ones, and are read again.
	Resynced(projection string)
	// Fenced: the store refused a write, because somebody else owns the read model or has.
	Fenced(projection string)
	// Replayed: a replay went on, some times a second, or ended.
	Replayed(projections.Replay)
	// Snapshotted: a snapshot was taken, or could not be: then err says why.
	Snapshotted(projection string, s projections.Snapshot, err error)
}

// Role says what a generation is for.
type Role string

// The roles.
const (
	Following Role = "live"   // queries are answered from it
	Replaying Role = "replay" // it is being built, to take over
)

// Committed is one batch that was committed.
type Committed struct {
	Standing
	// Records of the batch; none when only checkpoints moved. Those of cut-off transactions are not among them.
	Records []*events.Record
	// Written and Removed count documents.
	Written, Removed int
	// Marks counts the marks among the records.
	Marks int
	// Began is when folding began and Ended when the last commit was through, by this process's clock.
	Began, Ended time.Time
}

// Standing is where a generation stands.
type Standing struct {
	Projection string
	Origin     string
	Generation uint32
	Role       Role
	// Sequence is the smallest checkpoint of all partitions: what queries have for certain.
	Sequence uint64
	// Applied is the broker's time of the last record that was folded; zero when there was none.
	Applied time.Time
	// Head is the region's copy of the log's last sequence when that was asked last, and Asked when that was; zero while the log does not answer.
	Head  uint64
	Asked time.Time
	// Mark is the number of the newest mark that every partition has passed, 0 for none, and Marked the broker's time of it; zero when it is not known.
	Mark   uint64
	Marked time.Time
	// Documents, Parked and Unrouted are the sums of the partitions' headers.
	Documents, Parked, Unrouted uint64
	// Next is when this is told again at the latest, unless something is wrong.
	Next time.Duration
}

// Parked is a document whose fold stopped.
type Parked struct {
	Projection string
	Generation uint32
	Partition  int
	Key        string
	Reason     string // begins with the position; values of data are in it: see projections.Mask
}

// Skipped is a skip record that was met.
type Skipped struct {
	Projection string
	Generation uint32
	Sequence   uint64 // of the record
	// Added counts the skips that it adds.
	Added int
	// Released counts the documents that were parked at one of them and were folded again; Parked those of them that stopped at a later event.
	Released, Parked int
	// Ignored says why nobody obeys the record; empty when it is obeyed.
	Ignored string
}

// role of a generation: it changes once, when a replay's becomes the live one.
func (e *engine) role() Role {
	if e.live.Load() {
		return Following
	}
	return Replaying
}

// standing sums up the partitions.
func (e *engine) standing() Standing {
	s := Standing{
		Projection: e.def.Name, Origin: e.log.Origin(), Generation: e.gen.Number, Role: e.role(), Sequence: e.lowest(), Applied: e.tip.applied,
		Head: e.head, Asked: e.asked, Next: e.options.CheckInterval, Mark: e.mark.number, Marked: e.mark.at,
	}
	for i := range e.parts {
		h := &e.parts[i].head
		s.Documents += h.Documents
		s.Parked += h.Parked
		s.Unrouted += h.Unrouted
	}
	return s
}

// asks takes note of what the log said about its head.
func (e *engine) asks(info events.Info, err error) {
	if err != nil {
		e.head, e.asked = 0, time.Time{}
		return
	}
	e.head, e.asked = info.Last, time.Now()
}

// begins takes the time, if anybody wants to know.
func (e *engine) begins() {
	if e.options.Observer != nil {
		e.batch.began = time.Now()
	}
}

// committed tells of a batch. Documents are said to be parked only now: what was folded and not committed is folded again.
func (e *engine) committed(ctx context.Context, work []*events.Record) {
	e.tellParked(ctx)
	o, b := e.options.Observer, &e.batch
	if o == nil {
		return
	}
	if n := len(b.marks); n > 0 {
		e.mark.passed(work[b.marks[n-1].at])
	}
	c := Committed{Standing: e.standing(), Records: work, Marks: len(b.marks), Began: b.began, Ended: time.Now()}
	for i := range b.commits {
		for j := range b.commits[i].Writes {
			if b.commits[i].Writes[j].Remove {
				c.Removed++
			} else {
				c.Written++
			}
		}
	}
	o.Committed(&c)
}

// stood tells where the generation stands.
func (e *engine) stood() {
	if o := e.options.Observer; o != nil {
		o.Stood(e.standing())
	}
}

// refused tells when the store refused a write because of its owner, and returns err.
func (e *engine) refused(err error) error {
	if e.options.Observer != nil && errors.Is(err, projections.ErrFenced) {
		e.options.Observer.Fenced(e.def.Name)
	}
	return err
}

// tellParked logs that documents were parked, one line for a batch, and tells of each.
func (e *engine) tellParked(ctx context.Context) {
	list := e.batch.parked
	if len(list) == 0 {
		return
	}
	first := list[0]
	e.options.Logger.WarnContext(ctx, "documents were parked: an event cannot be applied to them", "generation", e.gen.Number, "documents", len(list),
		"sequence", first.last, "partition", first.partition, "key", first.key, "reason", projections.Mask(first.parked))
	if e.options.Observer == nil {
		return
	}
	for _, d := range list {
		e.options.Observer.Parked(Parked{Projection: e.def.Name, Generation: e.gen.Number, Partition: d.partition, Key: d.key, Reason: d.parked})
	}
}

// tellSkipped logs that a skip record was obeyed, and tells of it.
func (e *engine) tellSkipped(ctx context.Context, r *events.Record, added int, again []*suspect) {
	s := Skipped{Projection: e.def.Name, Generation: e.gen.Number, Sequence: r.Sequence, Added: added, Released: len(again)}
	for _, d := range again {
		if d.parked != "" {
			s.Parked++
		}
	}
	e.options.Logger.InfoContext(ctx, "a skip record is obeyed: the documents that are parked at its events were folded again", "generation", s.Generation,
		"sequence", s.Sequence, "skips", s.Added, "documents", s.Released, "parked", s.Parked)
	if e.options.Observer != nil {
		e.options.Observer.Skipped(s)
	}
}

// tellIgnored logs that a record under the name of skip records is not obeyed, here and everywhere, and tells of it.
func (e *engine) tellIgnored(ctx context.Context, r *events.Record, why error) {
	s := Skipped{Projection: e.def.Name, Generation: e.gen.Number, Sequence: r.Sequence, Ignored: why.Error()}
	e.options.Logger.WarnContext(ctx, "a skip record is ignored, in every region and replay", "generation", s.Generation, "sequence", s.Sequence, "reason", s.Ignored)
	if e.options.Observer != nil {
		e.options.Observer.Skipped(s)
	}
}

// maxPanics bounds the panics of different text whose stack is logged by one engine.
const maxPanics = 16

// panicked logs the stack of a projection's function that panicked, once for each text. What became of the event is told when it is committed.
func (e *engine) panicked(r *events.Record, key string, err error) {
	p, ok := projections.AsPanic(err)
	if !ok || e.panics[p.Error()] || len(e.panics) >= maxPanics {
		return
	}
	if e.panics == nil {
		e.panics = make(map[string]bool)
	}
	e.panics[p.Error()] = true
	e.options.Logger.Error("a function of the projection panicked; the event is not applied, and all others are", "generation", e.gen.Number,
		"sequence", r.Sequence, "event", r.Event.Type, "key", key, "reason", projections.Mask(projections.ReasonOf(p)), "stack", string(p.Stack))
}
