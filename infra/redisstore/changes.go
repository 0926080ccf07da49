package redisstore

import (
	"context"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/projections"
)

// A change log is a stream. The id of an entry is the sequence of its commit and the number of the entry in it, from 1; its fields are named
// changeKey and hold one key each. The first entry of a log has another field and no key.

const changeKey = "k"

// changesStep is how many entries are read in one step, so that an answer is bounded: 64 keys each.
const changesStep = 256

// changeID returns the id of one of a commit's entries.
func changeID(next *projections.Header, entry int) string {
	return decimal(projections.SequenceOf(next.Checkpoint)) + "-" + strconv.Itoa(entry+1)
}

// changeEntry is an entry of a change log.
type changeEntry struct {
	id              string
	sequence, entry uint64
	keys            []string
}

func (e *changeEntry) isBefore(f *changeEntry) bool {
	return e.sequence < f.sequence || e.sequence == f.sequence && e.entry < f.entry
}

// Changes returns what the change log has after a sequence. It reads on in steps; when the log was cut off under its eyes, or the partition went
// back or was made anew, it begins again, and a partition that goes on doing so answers as if it were not there.
func (s *Store) Changes(
	ctx context.Context, g projections.Generation, partition int, after uint64, limit int,
) (projections.Header, []projections.Change, uint64, error) {
	for range pageTries {
		x := changesRead{store: s, g: g, partition: partition, limit: limit}
		whole, err := x.read(ctx, after)
		if err != nil {
			return x.header, nil, 0, failure(ctx, "read the changes", err)
		}
		if whole {
			return x.header, x.list, x.floor, nil
		}
	}
	return projections.Header{Partition: partition}, nil, 0, nil
}

// changesRead is one attempt at Changes.
type changesRead struct {
	store     *Store
	g         projections.Generation
	partition int
	limit     int

	header projections.Header
	floor  uint64
	list   []projections.Change
}

// read reports whether it read without a gap.
func (x *changesRead) read(ctx context.Context, after uint64) (whole bool, err error) {
	from := decimal(after) + "-18446744073709551615" // behind all entries of that sequence
	var last *changeEntry
	for {
		before := x.header
		oldest, entries, err := x.step(ctx, from)
		if err != nil || x.header.State == projections.Absent {
			return last == nil, err
		}
		if last != nil && (!goesOn(&before, &x.header) || oldest == nil || last.isBefore(oldest)) {
			return false, nil
		}
		if x.add(entries) || len(entries) < changesStep {
			return true, nil
		}
		last = &entries[len(entries)-1]
		from = "(" + last.id
	}
}

// add adds entries to the list and reports whether that is enough: the limit is reached, and the last commit is whole.
func (x *changesRead) add(entries []changeEntry) bool {
	for i := range entries {
		e := &entries[i]
		if n := len(x.list); n >= x.limit && (n == 0 || x.list[n-1].Sequence != e.sequence) {
			return true
		}
		for _, key := range e.keys {
			x.list = append(x.list, projections.Change{Sequence: e.sequence, Key: key})
		}
	}
	return false
}

// step reads the header, the oldest entry, and some entries from an id on, in one transaction.
func (x *changesRead) step(ctx context.Context, from string) (oldest *changeEntry, entries []changeEntry, err error) {
	names := x.store.names.of(x.g).at(x.partition)
	head := redis.NewRawCmd(ctx, "hgetall", names.head)
	first := redis.NewRawCmd(ctx, "xrange", names.changes, "-", "+", "count", 1)
	list := redis.NewRawCmd(ctx, "xrange", names.changes, from, "+", "count", changesStep)
	if err := x.store.transact(ctx, head, first, list); err != nil {
		return nil, nil, err
	}
	if x.header, err = readHeader(x.partition, head.Val()); err != nil || x.header.State == projections.Absent {
		return nil, nil, err
	}
	begin, err := parseChanges(first.Val())
	if err != nil {
		return nil, nil, err
	}
	x.floor = projections.SequenceOf(x.header.Checkpoint)
	if len(begin) > 0 {
		oldest, x.floor = &begin[0], begin[0].sequence
	}
	entries, err = parseChanges(list.Val())
	return oldest, entries, err
}

// parseChanges reads the reply of XRANGE. Fields that are none of ours are passed over.
func parseChanges(raw []byte) ([]changeEntry, error) {
	all, err := parseStream(raw)
	if err != nil {
		return nil, err
	}
	entries := make([]changeEntry, len(all))
	for i := range all {
		sequence, entry, _ := strings.Cut(all[i].id, "-")
		e := changeEntry{id: all[i].id}
		if e.sequence, err = strconv.ParseUint(sequence, 10, 64); err != nil {
			return nil, errReply
		}
		if e.entry, err = strconv.ParseUint(entry, 10, 64); err != nil {
			return nil, errReply
		}
		for j := 0; j+1 < len(all[i].pairs); j += 2 {
			if all[i].pairs[j] == changeKey {
				e.keys = append(e.keys, all[i].pairs[j+1])
			}
		}
		entries[i] = e
	}
	return entries, nil
}
