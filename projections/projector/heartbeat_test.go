package projector_test

import (
	"testing"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

func TestAStatusIsConfirmedAsLongAsItsProjectorRunsAndNoLonger(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.settle()
		said := w.status()
		before := w.kv.Calls(memstore.OpKVPut)
		pass(time.Minute)
		now := w.status()
		if age := time.Since(now.Confirmed); age > projections.StatusInterval+time.Second {
			t.Errorf("the status was confirmed %s ago", age)
		}
		if n := w.kv.Calls(memstore.OpKVPut) - before; n > 13 {
			t.Errorf("%d writes in a minute", n)
		}
		if !now.Since.Equal(said.Since) || now.State != said.State {
			t.Errorf("confirming changed %+v to %+v", said, now)
		}
		w.changes(0, 0, 1)
		w.kill(r)
		last := w.status().Confirmed
		pass(time.Minute)
		if now := w.status().Confirmed; !now.Equal(last) {
			t.Errorf("somebody confirmed it at %s, after the projector's end", now)
		}
	})
}

func TestARefusalAndAReplayAreConfirmedToo(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(5)
		w.settle()
		fresh := func(state projections.ProjectorState) {
			t.Helper()
			for range 12 {
				pass(5 * time.Second)
				if s := w.status(); s.State != state || time.Since(s.Confirmed) > 2*projections.StatusInterval {
					t.Fatalf("the status is %s, confirmed %s ago", s.State, time.Since(s.Confirmed))
				}
			}
		}
		held := make(chan struct{})
		w.store.Observe(func(c memstore.Call) {
			if c.Op == memstore.OpCreate {
				<-held // the replay takes long
			}
		})
		w.request()
		fresh(projections.ProjectorFollowing)
		w.store.Observe(nil)
		close(held)
		w.until("the replay is done", func() bool { r := w.replay(); return !r.Running() })
		w.log.Truncate(2)
		w.until("refused", func() bool { return w.status().State == projections.ProjectorRefused })
		fresh(projections.ProjectorRefused)
	})
}

func TestAConfirmationThatFailsIsMadeUpFor(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.settle()
		w.failKV(memstore.Fault{Op: memstore.OpKVPut, Match: func(c memstore.Call) bool { return c.Key == projections.StatusKey(w.kind) }})
		last := w.status().Confirmed
		pass(time.Minute)
		if now := w.status().Confirmed; !now.Equal(last) {
			t.Fatal("it was confirmed, so this tests nothing")
		}
		w.kv.Disarm()
		pass(projections.StatusInterval + time.Second)
		if age := time.Since(w.status().Confirmed); age > projections.StatusInterval {
			t.Errorf("it was confirmed %s ago", age)
		}
	})
}

func TestAProjectorThatLostItsLeaseDoesNotConfirmWhatItsSuccessorSays(t *testing.T) {
	region(t, "accounts", func(w *world) {
		sleepy := &drowsy{Leases: w.leases}
		sleepy.delay.Store(int64(time.Hour)) // it does not notice, not even by looking at the store
		w.seenLeases = sleepy
		w.options.Holder, w.options.CheckInterval = "before", time.Hour
		w.start()
		w.settle()
		pass(projections.StatusInterval / 2) // the two confirm at different moments
		w.seenLeases = w.leases
		w.leases.Expire("projector-" + w.kind)
		w.options.Holder = "after"
		w.start()
		w.until("the successor speaks", func() bool { return w.status().Holder == "after" })
		for range 60 {
			pass(time.Second)
			if s := w.status(); s.Holder != "after" || time.Since(s.Confirmed) > 2*projections.StatusInterval {
				t.Fatalf("the status is %+v", s)
			}
		}
	})
}
