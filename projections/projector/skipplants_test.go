package projector_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
)

// skipPlants are bugs in what is made of skip records.
func skipPlants() map[string]func(*world) {
	isSkip := func(r *events.Record) bool {
		return r.Kind == events.KindControl && len(r.Control.Name) > 5 && r.Control.Name[:5] == "skip."
	}
	hide := func(list []events.Record) []events.Record {
		for i := range list {
			if isSkip(&list[i]) {
				list[i].Control.Name = "mark"
			}
		}
		return list
	}
	// changed reads every skip record as another one, wherever it is read.
	changed := func(change func(w *world, r *events.Record, list []skipped) []skipped) func(*world) {
		return func(w *world) {
			inLog(func(b *bentLog) {
				bend := func(r *events.Record) {
					if list, ok := readSkips(r.Control.Data); isSkip(r) && ok {
						r.Control.Data = encodeSkips(change(w, r, list))
					}
				}
				b.batch = func(list []events.Record) []events.Record {
					for i := range list {
						bend(&list[i])
					}
					return list
				}
				b.controls = func(r *events.Record) bool { bend(r); return true }
			})(w)
		}
	}
	// inFold lets a fold know of every skip in the log, wherever it stands itself.
	inFold := func(bend func(fold func() error, skipped bool) error) func(*world) {
		return func(w *world) {
			inProjection(func(b *bentProjection) {
				b.folded = func(fold func() error, r *events.Record, key string) error {
					return bend(fold, hasSkip(w.log, w.kind, key, r.Sequence))
				}
			})(w)
		}
	}
	return map[string]func(*world){
		"skip records are not seen": inLog(func(b *bentLog) { b.batch = hide }),
		"skip records are not seen in a replay": inLog(func(b *bentLog) {
			b.ranged = func(r events.Range, list []events.Record) []events.Record {
				if !r.Follow {
					return hide(list)
				}
				return list
			}
		}),
		"skip records are seen in a replay only": inLog(func(b *bentLog) {
			b.ranged = func(r events.Range, list []events.Record) []events.Record {
				if r.Follow {
					return hide(list)
				}
				return list
			}
		}),
		"skips are forgotten": inLog(func(b *bentLog) { b.controls = func(*events.Record) bool { return false } }),
		"a skip is of another document": changed(func(_ *world, _ *events.Record, list []skipped) []skipped {
			for i := range list {
				list[i].Key = map[string]string{"a1": "a2", "red": "green"}[list[i].Key]
				if list[i].Key == "" {
					list[i].Key = "a3"
				}
			}
			return list
		}),
		"a skip is of another event": changed(func(_ *world, _ *events.Record, list []skipped) []skipped {
			for i := range list {
				list[i].Sequence = max(list[i].Sequence, 2) - 1
			}
			return list
		}),
		"only the first skip of a record counts": changed(func(w *world, r *events.Record, list []skipped) []skipped {
			var all []skipped
			for i, s := range list {
				if s.At != 0 || i == 0 || list[i-1].At != 0 {
					all = append(all, s)
				}
			}
			return all
		}),
		"a record that forgets skips is obeyed": changed(func(w *world, r *events.Record, list []skipped) []skipped {
			all := recorded(w.log, w.kind, r.Sequence-1)
			for _, s := range list {
				if !slices.ContainsFunc(all, func(o skipped) bool { return o.Key == s.Key && o.Sequence == s.Sequence }) {
					s.At = 0
					all = append(all, s)
				}
			}
			return all
		}),
		"a skip is obeyed before its record": inFold(func(fold func() error, skipped bool) error {
			if err := fold(); err == nil || errors.Is(err, projections.Delete) || !skipped {
				return err
			}
			return nil
		}),
		"a skip is obeyed though the event can be applied": inFold(func(fold func() error, skipped bool) error {
			if skipped {
				return errNotEnough
			}
			return fold()
		}),
		"what came after the event is not folded": inLog(func(b *bentLog) {
			b.history = func(from uint64, _ *events.Record) bool { return from <= 1 }
			b.ranged = func(r events.Range, list []events.Record) []events.Record {
				if r.From > 1 && !r.Follow {
					return nil
				}
				return list
			}
		}),
		"the rest of the event's transaction is not folded": inLog(func(b *bentLog) {
			b.record = func(r *events.Record) { r.Stamp.Tx = events.Tx{} }
		}),
		"a document is folded again without its first event": inLog(func(b *bentLog) {
			first := map[events.Entity]bool{}
			b.history = func(from uint64, r *events.Record) bool {
				if from > 1 || first[r.Event.Entity] {
					return true
				}
				first[r.Event.Entity] = true
				return false
			}
		}),
	}
}

// encodeSkips returns the data of a record.
func encodeSkips(list []skipped) []byte {
	data, err := json.Marshal(map[string]any{"skips": list})
	if err != nil {
		panic(err)
	}
	return data
}

// recorded returns every skip that a record up to a sequence names, whether it is obeyed or not.
func recorded(log *memlog.Log, kind string, upto uint64) (all []skipped) {
	for r, err := range log.Copy(upto).Controls(context.Background(), "skip."+kind, 1) {
		if err != nil {
			panic(err)
		}
		list, _ := readSkips(r.Control.Data)
		for _, s := range list {
			if s.At == 0 {
				s.At = r.Sequence
			}
			if !slices.ContainsFunc(all, func(o skipped) bool { return o.Key == s.Key && o.Sequence == s.Sequence }) {
				all = append(all, s)
			}
		}
	}
	return all
}

func hasSkip(log *memlog.Log, kind, key string, seq uint64) bool {
	return slices.ContainsFunc(recorded(log, kind, ^uint64(0)), func(s skipped) bool { return s.Key == key && s.Sequence == seq })
}
