package projector

import (
	"context"
	"log/slog"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// The log is the judge of what is stored: what a document should be is folded from it anew, without the store, by the same code that folds live. So a region is judged alone, from its
// own copy of the log, also while it goes on.

// Case is one stored document, of which the log is asked what it should be.
type Case struct {
	Key string
	// Upto is the sequence of its partition's checkpoint in the step in which it was read.
	Upto uint64
	// Found is what was stored; nil: nothing. Its Values are nil when its fields are not those of the definition.
	Found *projections.Document

	// Right is what it should be; nil: there should be none.
	Right *projections.Document
	// Once says that Found is what the document was once, and FirstBad is the first record since that changed it: from there on it is wrong. Without Once the log never had it so.
	Once     bool
	FirstBad uint64
	// Touched are the records that changed the document, the newest ones, by rising sequence; at most maxTouched.
	Touched []uint64
}

// maxTouched bounds Case.Touched.
const maxTouched = 1_000

// Wrong reports whether what is stored is not what it should be: content, version, place of parking, or digest.
func (c *Case) Wrong() bool {
	if c.Found == nil || c.Right == nil {
		return c.Found != c.Right
	}
	return c.Found.At != c.Right.At || c.Found.Digest != c.Right.Digest || projections.PlaceOf(c.Found.Parked) != projections.PlaceOf(c.Right.Parked) || !slices.Equal(c.Found.Values, c.Right.Values)
}

// Judge folds documents again up to where each was read, and fills in what they should be. Every document whose key is its entity's id costs its own history; any others together cost one pass
// over the log. Errors are those of events.Reader, and events.ErrEvicted or projections.ErrDocumentDamaged where a stream does not hold all records any more.
func Judge(ctx context.Context, v Version, cases []Case) error {
	e, _, err := judging(ctx, v, 1)
	if err != nil || len(cases) == 0 {
		return err
	}
	f := &refolding{e: e}
	of := make(map[*suspect]*Case, len(cases))
	for i := range cases {
		c := &cases[i]
		c.Right, c.Touched, c.FirstBad, c.Once = nil, nil, 0, c.Found == nil
		s := &suspect{entry: &entry{key: c.Key, state: v.Projection.NewState()}, upto: c.Upto}
		of[s] = c
		f.add(s)
		e.tip.seq = max(e.tip.seq, c.Upto)
	}
	var values []string
	f.changed = func(s *suspect, r *events.Record) {
		c := of[s]
		if len(c.Touched) == maxTouched {
			c.Touched = slices.Delete(c.Touched, 0, maxTouched/2)
		}
		c.Touched = append(c.Touched, r.Sequence)
		values = s.state.AppendFields(values[:0])
		same := s.exists == (c.Found != nil) && (c.Found == nil || slices.Equal(values, c.Found.Values) && (s.parked != "") == (c.Found.Parked != ""))
		switch {
		case same:
			c.Once, c.FirstBad = true, 0
		case c.Once && c.FirstBad == 0:
			c.FirstBad = r.Sequence
		}
	}
	if err := f.run(ctx); err != nil {
		return err
	}
	for _, s := range f.order {
		of[s].Right = e.document(s)
	}
	return nil
}

// document returns what a document that was folded again is; nil when there is none.
func (e *engine) document(s *suspect) *projections.Document {
	if !s.exists {
		return nil
	}
	d := &projections.Document{Key: s.key, At: e.place(max(s.last, s.since)), Parked: s.parked, Values: s.state.AppendFields(nil)}
	d.Digest = e.hasher.Stored(d)
	return d
}

// judging returns an engine that folds, and has no store.
func judging(ctx context.Context, v Version, partitions int) (*engine, events.Info, error) {
	info, err := v.Log.Info(ctx)
	if err != nil {
		return nil, info, err
	}
	e := newEngine(v.Projection, v.Log, nil, projections.Generation{Projection: v.Projection.Definition().Name, Partitions: partitions}, 0,
		Options{CacheDocuments: 1, Logger: slog.New(slog.DiscardHandler)})
	e.terms, e.sparse = info.Terms, info.Sparse
	e.parts = make([]partition, partitions)
	return e, info, nil
}

// Survey is one partition that is folded again as a whole.
type Survey struct {
	Partition int
	// Upto is where it is folded to.
	Upto uint64
	// Marks are those that the partition recorded.
	Marks []projections.PartitionMark

	// Documents are what it should have, by key.
	Documents map[string]Sum
	// Digest and Parked sum up these.
	Digest projections.Digest
	Parked uint64
	// Good is the newest mark at which it recorded what it should have been at, and Bad the first one after that at which it did not; 0: there is none.
	Good, Bad uint64
}

// Sum is a document without its content.
type Sum struct {
	At     string
	Digest projections.Digest
}

// FoldPartitions folds partitions of a read model of n again, all in one pass over the log, and keeps their documents in memory until it ends. Errors are those of Judge.
func FoldPartitions(ctx context.Context, v Version, n int, surveys []*Survey) error {
	e, _, err := judging(ctx, v, n)
	if err != nil || len(surveys) == 0 {
		return err
	}
	f := &surveying{e: e, of: make([]*surveyed, n)}
	f.again = refolding{e: e, admit: f.admit, changed: f.changed, passed: f.passed, skipped: f.skipped}
	for _, s := range surveys {
		f.of[s.Partition] = &surveyed{Survey: s}
		s.Documents, s.Digest, s.Parked, s.Good, s.Bad = map[string]Sum{}, projections.Digest{}, 0, 0, 0
		f.again.upto = max(f.again.upto, s.Upto)
	}
	e.tip.seq = f.again.upto
	if f.again.skips, err = e.knownSkips(ctx); err != nil {
		return err
	}
	if err := f.again.everything(ctx); err != nil {
		return err
	}
	for _, s := range f.again.order {
		out := f.of[s.partition]
		if d := e.document(s); d != nil {
			out.Documents[s.key] = Sum{At: d.At, Digest: d.Digest}
			out.Digest = out.Digest.Add(d.Digest)
			if d.Parked != "" {
				out.Parked++
			}
		}
	}
	return nil
}

// surveying folds partitions again, and compares them with what they recorded at their marks.
type surveying struct {
	e     *engine
	again refolding
	of    []*surveyed // by partition; nil: it is not wanted
	fresh []*suspect  // that changed since the mark before
}

type surveyed struct {
	*Survey

	digest    projections.Digest
	documents uint64
	doubtful  uint64 // marks below it say nothing: an event is passed over that parked its document until then
}

func (f *surveying) admit(key string) *suspect {
	n := projections.PartitionOf(key, len(f.of))
	if f.of[n] == nil {
		return nil
	}
	return &suspect{entry: &entry{key: key, partition: n, state: f.e.proj.NewState()}, upto: f.of[n].Upto}
}

func (f *surveying) changed(s *suspect, _ *events.Record) {
	if !s.fresh {
		s.fresh = true
		f.fresh = append(f.fresh, s)
	}
}

func (f *surveying) skipped(s *suspect, _, recorded uint64) {
	out := f.of[s.partition]
	out.doubtful = max(out.doubtful, recorded)
	f.changed(s, nil) // at the record
}

// passed compares at a mark that some partition recorded.
func (f *surveying) passed(r *events.Record) {
	if _, ok := events.MarkOf(r); !ok {
		return
	}
	for _, s := range f.fresh {
		s.fresh = false
		out := f.of[s.partition]
		if s.counted {
			out.digest, out.documents = out.digest.Sub(s.digest), out.documents-1
		}
		if s.counted = s.exists; s.counted {
			s.digest = f.e.document(s).Digest
			out.digest, out.documents = out.digest.Add(s.digest), out.documents+1
		}
	}
	f.fresh = f.fresh[:0]
	for _, out := range f.of {
		if out == nil || r.Sequence > out.Upto || r.Sequence < out.doubtful {
			continue
		}
		i := slices.IndexFunc(out.Marks, func(m projections.PartitionMark) bool { return m.Sequence == r.Sequence })
		switch {
		case i < 0:
		case out.Marks[i].Digest == out.digest && out.Marks[i].Documents == out.documents:
			out.Good, out.Bad = r.Sequence, 0
		case out.Bad == 0:
			out.Bad = r.Sequence
		}
	}
}
