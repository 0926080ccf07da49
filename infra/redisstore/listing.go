package redisstore

import (
	"context"
	"errors"
	"strconv"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// pageTries bounds how often a page is begun anew because the partition went back, or was made anew, under its eyes.
const pageTries = 3

// listing reads documents in the order of a sorted set that names them: the list of keys, or an index. Members and documents are read one after the
// other, and the header before and after them: a partition that was emptied or went back in between is read again, and one that goes on doing so
// answers as if it were not there.
type listing struct {
	op        string
	store     *Store
	g         projections.Generation
	def       *projections.Definition
	partition int
	limit     int

	set      string // the sorted set
	from, to string // as ZRANGEBYLEX has them
	reverse  bool   // from the last to the first
	bare     bool   // without the documents
	// cut returns the value and the document's key of a member, and false for one that cannot be of ours.
	cut func(member string) (value, key string, ok bool)
}

// goOn sets the listing to what comes behind a member.
func (l *listing) goOn(member string) {
	if l.reverse {
		l.to = "(" + member
	} else {
		// From the first member behind it, rather than from it without itself: miniredis reads "(+" and "(-" as the ends of all members.
		l.from = "[" + member + "\x00"
	}
}

func (l *listing) read(ctx context.Context) (projections.Header, []projections.Found, error) {
	for range pageTries {
		attempt := *l
		h, found, err := attempt.readOnce(ctx)
		if err != nil || h.State == projections.Absent || l.bare { // that was one transaction
			return h, found, failure(ctx, l.op, err)
		}
		now, err := l.store.header(ctx, l.op, l.g, l.partition)
		if err != nil {
			return h, nil, err
		}
		if goesOn(&h, &now) {
			return h, found, nil
		}
	}
	return projections.Header{Partition: l.partition}, nil, nil
}

// readOnce reads members and documents once, and uses the listing up.
func (l *listing) readOnce(ctx context.Context) (projections.Header, []projections.Found, error) {
	h, members, err := l.members(ctx, l.limit)
	if err != nil || h.State == projections.Absent {
		return h, nil, err
	}
	var out []projections.Found
	for want := l.limit; len(members) > 0; {
		found, err := l.documents(ctx, members)
		if err != nil {
			return h, nil, err
		}
		if out == nil {
			out = found // nearly always all there is
		} else {
			out = append(out, found...)
		}
		if len(members) < want || len(out) >= l.limit {
			break
		}
		// Some of them were removed in the meantime: read on behind them. What is found now is newer than the header, which is allowed.
		l.goOn(members[len(members)-1])
		want = l.limit - len(out)
		if _, members, err = l.members(ctx, want); err != nil {
			return h, nil, err
		}
	}
	return h, out, nil
}

// members returns the header and up to limit members, from one transaction.
func (l *listing) members(ctx context.Context, limit int) (projections.Header, []string, error) {
	head := redis.NewRawCmd(ctx, "hgetall", l.store.names.of(l.g).at(l.partition).head)
	command, first, last := "zrangebylex", l.from, l.to
	if l.reverse {
		command, first, last = "zrevrangebylex", l.to, l.from
	}
	list := redis.NewRawCmd(ctx, command, l.set, first, last, "limit", "0", strconv.Itoa(max(limit, 0)))
	if err := l.store.transact(ctx, head, list); err != nil {
		return projections.Header{}, nil, err
	}
	h, err := readHeader(l.partition, head.Val())
	if err != nil {
		return h, nil, err
	}
	members, err := parseStrings(nil, list.Val())
	return h, members, err
}

// documents reads the documents of members. One that is not there was either removed since, then it is left out, or it is still listed, then it
// is damaged, as is one whose name holds something else: the caller is told of it, by a document without values.
func (l *listing) documents(ctx context.Context, members []string) ([]projections.Found, error) {
	out := make([]projections.Found, len(members))
	for i, m := range members {
		value, key, ok := l.cut(m)
		switch {
		case ok:
			out[i].Value, out[i].Key = value, key
		case l.bare:
			out[i].Value = m
		default:
			return nil, damagedEntry(l.set, m)
		}
	}
	if l.bare {
		return out, nil
	}
	refs := make([]projections.Ref, len(out))
	for i := range out {
		refs[i] = projections.Ref{Partition: l.partition, Key: out[i].Key}
	}
	if err := l.load(ctx, refs, out); err != nil {
		return nil, err
	}
	n := 0
	for i := range out {
		if out[i].Key == "" {
			d, err := l.listed(ctx, members[i], refs[i])
			if err != nil {
				return nil, err
			}
			if d == nil {
				continue
			}
			out[i].Document = *d
		}
		out[n] = out[i]
		n++
	}
	return out[:n], nil
}

// load reads documents into out. One that is not there is left without a key. One whose name holds something else is a document without values: those are looked for only when there is one, by halving.
func (l *listing) load(ctx context.Context, refs []projections.Ref, out []projections.Found) error {
	err := l.loadAll(ctx, refs, out)
	switch {
	case !errors.Is(err, projections.ErrWrongType):
		return err
	case len(refs) == 1:
		out[0].Document = projections.Document{Key: refs[0].Key}
		return nil
	}
	half := len(refs) / 2
	if err := l.load(ctx, refs[:half], out[:half]); err != nil {
		return err
	}
	return l.load(ctx, refs[half:], out[half:])
}

// loadAll is load where every name holds a document, or nothing. All of them share their memory, for they are used together.
func (l *listing) loadAll(ctx context.Context, refs []projections.Ref, out []projections.Found) error {
	cmds, err := l.store.hashes(ctx, l.g, refs)
	if err != nil {
		return failure(ctx, loadOp, err)
	}
	rest, n := oneText(cmds), len(l.def.Fields)
	values := make([]string, n*len(cmds))
	var pairs []string
	for i, c := range cmds {
		reply := rest[:len(c.Val())]
		if pairs, err = cutStrings(pairs[:0], reply); err != nil {
			return ofKey(failure(ctx, loadOp, err), loadOp, refs[i].Key)
		}
		if !readDocument(&out[i].Document, l.def, refs[i].Key, pairs, values[i*n:(i+1)*n:(i+1)*n]) {
			out[i].Key = ""
		}
		rest = rest[len(reply):]
	}
	return nil
}

// listed reads whether the member is there, and its document, in one transaction.
func (l *listing) listed(ctx context.Context, member string, ref projections.Ref) (*projections.Document, error) {
	there := redis.NewRawCmd(ctx, "zscore", l.set, member)
	doc := redis.NewRawCmd(ctx, "hgetall", l.store.names.of(l.g).at(ref.Partition).doc+ref.Key)
	if err := l.store.transact(ctx, there, doc); err != nil {
		return nil, err
	}
	pairs, err := parseStrings(nil, doc.Val())
	if err != nil {
		return nil, ofKey(failure(ctx, l.op, err), l.op, ref.Key)
	}
	if d := parseDocument(l.def, ref.Key, pairs); d != nil || isNull(there.Val()) {
		return d, nil
	}
	return &projections.Document{Key: ref.Key}, nil
}

func damagedEntry(set, member string) error {
	return events.Errorf(projections.ErrDocumentDamaged, "%s has an entry that cannot be read: %q", set, clip(member)).
		Hint("Somebody wrote into it by hand. Remove it with ZREM, or replay the projection.")
}
