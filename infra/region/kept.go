package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/skips"
)

// Control records below a copy that begins later are asked for whenever a projector or a query begins: which projections there are, what they are, which events are passed over. So that a region
// which is cut off can begin too, it keeps them in its KV: of every name the newest record below the copy, and of definitions and skips every one. Whoever tends the copy fetches them once, when the
// region joins; what is below does not change any more, so they are never fetched again.

const (
	// keepPause is how long after a failed attempt the records are fetched again.
	keepPause = 2 * time.Second
	// keepPatience bounds an attempt, and how long the first one holds up the opening of the region.
	keepPatience = 10 * time.Second
	// maxKept bounds one record, in bytes: a larger one is read from the leader when it is needed.
	maxKept = 512 << 10
)

// keptKey is the key of the index, which is written last; the records are below it, by sequence.
func keptKey(origin string) string { return "past." + origin }

// keptIndex says what is kept. What it does not name did not exist.
type keptIndex struct {
	// Begins and Lineage are those of the copy that the records are below of. Those of another one are fetched anew.
	Begins  uint64         `json:"begins"`
	Lineage events.Lineage `json:"lineage"`
	// Names of control records that had one below the copy.
	Names map[string]keptName `json:"names"`
}

// keptName are the records of one name, by rising sequence. Without Whole there are older ones, or one that could not be kept: these are read from the leader.
type keptName struct {
	Sequences []uint64 `json:"sequences"`
	Whole     bool     `json:"whole,omitempty"`
}

// keptRecord is a record in the form in which the log stores it.
type keptRecord struct {
	Time    time.Time     `json:"time"`
	Subject string        `json:"subject"`
	Header  events.Header `json:"header"`
	Data    []byte        `json:"data"`
}

// kept reads them. A nil kept has none.
type kept struct {
	kv     projections.KV
	origin string
	log    *natslog.Log // the copy

	mu      sync.Mutex
	index   *keptIndex // nil: not read yet
	records map[uint64]events.Record
}

func newKept(kv projections.KV, log *natslog.Log) *kept {
	return &kept{kv: kv, origin: log.Origin(), log: log, records: map[uint64]events.Record{}}
}

// read returns the index; nil when there is none for this copy.
func (k *kept) read(ctx context.Context) (*keptIndex, error) {
	if k == nil {
		return nil, nil //nolint:nilnil // none is no error
	}
	begins := k.log.Begins()
	k.mu.Lock()
	known := k.index
	k.mu.Unlock()
	if known != nil && known.Begins == begins {
		return known, nil
	}
	i, revision, err := projections.ReadJSON[keptIndex](ctx, k.kv, keptKey(k.origin))
	if err != nil || revision == 0 || i.Begins != begins {
		return nil, err
	}
	info, err := k.log.Info(ctx)
	if err != nil || info.Terms.Lineage != i.Lineage {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.index = &i
	clear(k.records)
	return k.index, nil
}

// record returns a record that is kept.
func (k *kept) record(ctx context.Context, seq uint64) (events.Record, bool, error) {
	i, err := k.read(ctx)
	if i == nil || err != nil {
		return events.Record{}, false, err
	}
	for _, n := range i.Names {
		if slices.Contains(n.Sequences, seq) {
			r, err := k.load(ctx, seq)
			return r, err == nil, err
		}
	}
	return events.Record{}, false, nil
}

// last returns the newest record of a name below the copy; nil when it is known that there is none.
func (k *kept) last(ctx context.Context, name string) (_ *events.Record, known bool, _ error) {
	i, err := k.read(ctx)
	if i == nil || err != nil {
		return nil, false, err
	}
	n, ok := i.Names[name]
	if !ok {
		return nil, true, nil
	}
	if len(n.Sequences) == 0 {
		return nil, false, nil // it was too large
	}
	r, err := k.load(ctx, n.Sequences[len(n.Sequences)-1])
	return &r, true, err
}

// all returns the records of a name below the copy, if all of them are kept.
func (k *kept) all(ctx context.Context, name string) (list []events.Record, known bool, _ error) {
	i, err := k.read(ctx)
	if i == nil || err != nil {
		return nil, false, err
	}
	n, ok := i.Names[name]
	if ok && !n.Whole {
		return nil, false, nil
	}
	for _, seq := range n.Sequences {
		r, err := k.load(ctx, seq)
		if err != nil {
			return nil, false, err
		}
		list = append(list, r)
	}
	return list, true, nil
}

func (k *kept) recordKey(seq uint64) string { return fmt.Sprint(keptKey(k.origin), ".", seq) }

// load reads a record, and checks it like one of the log.
func (k *kept) load(ctx context.Context, seq uint64) (events.Record, error) {
	k.mu.Lock()
	r, ok := k.records[seq]
	k.mu.Unlock()
	if ok {
		return r, nil
	}
	stored, revision, err := projections.ReadJSON[keptRecord](ctx, k.kv, k.recordKey(seq))
	if err == nil && revision == 0 {
		err = events.Errorf(events.ErrDamaged, "the record %d of the log of %s, which is below this region's copy of it, was kept in the region's KV and is gone", seq, k.origin).
			Hint("Delete the key %s there and start the region's writer: it is fetched again.", keptKey(k.origin))
	}
	if err == nil {
		err = events.Decode(&r, k.origin, seq, stored.Time, events.Message{Subject: stored.Subject, Header: stored.Header, Data: stored.Data})
	}
	if err == nil {
		k.mu.Lock()
		k.records[seq] = r
		k.mu.Unlock()
	}
	return r, err
}

// keep fetches the records until they are kept.
func (s *short) keep(ctx context.Context) error {
	for told := false; ctx.Err() == nil; {
		err := s.fetch(ctx)
		if err == nil {
			return nil
		}
		if !told && ctx.Err() == nil {
			told = true
			s.region.config.Logger.WarnContext(ctx, "the control records below the region's copy of the log are not kept here yet; it is tried again",
				"region", s.region.config.Name, "origin", s.Origin(), "reason", err.Error())
		}
		_ = pause(ctx, keepPause) // the end of ctx ends the loop
	}
	return nil
}

// fetch keeps the records, unless they are.
func (s *short) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keepPatience)
	defer cancel()
	if i, err := s.kept.read(ctx); i != nil || err != nil {
		return err
	}
	leader, err := s.below(ctx)
	if err != nil {
		return err
	}
	info, err := s.log.Info(ctx)
	if err != nil {
		return err
	}
	names, err := leader.ControlNames(ctx)
	if err != nil {
		return s.unreachable(err)
	}
	index := keptIndex{Begins: info.Begins, Lineage: info.Terms.Lineage, Names: map[string]keptName{}}
	lasts, err := leader.LastControls(ctx, names, info.Begins-1)
	if err != nil {
		return s.unreachable(err)
	}
	for i := range lasts {
		name, _ := events.ParseControlSubject(s.Origin(), lasts[i].Subject)
		list, whole := lasts[i:i+1], false
		if wholeName(name) {
			if list, err = collect(leader.Controls(ctx, name, 1), info.Begins); err != nil {
				return s.unreachable(err)
			}
			whole = true
		}
		n, err := s.kept.store(ctx, list)
		if err != nil {
			return err
		}
		n.Whole = whole && len(n.Sequences) == len(list)
		index.Names[name] = n
	}
	return s.kept.finish(ctx, &index)
}

// wholeName reports whether every record of a name is kept.
func wholeName(name string) bool {
	return strings.HasPrefix(name, catalog.DefinitionControl("")) || strings.HasPrefix(name, skips.Name(""))
}

// collect returns the records of an iteration below a sequence.
func collect(all iter.Seq2[events.Record, error], below uint64) (list []events.Record, _ error) {
	for r, err := range all {
		if err != nil {
			return nil, err
		}
		if r.Sequence >= below {
			break
		}
		list = append(list, r)
	}
	return list, nil
}

// store writes records down, those that can be.
func (k *kept) store(ctx context.Context, list []events.Record) (n keptName, err error) {
	for i := range list {
		r := &list[i]
		if r.Kind != events.KindControl || len(r.Control.Data) > maxKept {
			continue
		}
		m := events.EncodeControl(k.origin, r.Control, r.Stamp)
		if err := k.put(ctx, k.recordKey(r.Sequence), keptRecord{Time: r.Time, Subject: m.Subject, Header: m.Header, Data: m.Data}); err != nil {
			return n, err
		}
		n.Sequences = append(n.Sequences, r.Sequence)
	}
	return n, nil
}

// finish writes the index, and removes the records of another one.
func (k *kept) finish(ctx context.Context, index *keptIndex) error {
	wanted := map[string]bool{}
	for _, n := range index.Names {
		for _, seq := range n.Sequences {
			wanted[k.recordKey(seq)] = true
		}
	}
	if err := k.put(ctx, keptKey(k.origin), index); err != nil {
		return err
	}
	keys, err := k.kv.Keys(ctx, keptKey(k.origin)+".")
	if err != nil {
		return err
	}
	for _, key := range keys {
		if wanted[key] {
			continue
		}
		e, err := k.kv.Get(ctx, key)
		if err == nil {
			err = k.kv.Delete(ctx, key, e.Revision)
		}
		if err != nil && !errors.Is(err, projections.ErrNoKey) && !errors.Is(err, projections.ErrRevision) {
			return err
		}
	}
	return nil
}

// put writes a value, whatever was there: all who write here write the same.
func (k *kept) put(ctx context.Context, key string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	for {
		e, err := k.kv.Get(ctx, key)
		if err != nil && !errors.Is(err, projections.ErrNoKey) {
			return err
		}
		if err == nil && string(e.Value) == string(text) {
			return nil
		}
		if _, err = k.kv.Put(ctx, key, text, e.Revision); !errors.Is(err, projections.ErrRevision) {
			return err
		}
	}
}
