package projector_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// check compares the live generation, and the one being built, with the oracle.
func (s *simulation) check() error {
	p := s.pointer()
	if p.Generation == 0 {
		return nil
	}
	s.versions[p.Generation] = p.Version
	if err := checkGeneration(s.t, s.store, p.Live(s.kind), s.oracle(p.Version), s.edited); err != nil {
		return fmt.Errorf("live: %w", err)
	}
	if before := p.Previous; before != nil {
		if err := checkGeneration(s.t, s.store, before.Of(s.kind), s.oracle(before.Version), s.edited); err != nil {
			return fmt.Errorf("kept: %w", err)
		}
		s.counts["kept generations compared"]++
	}
	for i := range p.Copies {
		if err := s.checkNamed(&p.Copies[i]); err != nil {
			return err
		}
	}
	if p.Declined != "" {
		s.counts["declined"]++
	}
	job := s.replay()
	if job.Running() && job.Generation != 0 && job.Kind != projections.ReplayRollback && (job.Plan == nil || job.Plan.Strategy != projections.StrategyRefold) {
		gen := projections.Generation{Projection: s.kind, Number: job.Generation, Partitions: job.Partitions}
		if err := checkGeneration(s.t, s.store, gen, s.oracle(s.version), s.edited); err != nil {
			return fmt.Errorf("being built: %w", err)
		}
	}
	return nil
}

// checkNamed compares a copy with the oracle at its position, where it stays.
func (s *simulation) checkNamed(c *projections.Copy) error {
	if err := checkGeneration(s.t, s.store, c.Of(s.kind), s.oracle(c.Version), s.edited); err != nil {
		return fmt.Errorf("the copy %s at %s: %w", c.Name, c.Position, err)
	}
	for _, h := range s.headers(c.Of(s.kind)) {
		if h.State != projections.Absent && !s.leftovers && h.Checkpoint.String() != c.Position { // a store that was put back may hold it half made
			return fmt.Errorf("the copy %s is of %s, and its partition %d at %s", c.Name, c.Position, h.Partition, h.Checkpoint)
		}
	}
	s.counts["copies of old compared"]++
	return nil
}

// query asks something and compares the answer with what the oracle says about the position that it names.
func (s *simulation) query() error {
	ctx := context.Background()
	o := query.Options{Wait: []time.Duration{-1, 30 * time.Millisecond, 2 * time.Second}[s.random.IntN(3)]}
	if len(s.receipts) > 0 && s.random.IntN(2) == 0 {
		o.AtLeast = s.receipts[max(0, len(s.receipts)-1-s.random.IntN(4))]
	}
	strong := s.random.IntN(4) == 0
	if strong {
		o.AtLeast, o.Strong = events.Position{}, true
	}
	before := s.oracle(s.version).head()
	switch s.random.IntN(6) {
	case 5:
		return s.lookup(o, strong, before)
	case 0:
		if strong {
			o = query.Options{Wait: o.Wait} // a listing goes on for longer than a head is new
		}
		return s.list(o)
	case 1:
		_, err := s.reader.Overview(ctx)
		return allowed(err, events.ErrUnreachable)
	}
	keys := append(slices.Sorted(maps.Keys(s.oracle(s.version).docs)), "never")
	key := keys[s.random.IntN(len(keys))]
	a, err := s.reader.Get(ctx, s.kind, key, o)
	if strong {
		if wrong := s.judgeStrong(before, a.Position, err); wrong != nil {
			return wrong
		}
	}
	return s.judgeAnswer(key, o, a, err)
}

// judgeStrong says what is wrong with the position of an answer to a strong read: the log ended at a sequence before it began.
func (s *simulation) judgeStrong(before uint64, at events.Position, err error) error {
	if err != nil && !errors.Is(err, projections.ErrNoDocument) {
		s.counts["strong reads refused"]++
		return nil
	}
	s.counts["strong reads answered"]++
	if seq, ok := s.oracle(s.version).seqOf(at); !ok || seq < before {
		return fmt.Errorf("a strong read that began at %d was answered at %s", before, at)
	}
	return nil
}

// lookup asks for several documents: each must be as the oracle has it at the answer's position or later, and none may be missing that was there all the time.
func (s *simulation) lookup(o query.Options, strong bool, before uint64) error {
	keys := append(slices.Sorted(maps.Keys(s.oracle(s.version).docs)), "never", "never")
	s.random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	a, err := s.reader.Lookup(context.Background(), s.kind, keys, o)
	if strong {
		if wrong := s.judgeStrong(before, a.Position, err); wrong != nil {
			return wrong
		}
	}
	if errors.Is(err, projections.ErrDocumentDamaged) && len(s.edited) > 0 {
		return nil
	}
	if err != nil {
		return allowed(err, projections.ErrNotReached, projections.ErrUnavailable, projections.ErrStoreUnreachable, events.ErrUnreachable, projections.ErrUnknownProjection)
	}
	oracle, known := s.oracleOf(a.Generation)
	if !known {
		return nil
	}
	seq, ok := oracle.seqOf(a.Position)
	if !ok || !oracle.boundary(seq) {
		return fmt.Errorf("a lookup names %s, where no read model can stand", a.Position)
	}
	for i, item := range a.Items {
		switch {
		case item.Key != keys[i]:
			return fmt.Errorf("item %d of a lookup is %s, asked for %s", i, item.Key, keys[i])
		case s.edited[edit{a.Generation, item.Key}]:
		case item.Missing && oracle.constant(item.Key, seq):
			return fmt.Errorf("a lookup of %d lacks %s", seq, item.Key)
		case !item.Missing && !oracle.had(item.Key, seq, item.Document.Values):
			return fmt.Errorf("a lookup of %d has %s as %q, which it never was since", seq, item.Key, item.Document.Values)
		}
	}
	s.counts["lookups answered"]++
	return nil
}

// judgeAnswer says what is wrong with an answer.
func (s *simulation) judgeAnswer(key string, o query.Options, a query.Answer, err error) error {
	if err != nil && !errors.Is(err, projections.ErrNoDocument) {
		if !o.AtLeast.IsZero() && errors.Is(err, projections.ErrNotReached) {
			s.counts["waits refused"]++
		}
		if errors.Is(err, projections.ErrDocumentDamaged) && s.edited[edit{a.Generation, key}] {
			return nil
		}
		return allowed(err, projections.ErrNotReached, projections.ErrUnavailable, projections.ErrStoreUnreachable, events.ErrUnreachable, projections.ErrUnknownProjection)
	}
	oracle, known := s.oracleOf(a.Generation)
	if !known {
		return nil
	}
	seq, ok := oracle.seqOf(a.Position)
	if !ok || !oracle.boundary(seq) {
		return fmt.Errorf("the answer about %s names %s, where no read model can stand", key, a.Position)
	}
	if !o.AtLeast.IsZero() {
		if wanted, _ := o.AtLeast.Point("us"); seq < wanted.Sequence {
			return fmt.Errorf("the answer about %s is of %d, asked for %d or later", key, seq, wanted.Sequence)
		}
		s.counts["waits answered"]++
	}
	if a.Lag != nil && seq+a.Lag.Events > uint64(len(oracle.records)) {
		return fmt.Errorf("the answer about %s at %d has a lag of %d, and the log ends at %d", key, seq, a.Lag.Events, len(oracle.records))
	}
	want, exists := oracle.get(key, seq)
	switch {
	case s.edited[edit{a.Generation, key}]:
	case exists != (err == nil):
		return fmt.Errorf("generation %d at %d says that %s exists: %t, expected: %t", a.Generation, seq, key, err == nil, exists)
	case !exists:
		s.counts["absences answered"]++
	case want.differs(a.Changed, a.Parked, a.Document.Values) != "":
		return fmt.Errorf("generation %d at %d says about %s: %s", a.Generation, seq, key, want.differs(a.Changed, a.Parked, a.Document.Values))
	default:
		s.counts["documents answered"]++
	}
	return nil
}

// oracleOf returns the oracle of a generation's version.
func (s *simulation) oracleOf(generation uint32) (*oracle, bool) {
	if p := s.pointer(); p.Generation != 0 {
		s.versions[p.Generation] = p.Version
	}
	version, known := s.versions[generation]
	if !known {
		return nil, false // it was live between two looks
	}
	return s.oracle(version), true
}

// list goes through a whole listing: sorted, nothing twice, every document as the oracle has it at the page's position or later, and nothing left
// out that was there all the time.
func (s *simulation) list(o query.Options) error {
	limit, after := 1+s.random.IntN(5), ""
	seen := map[string]bool{}
	var last string
	var generation uint32
	low := ^uint64(0)
	for {
		page, err := s.reader.List(context.Background(), s.kind, query.ListOptions{Options: o, Limit: limit, After: after})
		if errors.Is(err, projections.ErrDocumentDamaged) && len(s.edited) > 0 || errors.Is(err, projections.ErrResync) && after != "" {
			return nil
		}
		if err != nil {
			return allowed(err, projections.ErrNotReached, projections.ErrUnavailable, projections.ErrStoreUnreachable, events.ErrUnreachable, projections.ErrUnknownProjection)
		}
		oracle, known := s.oracleOf(page.Generation)
		if !known || generation != 0 && generation != page.Generation {
			return nil
		}
		generation = page.Generation
		seq, ok := oracle.seqOf(page.Position)
		if !ok {
			return fmt.Errorf("a page names %s, where no read model can stand", page.Position)
		}
		low = min(low, seq)
		for _, item := range page.Items {
			if item.Key <= last || seen[item.Key] {
				return fmt.Errorf("the listing has %s after %s", item.Key, last)
			}
			last, seen[item.Key] = item.Key, true
			if !s.edited[edit{generation, item.Key}] && !oracle.had(item.Key, seq, item.Document.Values) {
				return fmt.Errorf("a page of %d has %s as %q, which it never was since", seq, item.Key, item.Document.Values)
			}
		}
		s.counts["pages answered"]++
		if after = page.Next; after != "" {
			continue
		}
		for key := range oracle.docs {
			if !seen[key] && oracle.constant(key, low) && !s.edited[edit{generation, key}] {
				return fmt.Errorf("the listing from %d on lacks %s", low, key)
			}
		}
		return nil
	}
}

// had reports whether a document had these values at a sequence or at some time since.
func (o *oracle) had(key string, since uint64, values []string) bool {
	if d, ok := o.get(key, since); ok && slices.Equal(d.values(), values) {
		return true
	}
	return slices.ContainsFunc(o.docs[key], func(d expected) bool {
		return d.seq > since && d.exists && slices.Equal(d.values(), values)
	})
}

// constant reports whether a document is there at a sequence and was never removed since.
func (o *oracle) constant(key string, since uint64) bool {
	_, there := o.get(key, since)
	return there && !slices.ContainsFunc(o.docs[key], func(d expected) bool { return d.seq > since && !d.exists })
}

// allowed returns an error that is none of the codes.
func allowed(err error, codes ...events.Code) error {
	if err == nil || slices.ContainsFunc(codes, func(c events.Code) bool { return errors.Is(err, c) }) {
		return nil
	}
	return fmt.Errorf("a query was answered with: %w", err)
}

// finish ends all faults and requires that everything gets right within a minute.
func (s *simulation) finish() error {
	s.heal()
	for len(s.running) > 0 {
		s.kill(s.running[0]) // those of an older version would rightly go on with it
	}
	s.expireOrphan() // one of them may have taken it just now
	s.begin()
	s.receipts = append(s.receipts, s.append(s.event(ignored, "misc/last", `{}`)).Position)
	if err := s.eventually(func() error {
		if p, r := s.pointer(), s.replay(); p.Declined != "" && !r.Running() { // nothing but this brings it back
			if _, err := projections.RequestReplay(context.Background(), s.kv, s.kind, "what was declined", time.Now()); err != nil && !errors.Is(err, projections.ErrReplayRunning) {
				return err
			}
		}
		return s.caughtUp(s.version, s.edited)
	}); err != nil {
		return fmt.Errorf("a minute after the last fault: %w; the projector is %s %s, the replay %+v", err, s.status().State, s.status().Message, s.replay())
	}
	if len(s.edited) > 0 || s.random.IntN(3) == 0 {
		if err := s.finalReplay(); err != nil {
			return err
		}
	}
	if err := s.eventually(s.tidy); err != nil {
		return err
	}
	if err := s.finalLook(&s.watcher); err != nil {
		return err
	}
	o := s.oracle(s.version)
	s.counts["skips ignored"], s.counts["documents released"], s.counts["documents parked again"] = o.ignored, o.released, o.again
	if err := s.byTheLog(); err != nil {
		return fmt.Errorf("judged by the log: %w", err)
	}
	return s.finalQueries()
}

// finalReplay builds everything anew, which mends whatever was wrong.
func (s *simulation) finalReplay() error {
	asked, err := projections.RequestReplay(context.Background(), s.kv, s.kind, "final", time.Now())
	if err != nil {
		return err
	}
	if err := s.eventually(func() error {
		if r := s.replay(); r.ID != asked.ID || r.State != projections.ReplayDone {
			return fmt.Errorf("the final replay is %s: %s %s", r.State, r.Code, r.Message)
		}
		return s.caughtUp(s.version, nil)
	}); err != nil {
		return err
	}
	if r := s.replay(); !r.Compared || !r.Equal {
		return fmt.Errorf("the final replay was compared: %t, equal: %t", r.Compared, r.Equal)
	}
	s.counts["final replays equal"]++
	return nil
}

// tidy reports what is not as it is when all is quiet.
func (s *simulation) tidy() error {
	status, p := s.status(), s.pointer()
	if status.State != projections.ProjectorFollowing || status.Generation != p.Generation {
		return fmt.Errorf("the status says %s generation %d, and %d is live", status.State, status.Generation, p.Generation)
	}
	if len(p.Retired) > 0 {
		return fmt.Errorf("%d generations are retired and were not dropped", len(p.Retired))
	}
	for number := uint32(1); number <= p.Highest && !s.leftovers; number++ {
		s.counts["dropped generations looked for"]++
		for _, h := range s.headers(projections.Generation{Projection: s.kind, Number: number, Partitions: 5}) {
			if number != p.Generation && !isInUse(p, number) && h.State != projections.Absent {
				return fmt.Errorf("partition %d of generation %d is left behind", h.Partition, number)
			}
		}
	}
	return nil
}

// isInUse reports whether a generation is kept, or a copy.
func isInUse(p projections.Pointer, number uint32) bool {
	return p.Previous != nil && p.Previous.Generation == number || slices.ContainsFunc(p.Copies, func(c projections.Copy) bool { return c.Generation == number })
}

// finalQueries requires an answer about every key.
func (s *simulation) finalQueries() error {
	o := query.Options{AtLeast: s.receipts[len(s.receipts)-1]}
	for key := range s.oracle(s.version).docs {
		a, err := s.reader.Get(context.Background(), s.kind, key, o)
		if err != nil && !errors.Is(err, projections.ErrNoDocument) {
			return fmt.Errorf("when all is quiet: %w", err)
		}
		if err := s.judgeAnswer(key, o, a, err); err != nil {
			return err
		}
	}
	if err := s.listParked(); err != nil {
		return err
	}
	return s.list(o)
}

// listParked requires that the parked documents are listed, each once, at the event that it is parked at, and no others.
func (s *simulation) listParked() error {
	want, got := map[string]uint64{}, map[string]uint64{}
	o := s.oracle(s.version)
	for key := range o.docs {
		if d := o.last(key); d.exists && d.parked != "" {
			want[key] = d.parkedAt(s.t)
		}
	}
	last := uint64(0)
	for after := ""; ; {
		page, err := s.reader.Parked(context.Background(), s.kind, query.ParkedOptions{Limit: 2, After: after})
		if err != nil {
			return fmt.Errorf("when all is quiet: %w", err)
		}
		for _, d := range page.Items {
			if _, twice := got[d.Key]; twice || d.Sequence < last {
				return fmt.Errorf("the parked document %s is listed twice, or out of order", d.Key)
			}
			got[d.Key], last = d.Sequence, d.Sequence
		}
		if page.Parked != uint64(len(want)) || page.Unrouted != uint64(len(o.strays)) {
			return fmt.Errorf("%d documents are said to be parked and %d events unrouted, expected %d and %d", page.Parked, page.Unrouted, len(want), len(o.strays))
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("parked are %v, expected %v", got, want)
	}
	s.counts["parked documents listed"] += len(got)
	return nil
}
