package redisstore

import (
	"context"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// maxArguments bounds the arguments of one commit: more than a million would be cut off by the server with the connection.
const maxArguments = 1 << 20

// Apply executes the commits: one script for each, all of them in one round trip.
func (s *Store) Apply(ctx context.Context, g projections.Generation, def *projections.Definition, commits []projections.Commit) []error {
	errs := make([]error, len(commits))
	buf := s.buffers.Get().(*applyBuffer) //nolint:forcetypeassert // the pool's own
	defer s.buffers.Put(buf)
	defer buf.reset()

	x, names := s.scripts.applyTo(def), s.names.of(g)
	calls := make([]*call, 0, len(commits))
	mine := make([]*call, len(commits))
	for i := range commits {
		errs[i] = checkCommit(def, &commits[i])
	}
	buf.reserve(names, commits, errs)
	for i := range commits {
		if errs[i] != nil {
			continue
		}
		mine[i] = newRawCall(ctx, x, buf.encode(names.at(commits[i].Partition), def, &commits[i]))
		calls = append(calls, mine[i])
	}
	s.execute(ctx, calls)
	for i, c := range mine {
		if c != nil {
			errs[i] = outcome(ctx, g, &commits[i], c)
		}
	}
	return errs
}

// checkCommit refuses what could only be a mistake of the caller.
func checkCommit(def *projections.Definition, c *projections.Commit) error {
	n := len(def.Fields)
	if n == 0 || n > maxFields {
		return events.Errorf(projections.ErrInvalidProjection, "the projection %q has %d fields; a document has 1 to %d", def.Name, n, maxFields)
	}
	size := len(c.Writes)*(n+ownFields+1) + len(c.Unmark) + 2*len(c.Marks)
	for i := range c.Writes {
		w := &c.Writes[i]
		size += len(w.Unindex) + 2*len(w.Index)
		if err := checkEntries(def, w); err != nil {
			return err
		}
	}
	if size > maxArguments-maxFields-headerAt-headerFields-logged(c) {
		return events.Errorf(events.ErrTooLarge, "a commit of %d documents is too large for one step; nothing was written", len(c.Writes)).
			Hint("Apply at most %d documents of a partition at once.", maxArguments/(2*maxFields))
	}
	for i := range c.Writes {
		if w := &c.Writes[i]; !w.Remove && len(w.Values) != n {
			return events.Errorf(projections.ErrInvalidProjection, "the document %q has %d values, and the projection %d fields; nothing was written",
				clip(w.Key), len(w.Values), n)
		}
	}
	return nil
}

// checkEntries refuses entries of indexes that are not there.
func checkEntries(def *projections.Definition, w *projections.Write) error {
	for _, list := range [...][]projections.IndexEntry{w.Unindex, w.Index} {
		for _, e := range list {
			if e.Index < projections.FirstIndex || e.Index >= len(def.Indexes) || e.Index >= projections.MaxIndexes {
				return events.Errorf(projections.ErrUnknownIndex, "the projection %q has no index %d; nothing was written", def.Name, e.Index)
			}
		}
	}
	return nil
}

// logged returns how many entries of the change log the arguments of a commit have: the one with which it would begin, and those with the keys.
func logged(c *projections.Commit) int {
	if c.Next.State != projections.Live {
		return 0
	}
	return 1 + (len(c.Writes)+projections.ChangeKeys-1)/projections.ChangeKeys
}

// outcome says what became of a commit.
func outcome(ctx context.Context, g projections.Generation, c *projections.Commit, made *call) error {
	const op = "apply a commit"
	a, err := made.answer()
	if err != nil {
		return failure(ctx, op, err)
	}
	where := func(code events.Code, format string, args ...any) *events.Error {
		return events.Errorf(code, "partition %d of %s generation %d "+format+"; nothing was written",
			append([]any{c.Partition, g.Projection, g.Number}, args...)...)
	}
	switch a.code {
	case 0:
		return nil
	case codeAbsent:
		return where(projections.ErrMoved, "is absent, expected at %s", c.Expect)
	case codeOwner:
		return where(projections.ErrFenced, "is owned by %s, not by %d", a.text(), c.Next.Owner)
	case codeMoved:
		return where(projections.ErrMoved, "is at %q, expected at %q", a.text(), c.Expect)
	case codeWrongType:
		return wrongType(op, made.keyAt(a.number()))
	default:
		return failure(ctx, op, errReply)
	}
}

// keyAt returns the key with an index of the script's KEYS.
func (c *call) keyAt(i int64) string {
	args := c.cmd.Args()
	if i < 1 || int(i) >= len(args)-firstKey {
		return ""
	}
	name, _ := args[firstKey+i-1].(*string) // only keys are there
	if name == nil {
		return ""
	}
	return *name
}

// applyBuffer holds the arguments of an Apply and is used again for the next one. The arguments are pointers to strings: the documents'
// own where they have them, otherwise those in texts, which must not grow while anybody points into it.
type applyBuffer struct {
	arena []byte
	joint string // the arena as a string: names of documents, entries of indexes and of change logs, one behind the other
	used  int    // how much of joint was given out
	sizes []int  // of the entries of change logs
	sized int    // how many of them were used
	texts []string
	args  []any
}

// reserve makes room for everything that encode makes of the commits that have no error.
func (b *applyBuffer) reserve(names *generationNames, commits []projections.Commit, errs []error) {
	texts, args := 0, 0
	b.arena, b.sizes, b.sized = b.arena[:0], b.sizes[:0], 0
	for i := range commits {
		if errs[i] != nil {
			continue
		}
		c := &commits[i]
		prefix := names.at(c.Partition).doc
		eachInOrder(c, func(w *projections.Write) { b.arena = append(append(b.arena, prefix...), w.Key...) })
		texts += commitTexts + 3*len(c.Writes) + logged(c)
		args += firstKey + 3 + headerAt + headerFields + maxFields + ownFields + logged(c)
		for j := range c.Writes {
			args += 1 + ownFields + 2 + len(c.Writes[j].Values)
		}
		t := touchedBy(c)
		for _, x := range t.list {
			eachEntry(c, x.index, func(value, key string) { b.arena = append(append(b.arena, value...), key...) }, nil)
			eachEntry(c, x.index, nil, func(value, key string) { b.arena = append(append(b.arena, value...), key...) })
			texts += 1 + x.gone + x.come
			args += 3 + x.gone + 2*x.come
		}
		if c.Next.State == projections.Live {
			b.reserveChanges(c)
		}
	}
	b.joint, b.used = string(b.arena), 0
	if cap(b.texts) < texts {
		b.texts = make([]string, 0, texts)
	}
	if cap(b.args) < args {
		b.args = make([]any, 0, args)
	}
}

// reserveChanges writes the entries of the change log into the arena.
func (b *applyBuffer) reserveChanges(c *projections.Commit) {
	begin := decimal(c.LogSequence())
	keys, from := 0, len(b.arena)
	end := func() {
		b.sizes = append(b.sizes, len(b.arena)-from)
		keys, from = 0, len(b.arena)
	}
	eachInOrder(c, func(w *projections.Write) {
		if keys == 0 {
			b.arena = append(append(b.arena, begin...), ' ')
		}
		b.arena = appendChange(b.arena, w.Key)
		if keys++; keys == projections.ChangeKeys {
			end()
		}
	})
	if keys > 0 {
		end()
	}
}

// commitTexts is how many texts encode makes for a commit, beside those for its documents, indexes and changes.
const commitTexts = 3 + headerAt + headerFields

// reset forgets what the buffer points to and keeps its memory.
func (b *applyBuffer) reset() {
	clear(b.texts)
	clear(b.args)
	b.texts, b.args, b.joint = b.texts[:0], b.args[:0], ""
}

// encode returns the arguments of the apply script; see there for their order.
func (b *applyBuffer) encode(names *partitionNames, def *projections.Definition, c *projections.Commit) []any {
	start := len(b.args)
	created, written, parked := count(c)
	indexes := touchedBy(c)
	b.args = append(b.args, nil, nil, 3+len(c.Writes)+len(indexes.list))
	b.text(names.head)
	b.text(names.keys)
	b.text(names.changes)
	eachInOrder(c, func(w *projections.Write) { b.cut(len(names.doc) + len(w.Key)) })
	for _, x := range indexes.list {
		b.text(names.indexKey(def, x.index))
	}
	b.text(decimal(c.Next.Owner))
	b.text(c.Expect.String())
	b.args = append(b.args, written, created, len(names.doc), len(c.Writes), parked, logged(c))
	first := len(b.texts)
	b.texts = appendHeader(b.texts, &c.Next)
	for i := first; i < len(b.texts); i++ {
		b.args = append(b.args, &b.texts[i])
	}
	for i := range def.Fields {
		b.args = append(b.args, &def.Fields[i].Name)
	}
	b.args = append(b.args, fieldAt, fieldDigest)
	b.documents(c)
	b.entries(c, &indexes)
	if n := logged(c); n > 0 {
		b.text(changeBegin(&c.Next))
		for _, size := range b.sizes[b.sized : b.sized+n-1] {
			b.cut(size)
		}
		b.sized += n - 1
	}
	return b.args[start:len(b.args):len(b.args)]
}

// documents appends the values of the documents to write, and the reasons of those that are parked.
func (b *applyBuffer) documents(c *projections.Commit) {
	eachInOrder(c, func(w *projections.Write) {
		if w.Remove {
			return
		}
		for i := range w.Values {
			b.args = append(b.args, &w.Values[i])
		}
		b.args = append(b.args, &w.At)
		b.text(w.Digest.String())
	})
	at := firstDocument - 1
	eachInOrder(c, func(w *projections.Write) {
		if at++; !w.Remove && w.Parked != "" {
			b.args = append(b.args, at, &w.Parked)
		}
	})
}

// firstDocument is the index of the first document in the apply script's KEYS.
const firstDocument = 4

// entries appends what happens to the indexes.
func (b *applyBuffer) entries(c *projections.Commit, indexes *touched) {
	for _, x := range indexes.list {
		b.args = append(b.args, x.gone, x.come)
		eachEntry(c, x.index, func(value, key string) { b.cut(len(value) + len(key)) }, nil)
		eachEntry(c, x.index, nil, func(value, key string) {
			b.args = append(b.args, score)
			b.cut(len(value) + len(key))
		})
	}
}

// cut appends the next n bytes of joint.
func (b *applyBuffer) cut(n int) {
	b.text(b.joint[b.used : b.used+n])
	b.used += n
}

func (b *applyBuffer) text(s string) {
	b.texts = append(b.texts, s)
	b.args = append(b.args, &b.texts[len(b.texts)-1])
}

func count(c *projections.Commit) (created, written, parked int) {
	for i := range c.Writes {
		w := &c.Writes[i]
		if w.Remove {
			continue
		}
		written++
		if w.Create {
			created++
		}
		if w.Parked != "" {
			parked++
		}
	}
	return created, written, parked
}

// eachInOrder calls fn for the documents to create, then for the others to write, then for those to remove.
func eachInOrder(c *projections.Commit, fn func(*projections.Write)) {
	for i := range c.Writes {
		if w := &c.Writes[i]; w.Create && !w.Remove {
			fn(w)
		}
	}
	for i := range c.Writes {
		if w := &c.Writes[i]; !w.Create && !w.Remove {
			fn(w)
		}
	}
	for i := range c.Writes {
		if w := &c.Writes[i]; w.Remove {
			fn(w)
		}
	}
}
