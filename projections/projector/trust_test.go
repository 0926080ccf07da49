package projector_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// distrust is what the world's projectors are told of the log; nil: it is trusted.
type distrust struct{ reason atomic.Pointer[events.Error] }

func (w *world) distrust() *distrust {
	d := &distrust{}
	w.options.Trust = func() error {
		if e := d.reason.Load(); e != nil {
			return e
		}
		return nil
	}
	return d
}

func (d *distrust) because() {
	d.reason.Store(events.Errorf(projections.ErrUntrustedLog, "the log is not as it was"))
}

func TestNothingIsAppliedFromALogThatIsNotTrusted(t *testing.T) {
	everyKind(t, func(w *world) {
		d := w.distrust()
		r := w.start()
		w.add(10)
		w.settle()
		d.because()
		w.add(20)
		w.refused(projections.ErrUntrustedLog, "the log is not as it was")
		w.kill(r) // nor after a restart
		w.start()
		w.refused2(projections.ErrUntrustedLog)
		d.reason.Store(nil)
		w.settle()
		w.until("following", func() bool { return w.status().State == projections.ProjectorFollowing })
	})
}

// refused2 is refused for a second time: the log has said so before.
func (w *world) refused2(code events.Code) {
	w.t.Helper()
	before := w.headers(w.live())
	pass(20 * time.Second)
	if s := w.status(); s.State != projections.ProjectorRefused || s.Code != string(code) {
		w.t.Errorf("the status is %+v", s)
	}
	for i, h := range w.headers(w.live()) {
		if !h.Checkpoint.Equal(before[i].Checkpoint) {
			w.t.Errorf("partition %d went on to %s", i, h.Checkpoint)
		}
	}
}

// TestAProjectorThatWaitsForAnotherReasonSaysSo: the code is the same, and what to do about it is not. It is logged once.
func TestAProjectorThatWaitsForAnotherReasonSaysSo(t *testing.T) {
	everyKind(t, func(w *world) {
		d := w.distrust()
		says := func(what string) {
			t.Helper()
			d.reason.Store(events.Errorf(events.ErrUnreachable, "%s", what))
			w.until(what, func() bool {
				s := w.status()
				return s.State == projections.ProjectorWaiting && s.Code == string(events.ErrUnreachable) && strings.Contains(s.Message, what)
			})
		}
		w.add(10)
		d.reason.Store(events.Errorf(events.ErrUnreachable, "the audit was not read"))
		w.start()
		says("the audit was not read")
		since := w.status().Since
		says("the leader is gone")
		if now := w.status(); !now.Since.Equal(since) {
			t.Errorf("it waits since %s, and then since %s", since, now.Since)
		}
		if n := w.logs.count("state=waiting"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		d.reason.Store(nil)
		w.settle()
	})
}

func TestALogThatIsNotTrustedBeforeAnythingWasAppliedMakesNothing(t *testing.T) {
	region(t, "accounts", func(w *world) {
		d := w.distrust()
		d.because()
		w.add(10)
		w.start()
		pass(20 * time.Second)
		if s := w.status(); s.State != projections.ProjectorRefused || s.Code != string(projections.ErrUntrustedLog) {
			t.Errorf("%+v", s)
		}
		for _, h := range w.headers(w.live()) {
			if h.State != projections.Absent {
				t.Errorf("partition %d was made", h.Partition)
			}
		}
		d.reason.Store(nil)
		w.settle()
	})
}

// TestAReplayWaitsForALogThatIsNotTrusted: one that is asked for meanwhile, and one that is under way.
func TestAReplayWaitsForALogThatIsNotTrusted(t *testing.T) {
	for _, when := range []string{"asked for meanwhile", "under way"} {
		t.Run(when, func(t *testing.T) {
			region(t, "accounts", func(w *world) {
				d := w.distrust()
				w.start()
				w.add(30)
				w.settle()
				if when == "under way" {
					if _, err := projections.RequestReplay(t.Context(), w.kv, w.kind, "a test", time.Now()); err != nil {
						t.Fatal(err)
					}
				}
				d.because()
				w.until("refused", func() bool { return w.status().State == projections.ProjectorRefused })
				before := w.live()
				if when != "under way" {
					if _, err := projections.RequestReplay(t.Context(), w.kv, w.kind, "a test", time.Now()); err != nil {
						t.Fatal(err)
					}
				}
				pass(time.Minute)
				if r := w.replay(); !r.Running() || w.live().Number != before.Number {
					t.Errorf("%+v, generation %d", r, w.live().Number)
				}
				if s := w.status(); s.Code != string(projections.ErrUntrustedLog) {
					t.Errorf("%+v", s)
				}
				d.reason.Store(nil)
				w.until("the replay is done", func() bool { return w.replay().State == projections.ReplayDone })
				w.settle()
				if w.live().Number == before.Number {
					t.Error("nothing was built")
				}
			})
		})
	}
}
