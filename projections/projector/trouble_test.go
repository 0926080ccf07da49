package projector_test

import (
	"context"
	"encoding/json"
	"iter"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

// changes requires that exactly these changes of state were logged since the projector follows.
func (w *world) changes(waiting, refused, following int) {
	w.t.Helper()
	for state, want := range map[string]int{"waiting": waiting, "refused": refused, "following": following} {
		if got := w.logs.count("state=" + state); got != want {
			w.logs.dump(w.t)
			w.t.Errorf("%s is logged %d times, expected %d", state, got, want)
		}
	}
}

func (w *world) saysWaiting(code events.Code) {
	w.t.Helper()
	w.until("waiting", func() bool { s := w.status(); return s.State == projections.ProjectorWaiting && s.Code == string(code) })
}

func TestALogThatDoesNotAnswerIsWaitedFor(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		w.add(5)
		w.settle()
		w.log.Unreachable(1)
		w.log.Truncate(1_000) // wakes the reader, which then meets the fault
		w.log.Unreachable(-1)
		w.store.Flush() // and so does this
		w.saysWaiting(events.ErrUnreachable)
		pass(10 * time.Minute)
		w.changes(1, 0, 1)
		w.log.Unreachable(0)
		w.add(5)
		w.settle()
		w.until("following", func() bool { return w.status().State == projections.ProjectorFollowing })
		w.changes(1, 0, 2)
	})
}

func TestAStoreThatDoesNotAnswerIsWaitedFor(t *testing.T) {
	for name, ops := range map[string][]memstore.Op{
		"at all":         {memstore.OpHeaders, memstore.OpClaim, memstore.OpCreate, memstore.OpLoad, memstore.OpApply},
		"to writes":      {memstore.OpClaim, memstore.OpCreate, memstore.OpApply},
		"to commits":     {memstore.OpCommit},
		"to loads":       {memstore.OpLoad},
		"to one in four": {memstore.OpCommit},
	} {
		t.Run(name, func(t *testing.T) {
			everyKind(t, func(w *world) {
				w.options.CacheDocuments = 1
				w.start()
				w.add(5)
				w.settle()
				for _, op := range ops {
					w.store.Fail(memstore.Fault{Op: op, Match: func(c memstore.Call) bool { return name != "to one in four" || c.Partition == 1 }})
				}
				w.add(20)
				w.saysWaiting(projections.ErrStoreUnreachable)
				pass(10 * time.Minute)
				w.changes(1, 0, 1)
				w.store.Disarm()
				w.settle()
				w.until("following", func() bool { return w.status().State == projections.ProjectorFollowing })
				w.changes(1, 0, 2)
			})
		})
	}
}

// mute is a log whose Info answers and whose Read does not.
type mute struct{ events.Reader }

func (m mute) Read(context.Context, events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		yield(nil, events.Errorf(events.ErrUnreachable, "no answer"))
	}
}

func TestALogThatCannotBeReadIsNotSaidToBeFollowed(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.add(3)
		w.seenLog = mute{w.log}
		w.start()
		w.saysWaiting(events.ErrUnreachable)
		pass(10 * time.Minute)
		w.changes(1, 0, 1) // it was said once, before the first attempt to read
	})
}

func TestANewProjectorWithoutServersSaysSoOnceAndBeginsWhenTheyCome(t *testing.T) {
	region(t, "accounts", func(w *world) {
		for _, op := range []memstore.Op{memstore.OpKVGet, memstore.OpKVPut, memstore.OpKVWatch} {
			w.failKV(memstore.Fault{Op: op})
		}
		w.leases.Fail(memstore.Fault{Op: memstore.OpAcquire})
		w.log.Unreachable(-1)
		w.start()
		pass(10 * time.Minute)
		w.changes(1, 0, 0)
		w.kv.Disarm()
		w.leases.Disarm()
		w.log.Unreachable(0)
		w.add(3)
		w.settle()
		w.until("following", func() bool { return w.status().State == projections.ProjectorFollowing })
	})
}

func TestAStatusThatCouldNotBePublishedIsPublishedLater(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.failKV(memstore.Fault{Op: memstore.OpKVPut, Match: func(c memstore.Call) bool { return c.Key == projections.StatusKey(w.kind) }})
		w.start()
		w.add(3)
		w.settle()
		if s := w.status(); s.State != "" {
			t.Fatalf("the status is %s, so this tests nothing", s.State)
		}
		w.kv.Disarm()
		w.until("published", func() bool { return w.status().State == projections.ProjectorFollowing })
		w.changes(0, 0, 1)
	})
}

func TestAStatusSaysWhatIsTrueForReadersOfThePlainType(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.options.Holder = "me"
		w.start()
		w.settle()
		entry, err := w.kv.Get(context.Background(), projections.StatusKey(w.kind))
		if err != nil {
			t.Fatal(err)
		}
		var s projections.Status
		if err := json.Unmarshal(entry.Value, &s); err != nil {
			t.Fatal(err)
		}
		if s.Projection != w.kind || s.Holder != "me" || s.Generation != 1 || len(s.Definition.Fields) != 5 || s.Since.IsZero() {
			t.Errorf("the status is %+v", s)
		}
	})
}

func TestALogThatIsClosedFailsNoReplay(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.add(10)
		w.settle()
		w.store.Observe(once(memstore.OpCreate, func(memstore.Call) { w.log.Close() }))
		w.request()
		pass(10 * time.Second)
		if now := w.replay(); !now.Running() {
			t.Errorf("the replay is %s: %s", now.State, now.Message)
		}
		if s := w.status(); s.State != projections.ProjectorWaiting || s.Code != string(events.ErrClosed) {
			t.Errorf("the status is %s with %s", s.State, s.Code)
		}
		w.kill(r)
	})
}

func TestAWatchThatEndsIsBegunAgain(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.failKV(memstore.Fault{Op: memstore.OpKVWatch, Nth: 1})
		w.start()
		w.add(3)
		w.settle()
		w.rebuild()
		w.settle()
	})
}

func TestAStoreThatContradictsItselfIsNotAskedWithoutEnd(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(3)
		w.settle()
		w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Err: events.Errorf(projections.ErrMoved, "somewhere else")})
		before := w.store.Calls(memstore.OpClaim)
		w.add(1)
		pass(time.Minute)
		if n := w.store.Calls(memstore.OpClaim) - before; n < 10 || n > 100 {
			t.Errorf("it was asked %d times in a minute", n)
		}
		w.store.Disarm()
		w.settle()
	})
}
