package query

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

const (
	// DefaultHeartbeat is how often a watch says where it stands while nothing changes.
	DefaultHeartbeat = 15 * time.Second
	// MinHeartbeat is the shortest one.
	MinHeartbeat = 100 * time.Millisecond
	// MaxHeartbeat is the longest one.
	MaxHeartbeat = time.Minute

	// watchPoll is how often a watch looks by itself whether anything moved, in case that it was not told.
	watchPoll = time.Second
	// watchPace is how long a watch that has told changes leaves the store alone: what changes meanwhile is told together.
	watchPace = 10 * time.Millisecond
	// watchPatience is how long a watch waits for a read model that cannot be read.
	watchPatience = time.Minute
	// changesStep bounds the changes that are read of a partition at once, and updateChanges those of one update.
	changesStep   = 500
	updateChanges = 250
)

// WatchOptions of a watch.
type WatchOptions struct {
	// From is the token to go on from: of a page, or of an update before. Empty: from now on.
	From string
	// Prefix says that only keys matter that begin so; empty: all.
	Prefix string
	// Heartbeat is how often an update comes while nothing changes; 0 means DefaultHeartbeat.
	Heartbeat time.Duration
	// At is the name of a copy of the read model. Nothing ever changes in one, so that it is refused; it is here so that whoever passes it on is told so.
	At string
}

// Update is a step of a watch: some documents that changed, none in a heartbeat.
type Update struct {
	Projection string   `json:"projection"`
	Region     string   `json:"region"`
	Changes    []Change `json:"changes"`
	// Token is where to go on after this update.
	Token string `json:"token"`
	Standing
}

// Change is the latest state of a document that changed.
type Change struct {
	Key string `json:"key"`
	// Document is null when it was deleted.
	Document Document `json:"document"`
	Deleted  bool     `json:"deleted,omitempty"`
	// Changed is the position of the last event that changed the document; empty when it was deleted.
	Changed string `json:"changed,omitempty"`
	// Parked says where and why the document's fold stopped; empty when it did not.
	Parked string `json:"parked,omitempty"`
}

// Watch tells the latest state of every document that changed after a token, again and again, until ctx ends. A document that changes several times in a short while may be told
// once; one that was told may be told again, in the state that it has by then. None is left out: whoever lists, and watches from the token of the first page, and keeps what is told
// last, has what the read model has.
//
// The first update comes at once, with or without changes, and then one at least each heartbeat. An update without a lag was made while something did not answer. The watch ends with an error:
// those of List; ErrResync when it cannot go on: the token is of another region or of a history that is not this one, its generation was replaced, or more has changed since than is kept.
// Then list again, and watch from there. It outlasts a store or a log that does not answer for a minute.
func (r *Reader) Watch(ctx context.Context, projection string, o WatchOptions) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		w := &watch{reader: r, projection: projection, options: o}
		if err := w.run(ctx, yield); err != nil {
			yield(Update{}, caused(ctx, err))
		}
	}
}

// watch is one watching.
type watch struct {
	reader     *Reader
	projection string
	options    WatchOptions
	model      model
	parts      []watched
	yielded    time.Time
	told       time.Time // when changes were
	begun      bool      // the first update was told
	trouble    error
	since      time.Time // when the trouble began
}

// watched is what is known of a partition.
type watched struct {
	sequence uint64          // everything up to it was told
	at       events.Position // where that is: there, or earlier
}

// errStopped: whoever watches does not want to hear more.
var errStopped = errors.New("stopped")

func (w *watch) run(ctx context.Context, yield func(Update, error) bool) error {
	if w.options.Heartbeat == 0 {
		w.options.Heartbeat = DefaultHeartbeat
	}
	if h := w.options.Heartbeat; h < MinHeartbeat || h > MaxHeartbeat {
		return events.Errorf(projections.ErrInvalidQuery, "a heartbeat of %s is outside %s to %s", h, MinHeartbeat, MaxHeartbeat)
	}
	if w.options.At != "" {
		return events.Errorf(projections.ErrInvalidQuery, "nothing changes in a copy such as %q, so there is nothing to watch", clip(w.options.At)).
			Hint("List it. Or watch %s without naming a copy.", clip(w.projection))
	}
	waiter := w.reader.waiting.joinWriters(w.projection) // before anything is read, so that nothing that moves is missed
	defer w.reader.waiting.leave(waiter)
	if err := w.begin(ctx); err != nil {
		return err
	}
	moved := everywhere(&w.model)
	for {
		more, err := w.step(ctx, moved, yield)
		if errors.Is(err, errStopped) {
			return nil
		}
		if err != nil {
			return err
		}
		if moved = more; !moved.Empty() {
			continue
		}
		if moved, err = w.wait(ctx, waiter); err != nil {
			return err
		}
	}
}

// begin finds out where the watch begins.
func (w *watch) begin(ctx context.Context) (err error) {
	var from *token
	if w.options.From != "" {
		if from, err = parseToken(w.options.From); err != nil {
			return err
		}
	}
	r := w.reader
	if w.model, err = r.models.get(ctx, w.projection, "", false); err != nil {
		return err
	}
	if from != nil && w.model.gen.Number != from.generation {
		if w.model, err = r.models.get(ctx, w.projection, "", true); err != nil {
			return err
		}
	}
	w.parts = make([]watched, w.model.gen.Partitions)
	if from != nil {
		return w.beginFrom(ctx, from)
	}
	headers, err := r.store.Headers(ctx, w.model.gen)
	if err != nil {
		return err
	}
	if err := r.judge(ctx, &w.model, least(headers), events.Position{}); err != nil {
		return err
	}
	for i := range headers {
		w.parts[i] = watched{sequence: projections.SequenceOf(headers[i].Checkpoint), at: headers[i].Checkpoint}
	}
	return nil
}

// beginFrom begins at a token. One that is not of this generation of this region's is refused, and so is one of a place that the log has not.
func (w *watch) beginFrom(ctx context.Context, from *token) error {
	begin := "List, and watch from the token of the first page."
	switch {
	case from.projection != w.projection:
		return events.Errorf(projections.ErrInvalidCursor, "the token is of the projection %s", from.projection).Hint("Pass the token of a page or an update of %s.", w.projection)
	case from.region != w.reader.region:
		return events.Errorf(projections.ErrResync, "the token is of region %s: each region has generations of its own", from.region).Hint("%s", begin)
	case from.generation != w.model.gen.Number:
		return replaced(w.projection, from.generation, w.model.gen.Number)
	}
	histories, head, err := w.reader.headsOf(&w.model).Fresh(ctx)
	if err != nil {
		return err
	}
	if covers := histories.Covers(head, from.position); covers != events.Yes {
		return events.Errorf(projections.ErrResync, "the token is of %s, and the region's log is at %s: it is of another history, or the log lost its end", from.position, head).Hint("%s", begin)
	}
	for i := range w.parts {
		w.parts[i] = watched{sequence: projections.SequenceOf(from.position), at: from.position}
	}
	return nil
}

// step tells what changed in some partitions, and returns those of which there is more to read. What a minute may mend is no error.
func (w *watch) step(ctx context.Context, moved projections.PartitionSet, yield func(Update, error) bool) (more projections.PartitionSet, err error) {
	s := sweep{watch: w, found: make([]swept, len(w.parts))}
	err = s.read(ctx, moved)
	for _, code := range [...]events.Code{projections.ErrUnavailable, projections.ErrStoreUnreachable, events.ErrUnreachable} {
		if errors.Is(err, code) {
			return projections.PartitionSet{}, w.bear(ctx, err, yield)
		}
	}
	if err != nil {
		return projections.PartitionSet{}, err
	}
	w.trouble = nil
	for len(s.changes) > updateChanges { // the token stays until all of them are told
		if err := w.tell(ctx, s.changes[:updateChanges], yield); err != nil {
			return more, err
		}
		s.changes = s.changes[updateChanges:]
	}
	more = s.advance()
	if len(s.changes) == 0 && w.begun && time.Since(w.yielded) < w.options.Heartbeat {
		return more, nil
	}
	return more, w.tell(ctx, s.changes, yield)
}

// bear waits out what a minute may mend.
func (w *watch) bear(ctx context.Context, trouble error, yield func(Update, error) bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if w.trouble == nil {
		w.since = time.Now()
	}
	w.trouble = trouble
	if !w.begun || time.Since(w.since) > watchPatience {
		return trouble
	}
	if time.Since(w.yielded) >= w.options.Heartbeat {
		return w.tell(ctx, nil, yield)
	}
	return nil
}

// tell yields an update.
func (w *watch) tell(ctx context.Context, changes []Change, yield func(Update, error) bool) error {
	if changes == nil {
		changes = []Change{}
	}
	u := Update{Projection: w.projection, Region: w.reader.region, Changes: changes, Standing: Standing{Generation: w.model.gen.Number}}
	low := slices.MinFunc(w.parts, func(a, b watched) int { return cmp.Compare(projections.SequenceOf(a.at), projections.SequenceOf(b.at)) })
	u.Position = low.at
	t := token{region: u.Region, projection: u.Projection, generation: u.Generation, position: low.at}
	u.Token = t.seal()
	if w.trouble == nil {
		u.Lag = w.reader.headsOf(&w.model).Lag(ctx, u.Position)
	}
	if w.begun, w.yielded = true, time.Now(); len(changes) > 0 {
		w.told = w.yielded
	}
	if !yield(u, nil) {
		return errStopped
	}
	return nil
}

// wait returns the partitions that may have changed: those that it was told of, or that have moved when it looks by itself. None means that only a heartbeat is due.
func (w *watch) wait(ctx context.Context, waiter *waiter) (projections.PartitionSet, error) {
	var none projections.PartitionSet
	if pause := watchPace - time.Since(w.told); pause > 0 {
		if err := sleep(ctx, pause); err != nil {
			return none, err
		}
	}
	look := min(watchPoll, max(0, w.options.Heartbeat-time.Since(w.yielded)))
	if w.trouble != nil {
		look = min(look, watchPoll/4)
	}
	if err := waiter.wait(ctx, everywhere(&w.model), max(look, time.Millisecond)); err != nil {
		return none, err
	}
	if moved := waiter.took; !moved.Empty() && w.trouble == nil {
		return moved, nil
	}
	return w.look(ctx)
}

// look finds the partitions that moved since they were read.
func (w *watch) look(ctx context.Context) (projections.PartitionSet, error) {
	all := everywhere(&w.model)
	now, err := w.reader.models.get(ctx, w.projection, "", false)
	if err == nil && now.gen != w.model.gen {
		return all, replaced(w.projection, w.model.gen.Number, now.gen.Number)
	}
	headers, err := w.reader.store.Headers(ctx, w.model.gen)
	if err != nil {
		return all, nil //nolint:nilerr // whoever reads them says so, and bears it
	}
	var moved projections.PartitionSet
	for i := range headers {
		if h := &headers[i]; h.State != projections.Live || !h.Checkpoint.Equal(w.parts[i].at) {
			moved.Add(i)
		}
	}
	return moved, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// matches reports whether a key matters.
func (w *watch) matches(key string) bool { return strings.HasPrefix(key, w.options.Prefix) }
