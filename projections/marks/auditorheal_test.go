package marks_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
)

// kept is another region's copy, which outlives its use.
type kept struct{ *memlog.Log }

// Close leaves the log open: it is asked again.
func (k kept) Close() {}

func opens(l *memlog.Log) marks.Opener {
	return func(context.Context) (marks.Other, error) { return kept{l}, nil }
}

// TestOtherRegionsAreAskedForWhatIsMissing asks regions that hold everything, that hold less, that are wrong too, and that do not answer.
func TestOtherRegionsAreAskedForWhatIsMissing(t *testing.T) {
	for name, d := range damages() {
		if d.kind == marks.Unordered || name == "a mark of other records" {
			continue // that is so everywhere
		}
		t.Run(name, func(t *testing.T) {
			audited(t, func(s *site) {
				s.write(3)
				_, stop := s.start()
				pass(10 * time.Second)
				stop()
				right, short, wrong, away := s.log.Copy(1_000), s.log.Copy(4), s.log.Copy(1_000), s.log.Copy(1_000)
				for _, l := range []*memlog.Log{right, short, wrong, away} {
					s.ends = append(s.ends, l.Close)
				}
				d.damage(s)
				wrong.Skip(d.first)
				if d.kind == marks.Recreated {
					wrong.Recreate()
				}
				if d.kind == marks.Forked {
					wrong.Restore(s.log)
				}
				away.Unreachable(-1)
				s.options.Others = func(context.Context) (map[string]marks.Opener, error) {
					return map[string]marks.Opener{"a": opens(away), "b": opens(right), "c": opens(short), "d": opens(wrong)}, nil
				}
				a, _ := s.start()
				pass(10 * time.Second)
				f := s.state().Finding
				if f == nil || strings.Join(f.Asked, " ") != "b c d" || f.Kind != d.kind {
					t.Fatalf("%+v", f)
				}
				if len(f.Holds) != 1 || f.Holds[0] != "b" {
					t.Errorf("these are to hold the records: %+v", f)
				}
				if !strings.Contains(a.Verdict().Error(), "region b") {
					t.Errorf("%v", a.Verdict())
				}
				if f.Mirror {
					t.Error("the leader is to mirror itself")
				}
				switch name {
				case "another record":
					s.want(a, marks.Altered, 9, true)
				case "another record in its place":
					s.want(a, marks.Altered, 3, true)
				}
			})
		})
	}
}

func TestAMirrorIsToBeMirroredAgainFromALeaderThatIsRight(t *testing.T) {
	for name, d := range damages() {
		t.Run(name, func(t *testing.T) {
			audited(t, func(s *site) {
				s.write(3)
				s.options.Leader = "eu"
				_, stop := s.start()
				pass(10 * time.Second)
				stop()
				right := s.log.Copy(1_000)
				s.ends = append(s.ends, right.Close)
				d.damage(s)
				s.options.Others = func(context.Context) (map[string]marks.Opener, error) {
					return map[string]marks.Opener{"eu": opens(right)}, nil
				}
				s.start()
				pass(10 * time.Second)
				want := (d.kind == marks.Hole || d.kind == marks.Altered) && name != "a mark of other records"
				if f := s.state().Finding; f == nil || f.Mirror != want {
					t.Errorf("%+v", f)
				}
			})
		})
	}
}

// TestAHealedLogIsTrustedAfterAFullPassAndItsReadModelsAreBuiltAgain heals what was damaged.
func TestAHealedLogIsTrustedAfterAFullPassAndItsReadModelsAreBuiltAgain(t *testing.T) {
	for name, d := range damages() {
		if d.kind == marks.Unordered || name == "a mark of other records" {
			continue // nothing heals that
		}
		t.Run(name, func(t *testing.T) {
			audited(t, func(s *site) {
				s.model("one", nil)
				s.model("two", nil)
				s.model("of-a-stream", &projections.Source{Stream: "SHOP", Origin: "shop"})
				s.write(3)
				_, stop := s.start()
				pass(10 * time.Second)
				stop()
				right := s.log.Copy(1_000)
				s.ends = append(s.ends, right.Close)
				d.damage(s)
				a, stop := s.start()
				pass(10 * time.Second)
				s.want(a, d.kind, d.first, d.exact)
				running, err := projections.RequestReplay(t.Context(), s.kv, "two", "before", time.Now())
				if err != nil {
					t.Fatal(err)
				}
				pass(time.Minute)
				if r := s.replay("one"); r.ID != "" {
					t.Errorf("while it is wrong a replay was asked for: %+v", r)
				}
				s.log.Heal()
				s.log.Restore(right)
				stop()
				s.seen = s.log
				a, _ = s.start()
				pass(time.Minute)
				s.clean(a)
				if r := s.replay("one"); r.State != projections.ReplayRequested || r.Reason != "the log was healed" {
					t.Errorf("%+v", r)
				}
				if r := s.replay("of-a-stream"); r.ID != "" {
					t.Errorf("%+v", r)
				}
				if r := s.replay("two"); r.ID != running.ID {
					t.Errorf("%+v", r)
				}
				s.end("one")
				s.end("two") // which read what was wrong
				pass(time.Minute)
				if r := s.replay("two"); r.ID == running.ID || r.State != projections.ReplayRequested {
					t.Errorf("%+v", r)
				}
				if r := s.replay("one"); r.State != projections.ReplayDone {
					t.Errorf("it is asked for once more: %+v", r)
				}
				if h := s.state().Healed; h == nil || h.Kind != d.kind || len(h.Replays) != 0 {
					t.Errorf("%+v", h)
				}
			})
		})
	}
}

// model makes the pointer of a read model.
func (s *site) model(name string, source *projections.Source) {
	s.t.Helper()
	if _, err := projections.WriteJSON(s.t.Context(), s.kv, projections.PointerKey(name), projections.Pointer{Generation: 1, Partitions: 1, Highest: 1, Source: source}, 0); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) replay(name string) projections.Replay {
	s.t.Helper()
	r, _, err := projections.ReadJSON[projections.Replay](s.t.Context(), s.kv, projections.ReplayKey(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// end ends a replay.
func (s *site) end(name string) {
	s.t.Helper()
	r, revision, err := projections.ReadJSON[projections.Replay](s.t.Context(), s.kv, projections.ReplayKey(name))
	if err == nil {
		r.State = projections.ReplayDone
		_, err = projections.WriteJSON(s.t.Context(), s.kv, projections.ReplayKey(name), r, revision)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestALogThatAPersonSaysIsRightIsAuditedAnew has what is known about it forgotten.
func TestALogThatAPersonSaysIsRightIsAuditedAnew(t *testing.T) {
	for _, name := range []string{"another log of the same name", "an end that was written over", "a lost end"} {
		t.Run(name, func(t *testing.T) {
			audited(t, func(s *site) {
				s.write(3)
				a, _ := s.start()
				pass(10 * time.Second)
				d := damages()[name]
				d.damage(s)
				pass(10 * time.Second)
				s.want(a, d.kind, d.first, d.exact, "tidemark audit accept --region us --yes")
				_, revision, err := marks.Remembered(t.Context(), s.kv, "us")
				if err != nil {
					t.Fatal(err)
				}
				if err := marks.Accept(t.Context(), s.kv, "us", revision+1); !errors.Is(err, events.ErrConflict) {
					t.Errorf("what was not seen is accepted: %v", err)
				}
				if err := marks.Accept(t.Context(), s.kv, "us", revision); err != nil {
					t.Fatal(err)
				}
				pass(time.Minute)
				s.clean(a)
				if _, revision, err := marks.Remembered(t.Context(), s.kv, "us"); err != nil || !errors.Is(marks.Accept(t.Context(), s.kv, "us", revision), events.ErrConflict) {
					t.Errorf("what is not refused is accepted, at revision %d: %v", revision, err)
				}
				s.write(1)
				pass(time.Minute)
				if got := s.state(); got.Upto() != s.head()-1 {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// flip flips a bit of a record.
func (s *site) flip(seq uint64) {
	s.t.Helper()
	if !s.log.FlipBit(seq) {
		s.t.Fatal("there is nothing to flip")
	}
}

// TestALogThatContradictsItselfIsNotAccepted has a person try.
func TestALogThatContradictsItselfIsNotAccepted(t *testing.T) {
	for name, d := range damages() {
		if d.kind == marks.Recreated || d.kind == marks.Forked || d.kind == marks.Truncated {
			continue
		}
		t.Run(name, func(t *testing.T) {
			audited(t, func(s *site) {
				s.write(3)
				_, stop := s.start()
				pass(10 * time.Second)
				stop()
				d.damage(s)
				s.start()
				pass(time.Minute)
				before, revision, err := marks.Remembered(t.Context(), s.kv, "us")
				if err != nil || before.Finding == nil {
					t.Fatalf("nothing is found: %v", err)
				}
				if err := marks.Accept(t.Context(), s.kv, "us", revision); !errors.Is(err, events.ErrConflict) {
					t.Errorf("it is accepted: %v", err)
				}
				if after, now, err := marks.Remembered(t.Context(), s.kv, "us"); err != nil || now != revision || after.Finding == nil {
					t.Errorf("%+v at %d, %v", after, now, err)
				}
			})
		})
	}
}
