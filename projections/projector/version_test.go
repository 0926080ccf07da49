package projector_test

import (
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
)

func TestAReplayOfAnotherVersionIsBegunAnewByTheVersionThatIsDeployed(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.add(30)
		w.settle()
		w.store.Fail(memstore.Fault{Op: memstore.OpCommit, Match: func(c memstore.Call) bool { return c.Generation.Number == 2 }})
		w.request()
		pass(time.Second)
		w.kill(r) // version 1 is in the middle of its replay
		w.store.Disarm()
		w.version = 2
		w.start()
		w.settle()
		if n := w.logs.count("state=refused"); n != 0 {
			t.Errorf("refused %d times", n)
		}
		w.until("dropped", func() bool { return len(w.pointer().Retired) == 0 })
		if p := w.pointer(); p.Generation != 3 {
			t.Errorf("the pointer is %+v", p)
		}
	})
}

// Version 1 ends between the switch of its replay and saying so. Version 2 finds that replay running and finishes it; then it has its own to ask for.
func TestAHigherVersionIsBuiltAlsoAfterFinishingAReplayOfTheOldOne(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.add(5)
		w.settle()
		w.killAfterSwitch(r)
		w.version = 2
		w.start()
		w.settle()
	})
}

func TestAVersionThatCannotBeBuiltSaysWhyAndIsTriedAgain(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.add(10)
		w.settle()
		w.kill(r)
		w.log.Skip(5)
		w.version = 2
		w.start()
		w.until("refused", func() bool { return w.status().State == projections.ProjectorRefused })
		pass(10 * time.Minute)
		if s := w.status(); s.State != projections.ProjectorRefused || s.Code != string(events.ErrHole) {
			t.Errorf("the status is %+v", s)
		}
		if p := w.pointer(); p.Highest > 40 || p.Generation != 1 || len(p.Retired) > 1 {
			t.Errorf("in ten minutes the pointer came to %+v", p)
		}
		w.log.Heal()
		w.settle()
	})
}

// With the version before at hand, it goes on being followed until the new one takes over, and a read of one's own write need not wait for that.
func TestTheVersionBeforeGoesOnBeingFollowed(t *testing.T) {
	everyKind(t, func(w *world) {
		r := w.start()
		w.add(20)
		w.settle()
		w.kill(r)
		held := make(chan struct{})
		w.store.Observe(func(c memstore.Call) {
			if c.Op == memstore.OpApply && c.Generation.Number == 2 {
				<-held
			}
		})
		w.version, w.earlier = 2, true
		w.start()
		w.add(20)
		w.until("version 1 is at the head", func() bool {
			p := w.pointer()
			for _, h := range w.headers(p.Live(w.kind)) {
				if p.Version != 1 || sequence(h.Checkpoint) != w.oracle(1).head() {
					return false
				}
			}
			return true
		})
		if err := checkGeneration(t, w.store, w.live(), w.oracle(1), nil); err != nil {
			t.Error(err)
		}
		if s := w.status(); s.State != projections.ProjectorFollowing || s.Generation != 1 {
			t.Errorf("the status is %+v", s)
		}
		w.store.Observe(nil)
		close(held)
		w.settle()
		if r := w.replay(); r.Compared || r.Position == "" {
			t.Errorf("versions were compared: %+v", r)
		}
	})
}

// The version before refuses to go on: the new one is what mends that.
func TestANewVersionMendsTheOneBeforeThatRefuses(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.add(10)
		w.settle()
		w.kill(r)
		w.log.Recreate()
		w.add(5)
		w.oracles = map[int]*oracle{}
		w.version, w.earlier = 2, true
		w.start()
		w.settle()
	})
}
