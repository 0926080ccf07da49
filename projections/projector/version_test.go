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
