package projector

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/skips"
)

// Planning is what the plan of a replay is made from.
type Planning struct {
	// Version is what would be built, and Partitions how many it would have.
	Version    Version
	Partitions int
	Store      projections.Store
	KV         projections.KV
	Snapshots  projections.Snapshots // nil: there are none
	// Before excludes snapshots of this sequence and of later ones; 0: none.
	Before uint64
}

const (
	// Documents are folded again in place when at most maxRefold of them are touched, by at most maxRefoldRecords records, and that takes less time than the other way.
	maxRefold        = 20_000
	maxRefoldRecords = 200_000
	// What a second brings where no replay before tells: records folded, documents loaded, and records of the histories of single documents folded again.
	guessFolded   = 30_000 // with two indexes on a Redis that writes a file, on two cores
	guessLoaded   = 50_000
	guessRefolded = 10_000
	// documentCost is what a document costs in a store beside its texts, and entryCost what an entry of an index does.
	documentCost = 220
	entryCost    = 110
	sampleSize   = 500
)

// Plan says how a replay would come to its read model, and what that would cost. It changes nothing. Errors: projections.ErrInvalidOffset, ErrNothingKept, ErrUnknownCopy, ErrCopyExists,
// ErrInvalidQuery (a name), ErrUnknownProjection; for the position of a copy events.ErrLostPosition and ErrInvalidPosition; and those of the ports.
func Plan(ctx context.Context, p Planning, asked projections.ReplayRequest) (projections.ReplayPlan, error) {
	w := &planner{Planning: p, asked: &asked, def: p.Version.Projection.Definition()}
	var err error
	if w.pointer, _, err = projections.ReadPointer(ctx, p.KV, w.def.Name); err != nil {
		return projections.ReplayPlan{}, err
	}
	if w.pointer.Generation == 0 {
		return projections.ReplayPlan{}, projections.UnknownProjection(w.def.Name)
	}
	if w.info, err = p.Version.Log.Info(ctx); err != nil {
		return projections.ReplayPlan{}, err
	}
	switch asked.Kind {
	case projections.ReplayRollback:
		return w.rollback()
	case projections.ReplayDrop:
		return w.drop()
	case projections.ReplayCopy:
		err = w.copy()
	default:
		w.last, err = w.info.Last, w.from()
	}
	if err == nil {
		err = w.choose(ctx)
	}
	return w.plan, err
}

type planner struct {
	Planning
	asked   *projections.ReplayRequest
	def     *projections.Definition
	pointer projections.Pointer
	info    events.Info
	last    uint64 // where it ends
	trusted uint64 // what is not after this is not folded, if it can be had otherwise
	plan    projections.ReplayPlan
}

// rollback looks whether there is something to go back to.
func (w *planner) rollback() (projections.ReplayPlan, error) {
	before := w.pointer.Previous
	if before == nil {
		return w.plan, NothingKept(w.def.Name)
	}
	return projections.ReplayPlan{
		Strategy: projections.StrategyKept, Why: fmt.Sprintf("generation %d, of version %d, goes on being followed", before.Generation, before.Version), First: w.info.Last + 1, Last: w.info.Last,
	}, nil
}

// NothingKept is the error of a projection without a generation before.
func NothingKept(name string) error {
	return events.Errorf(projections.ErrNothingKept, "no generation before the live one of %s is kept; nothing was changed", name).
		Hint("It may have been dropped in the meantime. Build the read model anew: tidemark replay %s --from-start.", name)
}

// drop looks whether there is something to drop.
func (w *planner) drop() (projections.ReplayPlan, error) {
	plan := projections.ReplayPlan{Strategy: projections.StrategyDrop, Why: "the generation before is dropped"}
	if w.asked.As == "" {
		if w.pointer.Previous == nil {
			return w.plan, NothingKept(w.def.Name)
		}
		return plan, nil
	}
	if _, ok := w.pointer.Copy(w.asked.As); !ok {
		return w.plan, projections.UnknownCopy(w.def.Name, w.asked.As)
	}
	plan.Why = "the copy " + w.asked.As + " is dropped"
	return plan, nil
}

// copy looks at what is asked of a copy.
func (w *planner) copy() error {
	name := w.asked.As
	if !projections.ValidCopyName(name) {
		return events.Errorf(projections.ErrInvalidQuery, "%.80q is no name for a copy; nothing was started", name).Hint("Use small letters, digits and dashes, and begin with a letter.")
	}
	if _, ok := w.pointer.Copy(name); ok {
		return events.Errorf(projections.ErrCopyExists, "%s has a copy %s already; nothing was started", w.def.Name, name).Hint("Take another name, or drop it: tidemark replay drop %s --copy %s.", w.def.Name, name)
	}
	if len(w.pointer.Copies) >= projections.MaxCopies {
		return events.Errorf(projections.ErrCopyExists, "%s has %d copies, which is as many as it may have; nothing was started", w.def.Name, projections.MaxCopies).
			Hint("Drop one: tidemark replay list %s shows them.", w.def.Name)
	}
	at, err := events.ParsePosition(w.asked.To)
	if err != nil {
		return err
	}
	w.last, err = sequenceOf(w.info, at)
	w.trusted = w.last
	return err
}

// sequenceOf returns the sequence of a position that a log has reached.
func sequenceOf(info events.Info, at events.Position) (uint64, error) {
	point, ok := at.Point(info.Origin)
	if !ok || len(at.Points()) != 1 {
		return 0, events.Errorf(events.ErrLostPosition, "the position %s is not one of the log of %s; nothing was started", at, info.Origin).
			Hint("A position looks like this one, where the log is now: %s", info.Head())
	}
	switch (events.Histories{info.Origin: info.Terms}).Covers(info.Head(), at) {
	case events.Yes:
	case events.No:
		return 0, beyond(info, point.Sequence)
	case events.Lost:
		return 0, events.Errorf(events.ErrLostPosition, "the position %s is of a history that the log of %s does not have; nothing was started", at, info.Origin).
			Hint("It was lost in a failover, or is of another installation. The log is at %s now.", info.Head())
	}
	if point.Sequence == 0 {
		return 0, ZeroOffset()
	}
	return point.Sequence, nil
}

func beyond(info events.Info, seq uint64) error {
	return events.Errorf(projections.ErrInvalidOffset, "sequence %d is beyond the head of the log of %s, which is %d; nothing was started", seq, info.Origin, info.Last).
		Hint("The last record is %s.", info.Head())
}

// ZeroOffset is the error of an offset of 0.
func ZeroOffset() error {
	return events.Errorf(projections.ErrInvalidOffset, "there is no sequence 0: the first record of a log has sequence 1; nothing was started").Hint("To trust nothing of what is there: --from-start.")
}

// from looks at the offset.
func (w *planner) from() error {
	if w.asked.From > w.info.Last {
		return beyond(w.info, w.asked.From)
	}
	if w.asked.From > 1 {
		w.trusted = w.asked.From - 1
	}
	return nil
}

// choose chooses a strategy.
func (w *planner) choose(ctx context.Context) error {
	live, err := w.Store.Headers(ctx, w.pointer.Live(w.def.Name))
	if err != nil {
		return err
	}
	_, documents, _ := projections.Sum(live)
	retained := max(w.info.First, 1)
	base, err := w.base(ctx)
	if err != nil {
		return err
	}
	w.plan = projections.ReplayPlan{Strategy: projections.StrategyWhole, Last: w.last, First: retained, Documents: documents}
	switch {
	case base != nil:
		w.plan.Strategy, w.plan.Snapshot, w.plan.Region, w.plan.First = projections.StrategySnapshot, base.ID, base.Region, base.Sequence+1
		w.plan.Documents = max(w.plan.Documents, base.Documents)
		w.plan.Why = fmt.Sprintf("the snapshot %s is of sequence %d, with %d documents; what is behind it is folded", base.ID, base.Sequence, base.Documents)
	case w.trusted == 0:
		w.plan.Why = "nothing is trusted: every record is folded"
	default:
		w.plan.Why = fmt.Sprintf("no snapshot of this version is at sequence %d or before it, so every record is folded", w.trusted)
	}
	if retained > 1 && !w.info.Sparse && base == nil {
		switch err := readable(ctx, w.Version.Log); {
		case err == nil:
			w.plan.First, w.plan.Why = 1, fmt.Sprintf("%s; those below %d, with which the log begins in this region, are read from the region that leads it", w.plan.Why, retained)
		case ctx.Err() != nil:
			return err
		default:
			return w.unfounded(err)
		}
	}
	w.plan.Records = records(w.plan.First, w.plan.Last)
	if err := w.estimate(ctx, base); err != nil {
		return err
	}
	if w.asked.Kind == projections.ReplayModel && w.trusted > 0 {
		return w.refold(ctx, live)
	}
	return nil
}

// unfounded is the error of a replay that could begin with nothing.
func (w *planner) unfounded(err error) error {
	return events.Errorf(projections.ErrInvalidOffset, "the log of %s begins at %d in this region, there is no snapshot of %s that a replay could begin with, "+
		"and the records below cannot be read; nothing was started: %w",
		w.info.Origin, w.info.First, w.def.Name, err).Hint("Bring one from a region that has it: tidemark snapshot copy %s --from REGION.", w.def.Name)
}

func records(first, last uint64) uint64 {
	if last < first {
		return 0
	}
	return last - first + 1
}

// base returns the newest snapshot that is trusted; nil: none is.
func (w *planner) base(ctx context.Context) (*projections.Snapshot, error) {
	if w.Snapshots == nil || w.trusted == 0 && w.info.First <= 1 {
		return nil, nil //nolint:nilnil // none is no error
	}
	list, err := listSnapshots(ctx, w.Snapshots, w.def.Name)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if (w.trusted == 0 || list[i].Sequence <= w.trusted) && (w.Before == 0 || list[i].Sequence < w.Before) && usable(&list[i], w.def, w.Partitions, w.info) {
			return &list[i], nil
		}
	}
	return nil, nil //nolint:nilnil // as above
}

// refold chooses to fold touched documents again in place, if that can be done and is cheaper.
func (w *planner) refold(ctx context.Context, live []projections.Header) error {
	e := &engine{def: w.def}
	if _, ok := entityType(e.def); !ok || w.pointer.Definition != w.def.Fingerprint() || w.asked.RequireEqual || records(w.asked.From, w.info.Last) > maxRefoldRecords {
		return nil
	}
	for i := range live {
		if live[i].State != projections.Live {
			return nil
		}
	}
	touched, all, err := touchedSince(ctx, w.Version, w.asked.From, w.info.Last, len(live), maxRefold)
	if err != nil || !all {
		return err
	}
	read := records(w.asked.From, w.info.Last)
	takes := float64(read)/guessFolded + float64(len(touched))*perDocument(w.info.Last, live)/guessRefolded
	if len(touched) > maxRefold || takes >= w.plan.Seconds {
		return nil
	}
	w.plan = projections.ReplayPlan{ // nothing is stored that is not stored already
		Strategy: projections.StrategyRefold, First: w.asked.From, Last: w.info.Last, Records: read, Documents: uint64(len(touched)),
		Bytes: uint64(float64(w.plan.Bytes) / float64(max(w.plan.Records, 1)) * float64(read)), Seconds: takes,
		Why: fmt.Sprintf("records since %d are about %d documents, which are folded again where they are: that takes %.1f s, and %.1f s would be needed to build %d records anew",
			w.asked.From, len(touched), takes, w.plan.Seconds, w.plan.Records),
	}
	return nil
}

// perDocument returns how many records a document has, taken on average.
func perDocument(last uint64, headers []projections.Header) float64 {
	_, documents, _ := projections.Sum(headers)
	return max(float64(last)/float64(max(documents, 1)), 1)
}

// touchedSince returns the documents that records of a range are about, at most some more than most, and their partitions of n. A skip record is about documents of which it says nothing but the key of
// an event that is long past: then it returns false.
func touchedSince(ctx context.Context, v Version, from, to uint64, n, most int) (list []projections.RepairDocument, all bool, err error) {
	skipping := skips.Name(v.Projection.Definition().Name)
	seen := make(map[string]bool)
	var ops projections.Ops
	for batch, err := range v.Log.Read(ctx, events.Range{From: from, To: to}) {
		if err != nil {
			return nil, false, err
		}
		for i := range batch {
			k := batch[i].Kind
			if k == events.KindControl && batch[i].Control.Name == skipping {
				return nil, false, nil
			}
			if k != events.KindEvent && k != events.KindMessage {
				continue
			}
			ops.Reset()
			v.Projection.Route(&batch[i], 0, &ops)
			for _, op := range ops.List() {
				if op.Key != "" && !seen[op.Key] {
					seen[op.Key] = true
					list = append(list, projections.RepairDocument{Partition: projections.PartitionOf(op.Key, n), Key: op.Key})
				}
			}
		}
		if len(list) > most {
			break
		}
	}
	return list, true, nil
}

// estimate fills in what it costs.
func (w *planner) estimate(ctx context.Context, base *projections.Snapshot) error {
	w.plan.Bytes = uint64(w.recordSize(ctx) * float64(w.plan.Records))
	folded, err := w.speed(ctx)
	if err != nil {
		return err
	}
	w.plan.Seconds = float64(w.plan.Records) / folded
	if base != nil {
		w.plan.Seconds += float64(base.Documents) / guessLoaded
	}
	document, err := w.documentSize(ctx)
	w.plan.Memory = uint64(document * float64(w.plan.Documents))
	return err
}

// recordSize returns how many bytes of the log a record takes, by some of them. What cannot be read is not counted: whoever folds it will say so.
func (w *planner) recordSize(ctx context.Context) float64 {
	if w.plan.Records == 0 {
		return 0
	}
	const headers = 350 // of a record, as the log keeps it
	total, n := 0, 0
	for batch, err := range w.Version.Log.Read(ctx, events.Range{From: w.plan.First, To: min(w.plan.Last, w.plan.First+sampleSize-1)}) {
		if err != nil {
			break
		}
		for i := range batch {
			r := &batch[i]
			total += headers + len(r.Subject) + len(r.Event.Data) + len(r.Control.Data)
			n++
		}
	}
	return float64(total) / float64(max(n, 1))
}

// speed returns how many records a second folds, by the last replay that says so.
func (w *planner) speed(ctx context.Context) (float64, error) {
	list, err := projections.Replays(ctx, w.KV, w.def.Name)
	if err != nil {
		return 0, err
	}
	for i := range list {
		r := &list[i]
		if r.State != projections.ReplayDone || r.Rate != 0 || r.Plan == nil || r.Plan.Strategy != projections.StrategyWhole || r.Plan.Records < 10_000 || r.Begun == nil || r.Finished == nil {
			continue
		}
		if took := r.Finished.Sub(*r.Begun).Seconds(); took > 0 {
			return float64(r.Plan.Records) / took, nil
		}
	}
	return guessFolded, nil
}

// documentSize returns how many bytes of the store a document takes, by some of them.
func (w *planner) documentSize(ctx context.Context) (float64, error) {
	gen := w.pointer.Live(w.def.Name)
	live := &projections.Definition{Name: w.def.Name, Version: w.pointer.Version, Fields: w.pointer.Fields, Indexes: w.pointer.Indexes}
	total, n := 0, 0
	for p := 0; p < gen.Partitions && n < sampleSize; p++ {
		_, page, err := w.Store.Page(ctx, gen, live, p, "", sampleSize)
		if err != nil {
			return 0, err
		}
		for i := range page {
			d := &page[i]
			total += documentCost + 3*len(d.Key) + len(d.At) + entryCost*len(live.Indexes)
			for j := range d.Values {
				total += len(d.Values[j]) + len(live.Fields[j].Name)
			}
			n++
		}
	}
	return float64(total) / float64(max(n, 1)), nil
}

// SequenceAt returns the first sequence that was stored at a time or later, by the broker's clock; ErrInvalidOffset when there is none.
func SequenceAt(ctx context.Context, log events.Reader, at time.Time) (uint64, error) {
	info, err := log.Info(ctx)
	if err != nil {
		return 0, err
	}
	first := max(info.First, 1)
	found := sort.Search(int(records(first, info.Last)), func(i int) bool { //nolint:gosec // fewer than there are sequences
		if err != nil {
			return true
		}
		var r events.Record
		if r, err = log.Record(ctx, first+uint64(i)); err != nil { //nolint:gosec // not negative
			return true
		}
		return !r.Time.Before(at)
	})
	if err != nil {
		return 0, err
	}
	seq := first + uint64(found) //nolint:gosec // not negative
	if seq > info.Last {
		return 0, events.Errorf(projections.ErrInvalidOffset, "nothing was stored in the log of %s at %s or later: the last record is of %s; nothing was started",
			info.Origin, at.Format(time.RFC3339), info.Time.Format(time.RFC3339)).Hint("Times are the broker's.")
	}
	return seq, nil
}

// PositionAt returns the position that a text names: a position, a sequence of the log, or a time (RFC 3339), which stands for the last record before it. Errors: events.ErrInvalidPosition,
// ErrLostPosition, projections.ErrInvalidOffset, and those of the log.
func PositionAt(ctx context.Context, log events.Reader, text string) (events.Position, error) {
	info, err := log.Info(ctx)
	if err != nil {
		return events.Position{}, err
	}
	if seq, err := strconv.ParseUint(text, 10, 64); err == nil {
		if seq == 0 {
			return events.Position{}, ZeroOffset()
		}
		if seq > info.Last {
			return events.Position{}, beyond(info, seq)
		}
		return info.Position(seq), nil
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		next, err := SequenceAt(ctx, log, at)
		switch {
		case errors.Is(err, projections.ErrInvalidOffset):
			return info.Head(), nil
		case err != nil:
			return events.Position{}, err
		case next <= max(info.First, 1):
			return events.Position{}, events.Errorf(projections.ErrInvalidOffset, "nothing was stored in the log of %s before %s; nothing was started", info.Origin, text).Hint("Times are the broker's.")
		}
		return info.Position(next - 1), nil
	}
	at, err := events.ParsePosition(text)
	if err != nil {
		return at, err
	}
	_, err = sequenceOf(info, at)
	return at, err
}
