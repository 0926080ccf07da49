package projector

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/snapshots"
)

// A snapshot is taken while the read model is followed. At a mark the engine brings every partition to that, and from then on remembers what each document was before it was touched for the
// first time since. So whoever walks through the stored documents, in its own time, puts together what they were at the mark; and what the partitions had recorded there proves it.

const (
	// maxRemembered is how many documents may be touched while a snapshot is taken, and maxRememberedSize how many bytes these may take.
	maxRemembered     = 500_000
	maxRememberedSize = 256 << 20
	// copyPage is how many documents are read at once.
	copyPage = 2_000
)

// errNotTaken: a snapshot was not taken this time.
var errNotTaken = errors.New("the snapshot was not taken")

// copying is one snapshot that is being taken.
type copying struct {
	generation uint32 // that is to be copied

	begun chan struct{} // closed when the partitions stand at a mark, or the engine gave it up

	mu       sync.Mutex
	headers  []projections.Header // at the mark
	mark     events.Mark
	sequence uint64
	before   map[string]*projections.Document // what was touched since, as it was at the mark; nil: there was none
	size     int                              // of these, in bytes, about
	failed   error                            // the engine cannot say any more what was touched
}

func newCopying(generation uint32) *copying {
	return &copying{generation: generation, begun: make(chan struct{}), before: make(map[string]*projections.Document)}
}

// stands says that the partitions stand at a mark, and where.
func (c *copying) stands(e *engine, m events.Mark, sequence uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil { // nobody waits any more
		e.copying = nil
		return
	}
	c.headers = make([]projections.Header, len(e.parts))
	for i := range e.parts {
		c.headers[i] = e.parts[i].head
	}
	c.mark, c.sequence = m, sequence
	close(c.begun)
}

// gone gives a snapshot up that is being taken.
func (c *copying) gone(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = events.Errorf(projections.ErrUnavailable, "%w: %s", errNotTaken, why)
	}
	if c.headers == nil {
		select {
		case <-c.begun:
		default:
			close(c.begun)
		}
	}
}

func (c *copying) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// over reports whether it was given up.
func (c *copying) over() bool { return c.err() != nil }

// abandon gives up the snapshot that is being taken, if there is one.
func (e *engine) abandon(why string) {
	if e.copying != nil {
		e.copying.gone(why)
		e.copying = nil
	}
}

// standAt applies records up to the first mark among them, if a snapshot waits for one, and returns the rest.
func (e *engine) standAt(ctx context.Context, records []events.Record) ([]events.Record, error) {
	c := e.copying
	if c == nil || c.headers != nil { // written by this goroutine alone
		return records, nil
	}
	if c.generation != e.gen.Number {
		c.gone("another generation is live by now")
	}
	if c.over() {
		e.copying = nil
		return records, nil
	}
	i := slices.IndexFunc(records, func(r events.Record) bool {
		m, ok := events.MarkOf(&r)
		return ok && m.Number != 0
	})
	if i < 0 {
		return records, nil
	}
	r := &records[i]
	m, _ := events.MarkOf(r)
	if err := e.apply(ctx, records[:i+1]); err != nil {
		return nil, err
	}
	if err := e.even(ctx); err != nil {
		return nil, err
	}
	if e.tip.seq == r.Sequence && e.highest() == r.Sequence && e.lowest() == r.Sequence {
		c.stands(e, m, r.Sequence)
	}
	return records[i+1:], nil
}

// preserve remembers documents that are about to be touched, as they are.
func (e *engine) preserve(touched []*entry) {
	c := e.copying
	if c == nil || c.headers == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range touched {
		if d == nil {
			continue
		}
		if _, ok := c.before[d.key]; ok {
			continue
		}
		const overhead = 200
		c.size += overhead + len(d.key)
		var was *projections.Document
		if d.exists {
			was = &projections.Document{Key: d.key, At: d.at, Parked: d.parked, Values: d.state.AppendFields(nil), Digest: d.digest}
			for _, v := range was.Values {
				c.size += len(v)
			}
		}
		c.before[d.key] = was
	}
	if (len(c.before) > maxRemembered || c.size > maxRememberedSize) && c.failed == nil {
		c.failed = events.Errorf(projections.ErrUnavailable, "%w: %d documents of %d bytes together changed meanwhile, which is more than is remembered", errNotTaken, len(c.before), c.size)
	}
	if c.failed != nil {
		c.before, e.copying = nil, nil
	}
}

// takeSnapshot has the live engine stand at a mark, and writes what the read model was there. It returns an error that errNotTaken is in when another try may succeed.
func (p *Projector) takeSnapshot(ctx context.Context, gen projections.Generation, def *projections.Definition, patience time.Duration) (projections.Snapshot, error) {
	c := newCopying(gen.Number)
	ask, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case p.copies <- c:
	case <-ask.Done():
		return projections.Snapshot{}, events.Errorf(projections.ErrUnavailable, "%w: the read model %s is not followed now", errNotTaken, def.Name)
	}
	defer c.gone("it is over")
	select {
	case <-c.begun:
	case <-ask.Done():
		if ctx.Err() != nil {
			return projections.Snapshot{}, context.Cause(ctx)
		}
		return projections.Snapshot{}, events.Errorf(projections.ErrUnavailable, "%w: no mark came within %s", errNotTaken, patience)
	}
	if err := c.err(); err != nil {
		return projections.Snapshot{}, err
	}
	meta := c.meta(p.options.Region, gen, def)
	from, to := io.Pipe()
	var kept projections.Snapshot
	var putErr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		kept, putErr = p.options.Snapshots.Put(ctx, meta, from)
		from.CloseWithError(cmpOr(putErr, io.ErrClosedPipe)) // whoever writes shall not wait for nobody
	}()
	err := c.write(ctx, to, p.store, gen, def, meta)
	to.CloseWithError(err) // nil is the end
	<-done
	if err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return projections.Snapshot{}, err
	}
	return kept, putErr
}

func cmpOr(err, or error) error {
	if err != nil {
		return err
	}
	return or
}

// meta describes the snapshot.
func (c *copying) meta(region string, gen projections.Generation, def *projections.Definition) projections.Snapshot {
	digest, documents, at := projections.Sum(c.headers)
	return projections.Snapshot{
		ID: events.NewID(), Projection: def.Name, Version: def.Version, Definition: def.Fingerprint(), Partitions: gen.Partitions, Position: at, Sequence: c.sequence, Mark: c.mark.Number,
		Documents: documents, Digest: digest.String(), Region: region, Taken: time.Now().UTC(),
	}
}

// write writes what the partitions were at the mark.
func (c *copying) write(ctx context.Context, to io.Writer, store projections.Store, gen projections.Generation, def *projections.Definition, meta projections.Snapshot) error {
	w, err := snapshots.NewWriter(to, meta, def)
	if err != nil {
		return err
	}
	for i := range c.headers {
		if err := w.Partition(c.headers[i]); err != nil {
			return err
		}
		if err := c.partition(ctx, w, store, gen, def, i); err != nil {
			return err
		}
	}
	if err := c.err(); err != nil {
		return err
	}
	return w.Close()
}

// partition writes the documents of a partition: those that are stored and were not touched since the mark, and those that were, as they were before. A page is read before it is looked up
// what was touched, so that a document is either read as it was, or known to have been touched.
func (c *copying) partition(ctx context.Context, w *snapshots.Writer, store projections.Store, gen projections.Generation, def *projections.Definition, n int) error {
	walked := make(map[string]bool)
	for after := ""; ; {
		began := time.Now()
		_, page, err := store.Page(ctx, gen, def, n, after, copyPage)
		if err != nil {
			return err
		}
		for i := range page {
			d := &page[i]
			after = d.Key
			was, touched, err := c.was(d.Key)
			if err != nil {
				return err
			}
			walked[d.Key] = true
			switch {
			case touched && was == nil:
				continue
			case touched:
				d = was
			case d.Values == nil:
				return events.Errorf(projections.ErrDocumentDamaged, "%w: the document %q of %s is not whole", errNotTaken, d.Key, def.Name)
			}
			if err := w.Document(d); err != nil {
				return err
			}
		}
		if len(page) < copyPage {
			break
		}
		sleep(ctx, time.Since(began)) // half of a core at most
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	for _, d := range c.removed(n, gen.Partitions, walked) {
		if err := w.Document(d); err != nil {
			return err
		}
	}
	return nil
}

// was returns what a document was at the mark, if it was touched since.
func (c *copying) was(key string) (d *projections.Document, touched bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, touched = c.before[key]
	return d, touched, c.failed
}

// removed returns the documents of a partition that were there at the mark, and were not met.
func (c *copying) removed(n, partitions int, walked map[string]bool) (list []*projections.Document) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(c.before)) {
		if d := c.before[key]; d != nil && !walked[key] && projections.PartitionOf(key, partitions) == n {
			list = append(list, d)
		}
	}
	return list
}
