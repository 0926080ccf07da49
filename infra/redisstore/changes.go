package redisstore

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// A change log is a list, which costs a commit a quarter of what a stream would. An entry is the sequence of its commit and the keys, each with its length
// before it: "1042 5:LH400,3:a b,". The first entry of a log has no key: "1038".
//
// Source of the form of the keys: D. J. Bernstein, "Netstrings", 1997.

const (
	// changeSlack is how many entries a log may have over projections.ChangeEntries before it is cut off: cutting off one at a time would
	// cost each commit as much as logging does.
	changeSlack = 64
	// changesTail is how many of the newest entries are looked at first. Who reads all the time finds there what is new.
	changesTail = 64
	// changesStep is how many entries are read in one step by who is further behind, so that an answer is bounded: 64 keys each.
	changesStep = 256
)

func appendChange(b []byte, key string) []byte {
	b = append(strconv.AppendInt(b, int64(len(key)), 10), ':')
	return append(append(b, key...), ',')
}

// changeBegin returns the first entry of a log that begins at a header.
func changeBegin(h *projections.Header) string { return decimal(projections.SequenceOf(h.Checkpoint)) }

// changeEntry is an entry of a change log.
type changeEntry struct {
	sequence uint64
	keys     string
}

func parseChange(text string) (changeEntry, error) {
	sequence, keys, _ := strings.Cut(text, " ")
	n, err := strconv.ParseUint(sequence, 10, 64)
	if err != nil {
		return changeEntry{}, damagedChange(text)
	}
	return changeEntry{sequence: n, keys: keys}, nil
}

// cutChanges takes the keys of an entry apart.
func cutChanges(s string) (keys []string, ok bool) {
	for s != "" {
		size, rest, _ := strings.Cut(s, ":")
		n, err := strconv.Atoi(size)
		if err != nil || n < 0 || n >= len(rest) || rest[n] != ',' {
			return nil, false
		}
		keys, s = append(keys, rest[:n]), rest[n+1:]
	}
	return keys, true
}

func damagedChange(text string) error {
	return events.Errorf(projections.ErrDocumentDamaged, "a change log has an entry that cannot be read: %q", clip(text)).
		Hint("Somebody wrote into it by hand. Delete the change log: whoever follows it then reads all documents anew.")
}

// Changes returns what the change log has after a sequence. Mostly that is among its newest entries, which come with the header in one step. Who is further
// behind has the place looked for first. When the log was cut off under its eyes it begins again, and a partition in which that goes on and on
// answers as if it were not there.
func (s *Store) Changes(
	ctx context.Context, g projections.Generation, partition int, after uint64, limit int,
) (projections.Header, []projections.Change, uint64, error) {
	for range pageTries {
		x := changesRead{store: s, name: s.names.of(g).at(partition), partition: partition, after: after, limit: limit}
		whole, err := x.read(ctx)
		switch {
		case err != nil:
			return x.header, nil, 0, failure(ctx, "read the changes", err)
		case x.header.State == projections.Absent:
			return x.header, nil, 0, nil
		case whole:
			floor := max(x.floor, x.broken)
			if after < floor {
				x.list = nil
			}
			return x.header, x.list, floor, nil
		}
	}
	return projections.Header{Partition: partition}, nil, 0, nil
}

// changesRead is one attempt at Changes.
type changesRead struct {
	store     *Store
	name      *partitionNames
	partition int
	after     uint64
	limit     int

	header projections.Header
	length int    // of the log, at the last step
	floor  uint64 // by its oldest entry
	broken uint64 // what stands before this sequence is not believed
	list   []projections.Change
	last   string // the entry read last
}

// read reports whether it read without a gap.
func (x *changesRead) read(ctx context.Context) (whole bool, err error) {
	entries, err := x.step(ctx, -changesTail, -1)
	if err != nil || x.header.State == projections.Absent || x.after < x.floor || len(entries) == 0 {
		return true, err
	}
	first, err := parseChange(entries[0])
	if err != nil {
		return false, err
	}
	if first.sequence <= x.after || len(entries) == x.length {
		_, err := x.add(entries)
		return true, err
	}
	at, err := x.find(ctx, x.length-len(entries))
	if err != nil {
		return false, err
	}
	return x.readFrom(ctx, at)
}

// find returns the place of the last entry that is not after the sequence, among the first n.
func (x *changesRead) find(ctx context.Context, n int) (int, error) {
	low, high := 0, n // the entry at low is not after it, the one at high is
	for high-low > 1 {
		middle := (low + high) / 2
		text, err := x.store.client.LIndex(ctx, x.name.changes, int64(middle)).Result()
		if errors.Is(err, redis.Nil) {
			break // it was cut off meanwhile: whoever reads on sees that
		}
		if err != nil {
			return 0, err
		}
		e, err := parseChange(text)
		if err != nil {
			return 0, err
		}
		if e.sequence <= x.after {
			low = middle
		} else {
			high = middle
		}
	}
	return low, nil
}

// readFrom reads forward from a place that was found before. Each step has the last entry of the one before at its beginning, to see that it is still there.
func (x *changesRead) readFrom(ctx context.Context, at int) (whole bool, err error) {
	for {
		before := x.header
		entries, err := x.step(ctx, at, at+changesStep)
		if err != nil || x.header.State == projections.Absent || x.after < x.floor {
			return true, err
		}
		if !goesOn(&before, &x.header) || len(entries) == 0 || x.last != "" && entries[0] != x.last {
			return false, nil
		}
		first, err := parseChange(entries[0])
		if err != nil || x.last == "" && first.sequence > x.after {
			return false, err
		}
		rest := entries
		if x.last != "" {
			rest = entries[1:]
		}
		if enough, err := x.add(rest); enough || err != nil || len(entries) <= changesStep {
			return true, err
		}
		at += len(entries) - 1
	}
}

// step reads the header, the length and the oldest entry of the log, and the entries from one place to another, in one transaction.
func (x *changesRead) step(ctx context.Context, from, to int) ([]string, error) {
	head := redis.NewRawCmd(ctx, "hgetall", x.name.head)
	length := redis.NewRawCmd(ctx, "llen", x.name.changes)
	oldest := redis.NewRawCmd(ctx, "lrange", x.name.changes, 0, 0)
	list := redis.NewRawCmd(ctx, "lrange", x.name.changes, from, to)
	err := x.store.transact(ctx, head, length, oldest, list)
	if err != nil {
		return nil, err
	}
	if x.header, err = readHeader(x.partition, head.Val()); err != nil || x.header.State == projections.Absent {
		return nil, err
	}
	n, err := parseNumber(length.Val())
	if err != nil {
		return nil, err
	}
	x.length, x.floor = int(n), projections.SequenceOf(x.header.Checkpoint) //nolint:gosec // a list is shorter than that
	begin, err := parseStrings(nil, oldest.Val())
	if err != nil {
		return nil, err
	}
	for _, text := range begin {
		e, err := parseChange(text)
		if err != nil {
			return nil, err
		}
		x.floor = min(e.sequence, x.floor)
	}
	return parseStrings(nil, list.Val())
}

// add adds the changes of entries that are after the sequence, and reports whether that is enough: the limit is reached, and the last commit is whole.
//
// Sequences in a log never fall, and are not beyond the header's, or only by one: see Commit.LogSequence. What stands before an entry that breaks this was written by somebody else, and
// is not believed. The log then begins behind it.
func (x *changesRead) add(entries []string) (enough bool, err error) {
	before := uint64(0)
	if x.last != "" {
		e, err := parseChange(x.last)
		if err != nil {
			return false, err
		}
		before = e.sequence
	}
	now := projections.SequenceOf(x.header.Checkpoint)
	for _, text := range entries {
		e, err := parseChange(text)
		if err != nil {
			return false, err
		}
		if e.sequence < before || e.sequence > now && e.sequence-now > 1 {
			x.list, x.broken = nil, min(e.sequence, now)
		}
		before, x.last = e.sequence, text
		if e.sequence <= x.after || e.sequence > now {
			continue
		}
		if n := len(x.list); n >= x.limit && (n == 0 || x.list[n-1].Sequence != e.sequence) {
			return true, nil
		}
		keys, ok := cutChanges(e.keys)
		if !ok {
			return false, damagedChange(text)
		}
		for _, key := range keys {
			x.list = append(x.list, projections.Change{Sequence: e.sequence, Key: key})
		}
	}
	return false, nil
}
