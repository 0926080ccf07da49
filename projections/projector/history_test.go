package projector_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// refused waits for a refusal, and checks that nothing is applied from then on and that the words are in the status.
func (w *world) refused(code events.Code, words ...string) {
	w.t.Helper()
	w.until("refused", func() bool { return w.status().State == projections.ProjectorRefused })
	before := w.headers(w.live())
	pass(20 * time.Second)
	s := w.status()
	if s.State != projections.ProjectorRefused || s.Code != string(code) {
		w.t.Errorf("the status is %s with code %s, expected refused with %s", s.State, s.Code, code)
	}
	for _, word := range words {
		if !strings.Contains(s.Message, word) {
			w.t.Errorf("the message is %q and should say %q", s.Message, word)
		}
	}
	if n := w.logs.count("state=refused"); n != 1 {
		w.t.Errorf("the refusal is logged %d times", n)
	}
	for i, h := range w.headers(w.live()) {
		if !h.Checkpoint.Equal(before[i].Checkpoint) {
			w.t.Errorf("partition %d went on to %s", i, h.Checkpoint)
		}
	}
}

// forget makes the oracles read the log from its start: its history is another one now.
func (w *world) forget() { clear(w.oracles) }

// otherHistories are the ways in which a log can be another one than the read model was folded from.
func otherHistories() map[string]struct {
	change func(w *world)
	words  []string
} {
	type way = struct {
		change func(w *world)
		words  []string
	}
	return map[string]way{
		"recreated": {func(w *world) {
			w.log.Recreate()
			w.add(30)
		}, []string{"expected the history of its checkpoint us.7f3a11d2@1:21", "found the log at us."}},
		"truncated": {func(w *world) {
			w.log.Truncate(10)
		}, []string{"expected a log that reaches its checkpoint us.7f3a11d2@1:21", "found one that ends at us.7f3a11d2@1:10"}},
		"truncated and written again": {func(w *world) {
			w.log.Truncate(10)
			w.add(20)
		}, []string{"expected the record", "at its checkpoint us.7f3a11d2@1:21, found"}},
		"failed over behind its checkpoint": {func(w *world) {
			w.log.Truncate(10)
			w.log.Promote()
			w.add(20)
		}, []string{"expected the history of its checkpoint us.7f3a11d2@1:21", "@2:31"}},
		"without the record at its checkpoint": {func(w *world) {
			w.log.Skip(21)
		}, []string{"expected a record at its checkpoint us.7f3a11d2@1:21, found none"}},
	}
}

func TestALogOfAnotherHistoryIsRefusedAndAReplayMendsIt(t *testing.T) {
	for name, way := range otherHistories() {
		t.Run(name, func(t *testing.T) {
			everyKind(t, func(w *world) {
				r := w.start()
				w.add(20)
				w.settle()
				w.kill(r)
				way.change(w)
				w.start()
				w.refused(events.ErrForeignHistory, append(way.words, "nothing was applied", "tidemark replay "+w.kind+" --from-start")...)
				if name == "without the record at its checkpoint" {
					w.log.Heal() // that is mended by the record alone
					w.settle()
					return
				}
				w.forget()
				w.rebuild()
				w.settle()
				if r := w.replay(); r.Compared {
					t.Error("generations of different histories were compared")
				}
				w.until("following", func() bool { return w.status().State == projections.ProjectorFollowing })
			})
		})
	}
}

func TestALogThatBecomesAnotherOneWhileItIsFollowedIsRefused(t *testing.T) {
	for _, name := range []string{"recreated", "truncated", "failed over behind its checkpoint"} {
		way := otherHistories()[name]
		t.Run(name, func(t *testing.T) {
			region(t, "accounts", func(w *world) {
				w.start()
				w.add(20)
				w.settle()
				if _, err := w.reader.Get(context.Background(), w.kind, "a1", query.Options{}); err != nil {
					t.Fatal(err)
				}
				way.change(w)
				w.refused(events.ErrForeignHistory)
				if _, err := w.reader.Get(context.Background(), w.kind, "a1", query.Options{}); !errors.Is(err, events.ErrForeignHistory) {
					t.Errorf("a query answers with %v", err)
				}
			})
		})
	}
}

// blind is a log whose Read does not notice that it has become another one.
type blind struct{ events.Reader }

func (b blind) Read(ctx context.Context, r events.Range) iter.Seq2[[]events.Record, error] {
	return func(yield func([]events.Record, error) bool) {
		for list, err := range b.Reader.Read(ctx, r) {
			if errors.Is(err, events.ErrForeignHistory) {
				<-ctx.Done()
				return
			}
			if !yield(list, err) {
				return
			}
		}
	}
}

func TestALogThatBecomesAnotherOneIsRefusedThoughItsReaderDoesNotNotice(t *testing.T) {
	for _, name := range []string{"recreated", "truncated", "failed over behind its checkpoint"} {
		way := otherHistories()[name]
		t.Run(name, func(t *testing.T) {
			region(t, "accounts", func(w *world) {
				w.seenLog = blind{w.log}
				w.start()
				w.add(20)
				w.settle()
				way.change(w)
				w.refused(events.ErrForeignHistory)
			})
		})
	}
}

func TestALeaderThatHasNotCountedItsLastRecordsYetIsNoForeignHistory(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.add(20)
		w.settle()
		w.kill(r)
		stale := 3
		inLog(func(b *bentLog) {
			b.info = func(i *events.Info) {
				if stale--; stale >= 0 {
					i.Last -= 4
				}
			}
		})(w)
		w.start()
		w.add(1)
		w.settle()
		if n := w.logs.count("state=refused"); n != 0 {
			t.Errorf("refused %d times", n)
		}
	})
}

func TestARefusedLogThatComesBackIsFollowedAgain(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.start()
		w.add(20)
		w.settle()
		right := w.log.Copy(1_000)
		w.log.Recreate()
		w.refused(events.ErrForeignHistory)
		w.log.Restore(right)
		w.add(3)
		w.settle()
	})
}

func TestAHoleIsRefusedUntilItIsHealed(t *testing.T) {
	everyKind(t, func(w *world) {
		w.options.Batch = 4
		w.start()
		w.add(5)
		w.settle()
		w.log.Skip(13)
		w.add(20)
		w.until("refused", func() bool { return w.status().Code == string(events.ErrHole) })
		w.until("everything before it is applied", func() bool {
			for _, h := range w.headers(w.live()) {
				if sequence(h.Checkpoint) != 12 {
					return false
				}
			}
			return true
		})
		w.refused(events.ErrHole, "sequence 13 is missing")
		w.log.Heal()
		w.settle()
	})
}

func TestADamagedRecordIsNeverApplied(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.add(5)
		w.settle()
		w.kill(r)
		w.add(1)
		right := w.log.Copy(1_000)
		w.log.FlipBit(7)
		w.start()
		w.refused(events.ErrDamaged, "sequence 7")
		w.log.Restore(right)
		w.settle()
	})
}

func TestAPromotionIsFollowed(t *testing.T) {
	everyKind(t, func(w *world) {
		w.start()
		for range 3 {
			w.add(5)
			w.log.Promote()
		}
		w.add(5)
		w.settle()
		if n := w.logs.count("state=refused"); n != 0 {
			t.Errorf("refused %d times", n)
		}
	})
}

// A read model that was being built up to a place which a failover left behind must get live all the same.
func TestABuildWhoseTargetWasLostInAFailoverEnds(t *testing.T) {
	for name, promoteFirst := range map[string]bool{"before the projector starts": true, "while it builds": false} {
		t.Run(name, func(t *testing.T) {
			region(t, "accounts", func(w *world) {
				r := w.start()
				w.add(14)
				w.settle()
				w.kill(r)
				gen := w.live()
				target := w.oracle(1).position(20)
				for i := range gen.Partitions {
					w.store.EditHeader(gen, i, func(h *projections.Header) { h.State, h.Target = projections.Building, target })
				}
				if promoteFirst {
					w.log.Promote()
				}
				w.start()
				pass(3 * time.Second)
				if !promoteFirst {
					w.log.Promote()
				}
				w.add(10)
				w.settle()
			})
		})
	}
}

// another puts a projection of the same name and version, but with another definition, in the place of the world's.
func (w *world) another() {
	w.seenProj = func(projections.Projection) projections.Projection {
		p, err := projections.New(w.kind, w.version, projections.On(accountType, closed, remove[nothing]))
		if err != nil {
			w.t.Fatal(err)
		}
		return p
	}
}

func TestADefinitionThatChangedWithoutAVersionIsRefused(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.add(5)
		w.settle()
		w.kill(r)
		w.another()
		w.add(5)
		w.start()
		w.refused(projections.ErrDefinitionChanged, "accounts version 1 changed from", "nothing was applied", "Raise the version")
		if _, err := w.reader.Get(context.Background(), w.kind, "a1", query.Options{}); err != nil {
			t.Errorf("a query answers with %v", err)
		}
	})
}

func TestAPartitionThatWasFoldedWithAnotherDefinitionIsRefused(t *testing.T) {
	region(t, "accounts", func(w *world) {
		r := w.start()
		w.add(5)
		w.settle()
		w.kill(r)
		w.store.EditHeader(w.live(), 1, func(h *projections.Header) { h.Definition = "0123456789abcdef" })
		w.add(5)
		w.start()
		w.refused(projections.ErrDefinitionChanged, "partition 1 of accounts was folded with the definition 0123456789abcdef", "nothing was applied")
		w.rebuild()
		w.settle()
	})
}

func TestARecordThatTheReaderLeavesOutIsAHole(t *testing.T) {
	for name, bend := range map[string]func([]events.Record) []events.Record{
		"left out": func(list []events.Record) []events.Record {
			return slices.DeleteFunc(list, func(r events.Record) bool { return r.Sequence == 4 })
		},
		"twice": func(list []events.Record) []events.Record {
			if i := slices.IndexFunc(list, func(r events.Record) bool { return r.Sequence == 4 }); i >= 0 {
				list = slices.Insert(list, i, list[i])
			}
			return list
		},
	} {
		t.Run(name, func(t *testing.T) {
			region(t, "accounts", func(w *world) {
				inLog(func(b *bentLog) { b.batch = bend })(w)
				w.add(9)
				w.start()
				w.refused(events.ErrHole, "nothing was applied from there on")
			})
		})
	}
}

func TestALowerVersionIsRefused(t *testing.T) {
	region(t, "accounts", func(w *world) {
		w.version = 2
		r := w.start()
		w.add(5)
		w.settle()
		w.kill(r)
		w.version = 1
		w.add(5)
		w.start()
		w.refused(projections.ErrVersionLowered, "built by version 2, and this projector has version 1", "nothing was applied", "Deploy version 2")
	})
}

func TestAHigherVersionIsBuiltBesideTheOldOneAndThenLive(t *testing.T) {
	everyKind(t, func(w *world) {
		old := w.start()
		w.add(30)
		w.settle()
		w.kill(old)
		w.options.Batch = 1
		w.version = 2
		var states []projections.ProjectorState
		w.add(5)
		w.start()
		for range 2_000 {
			a, err := w.reader.Get(context.Background(), w.kind, "a1", query.Options{})
			if w.kind == "tags" {
				a, err = w.reader.Get(context.Background(), w.kind, "t1", query.Options{})
			}
			if err != nil {
				t.Fatalf("during the build a query answers with %v", err)
			}
			version := int(a.Generation) // generation 1 is of version 1, generation 2 of version 2
			seq, _ := w.oracle(version).seqOf(a.Position)
			if want, _ := w.oracle(version).get(a.Key, seq); want.differs(a.Changed, a.Parked, a.Document.Values) != "" {
				t.Fatalf("during the build: %s", want.differs(a.Changed, a.Parked, a.Document.Values))
			}
			if state := w.status().State; len(states) == 0 || states[len(states)-1] != state {
				states = append(states, state)
			}
			if a.Generation == 2 {
				break
			}
			pass(time.Millisecond)
		}
		w.settle()
		w.until("the old generation is dropped", func() bool { return len(w.pointer().Retired) == 0 })
		for _, h := range w.headers(projections.Generation{Projection: w.kind, Number: 1, Partitions: 3}) {
			if h.State != projections.Absent {
				t.Error("the old generation is still there")
			}
		}
		if last := w.status(); last.State != projections.ProjectorFollowing || last.Generation != 2 {
			t.Errorf("the status is %+v after %v", last, states)
		}
	})
}
