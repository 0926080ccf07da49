package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
)

// mirrored is a region's log: its own copy to read, and the leader's to write.
type mirrored struct {
	events.Reader
	events.Appender
}

func TestTwoWritersAtOnceBothSucceed(t *testing.T) {
	log := memlog.New("us", memlog.Options{})
	defer log.Close()
	const writers = 12
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			if done, err := catalog.Change(t.Context(), log, nil, apply(fmt.Sprintf("p%d", i), 1, "x")); err != nil || done.Verdict != catalog.New {
				t.Errorf("writer %d came to %+v, %v", i, done.Decision, err)
			}
		})
	}
	all.Wait()
	now, err := catalog.Read(t.Context(), log)
	if err != nil || len(now.Entries) != writers {
		t.Fatalf("the catalog has %s, %v", list(now), err)
	}
	for _, e := range now.Entries {
		definitionsAreThere(t, log, e)
	}
}

// Two people apply another file under the same version: one of them is told that the definition changed, and what is in the log is the other's.
func TestOfTwoDefinitionsOfOneVersionOneIsRefused(t *testing.T) {
	for range 20 {
		log := memlog.New("us", memlog.Options{})
		var all sync.WaitGroup
		verdicts := make([]error, 2)
		for i := range verdicts {
			all.Go(func() {
				_, verdicts[i] = catalog.Change(t.Context(), log, nil, apply("a", 1, fmt.Sprint("meaning ", i)))
			})
		}
		all.Wait()
		now, err := catalog.Read(t.Context(), log)
		if err != nil {
			t.Fatal(err)
		}
		for i, err := range verdicts {
			if (err == nil) != (now.Entries[0].Fingerprint == def("a", 1, fmt.Sprint("meaning ", i)).Fingerprint()) || err != nil && !errors.Is(err, projections.ErrDefinitionChanged) {
				t.Errorf("writer %d was told %v, and the catalog has %+v", i, err, now.Entries)
			}
		}
		log.Close()
	}
}

func TestProgramsThatStartTogetherEnterTheirProjectionsOnce(t *testing.T) {
	log := memlog.New("us", memlog.Options{})
	defer log.Close()
	var all sync.WaitGroup
	for range 9 {
		all.Go(func() {
			if _, err := catalog.Change(t.Context(), log, nil, register(def("airports", 1, ""), def("routes", 1, ""))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if now, err := catalog.Read(t.Context(), log); err != nil || now.Sequence != 2 || headOf(t, log) != 2 || list(now) != "airports go 1 active, routes go 1 active" {
		t.Errorf("the catalog at %d of %d is %s, %v", now.Sequence, headOf(t, log), list(now), err)
	}
}

// The answer is lost although the records are stored: what is in the log is found, and is not written again.
func TestAnAppendInDoubtIsFoundInTheCatalog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, lost := range []int{1, memlog.Attempts, 2 * memlog.Attempts} {
			log := memlog.New("us", memlog.Options{})
			log.LoseReplies(lost)
			done, err := catalog.Change(t.Context(), log, nil, apply("a", 1, "x"))
			if err != nil || done.Verdict != catalog.New || done.After.Definition != 2 || headOf(t, log) != 3 {
				t.Errorf("with %d answers lost it came to %+v, %v, and the log ends at %d", lost, done, err, headOf(t, log))
			}
			log.Close()
		}
	})
}

// The answer is lost, and somebody else changes the catalog before it is read again: that ours is in it still shows.
func TestAnAppendInDoubtIsFoundBelowAnothersChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New("us", memlog.Options{})
		defer log.Close()
		if _, err := catalog.Change(t.Context(), log, nil, apply("a", 1, "x")); err != nil {
			t.Fatal(err)
		}
		log.LoseReplies(memlog.Attempts)
		other := make(chan error, 1)
		go func() {
			for { // until ours is stored
				if now, err := catalog.Read(t.Context(), log); err != nil || now.Entries[0].State == catalog.Paused {
					break
				}
				time.Sleep(time.Millisecond)
			}
			_, err := catalog.Change(context.Background(), log, nil, apply("b", 1, "x"))
			other <- err
		}()
		done, err := catalog.Change(t.Context(), log, nil, pause("a"))
		if err != nil || done.After.State != catalog.Paused || done.Catalog.Sequence != 6 {
			t.Errorf("it came to %+v, %v", done, err)
		}
		if err := <-other; err != nil {
			t.Error(err)
		}
		if now, err := catalog.Read(t.Context(), log); err != nil || list(now) != "a file 1 paused, b file 1 active" {
			t.Errorf("the catalog is %s, %v", list(now), err)
		}
	})
}

// In a region that mirrors the log the answer is lost, and the copy does not show the record yet: it is not written twice.
func TestAnAppendInDoubtIsFoundByARegionBehindTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := memlog.New("us", memlog.Options{})
		defer leader.Close()
		behind := leader.Copy(1)
		defer behind.Close()
		leader.LoseReplies(memlog.Attempts)
		go func() {
			time.Sleep(10 * time.Second)
			behind.Restore(leader)
		}()
		done, err := catalog.Change(t.Context(), mirrored{behind, leader}, nil, apply("a", 1, "x"))
		if err != nil || done.Verdict != catalog.New || done.After.Definition != 2 || headOf(t, leader) != 3 {
			t.Errorf("it came to %+v, %v, and the log ends at %d", done, err, headOf(t, leader))
		}
	})
}

func TestWhatStaysInDoubtIsSaidToBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New("us", memlog.Options{})
		defer log.Close()
		log.LoseReplies(memlog.Attempts) // it is stored
		reader := &failing{Reader: log, after: 1}
		_, err := catalog.Change(t.Context(), mirrored{reader, log}, nil, apply("a", 1, "x"))
		if !errors.Is(err, events.ErrUnknownOutcome) || !strings.Contains(err.Error(), "Do the same again") {
			t.Errorf("it came to %v", err)
		}
		done, err := catalog.Change(t.Context(), log, nil, apply("a", 1, "x"))
		if err != nil || done.Verdict != catalog.Unchanged {
			t.Errorf("the same again came to %+v, %v", done.Decision, err)
		}
	})
}

// failing is a reader that does not answer after a few questions for the catalog.
type failing struct {
	events.Reader
	after int
}

func (f *failing) LastControl(ctx context.Context, name string) (events.Record, error) {
	if name == catalog.Control {
		if f.after--; f.after < 0 {
			return events.Record{}, events.Errorf(events.ErrUnreachable, "it does not answer")
		}
	}
	return f.Reader.LastControl(ctx, name)
}

func TestALogThatDoesNotAnswerChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New("us", memlog.Options{})
		defer log.Close()
		log.Unreachable(-1)
		if _, err := catalog.Change(t.Context(), log, nil, apply("a", 1, "x")); !errors.Is(err, events.ErrUnreachable) {
			t.Errorf("it came to %v", err)
		}
		log.Unreachable(0)
		if head := headOf(t, log); head != 1 {
			t.Errorf("the log ends at %d", head)
		}
	})
}

// In a region that mirrors the log, a conflict is with what its copy does not hold yet: it is waited for, and decided upon.
func TestARegionBehindTheLeaderDecidesOnWhatTheLeaderHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := memlog.New("us", memlog.Options{})
		defer leader.Close()
		if _, err := catalog.Change(t.Context(), leader, nil, apply("a", 1, "x")); err != nil {
			t.Fatal(err)
		}
		behind := leader.Copy(1)
		defer behind.Close()
		go func() {
			time.Sleep(5 * time.Second) // the link is slow
			behind.Restore(leader)
		}()
		here := mirrored{behind, leader}
		began := time.Now()
		done, err := catalog.Change(t.Context(), here, nil, apply("a", 2, "y"))
		if err != nil || done.Verdict != catalog.NewVersion || done.Before.Version != 1 || time.Since(began) < 5*time.Second {
			t.Errorf("after %s it came to %+v, %v", time.Since(began), done.Decision, err)
		}
	})
}

// heads tells the leader's head.
type heads struct{ leader events.Reader }

func (h heads) Floors(ctx context.Context) ([]events.Floor, error) {
	info, err := h.leader.Info(ctx)
	return []events.Floor{{Region: "ap", Sequence: 1}, {Region: "us", Sequence: info.Last, Connected: true}}, err
}

// That a region's copy says there is nothing to do is no reason to believe it: somebody may have changed it elsewhere a moment ago.
func TestNothingToDoIsSaidOfTheLeadersCatalog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := memlog.New("us", memlog.Options{})
		defer leader.Close()
		for _, do := range []operation{apply("a", 1, "x"), pause("a")} {
			if _, err := catalog.Change(t.Context(), leader, nil, do); err != nil {
				t.Fatal(err)
			}
		}
		behind := leader.Copy(headOf(t, leader))
		defer behind.Close()
		if _, err := catalog.Change(t.Context(), leader, nil, resume("a")); err != nil {
			t.Fatal(err)
		}
		here := mirrored{behind, leader}
		if done, err := catalog.Change(t.Context(), here, nil, pause("a")); err != nil || done.Verdict != catalog.Unchanged {
			t.Errorf("of the copy alone: %s, %v", done.Verdict, err)
		}
		go func() {
			time.Sleep(time.Second)
			behind.Restore(leader)
		}()
		if done, err := catalog.Change(t.Context(), here, heads{leader}, pause("a")); err != nil || done.Verdict != catalog.PausedNow {
			t.Errorf("it came to %s, %v", done.Verdict, err)
		}
		behind.Restore(leader)
		if done, err := catalog.Change(t.Context(), here, heads{leader}, pause("a")); err != nil || done.Verdict != catalog.Unchanged {
			t.Errorf("again it came to %s, %v", done.Verdict, err)
		}
		leader.Unreachable(-1)
		if _, err := catalog.Change(t.Context(), here, heads{leader}, pause("a")); !errors.Is(err, events.ErrUnreachable) {
			t.Errorf("without the leader it came to %v", err)
		}
		if _, err := catalog.Change(t.Context(), here, heads{leader}, apply("a", 1, "y")); !errors.Is(err, projections.ErrDefinitionChanged) {
			t.Errorf("what can never be came to %v", err)
		}
	})
}

func TestACatalogThatCannotBeReadIsNotWrittenOver(t *testing.T) {
	for name, data := range map[string]string{
		"no JSON": `{`, "another format": `{"format":2,"projections":[]}`, "no name": `{"format":1,"projections":[{"name":"A B","version":1}]}`,
		"no version": `{"format":1,"projections":[{"name":"a","kind":"file","state":"active"}]}`,
		"twice":      `{"format":1,"projections":[{"name":"a","version":1},{"name":"a","version":1}]}`,
		"disorder":   `{"format":1,"projections":[{"name":"b","version":1},{"name":"a","version":1}]}`,
		"the future": `{"format":1,"projections":[{"name":"a","version":1,"kind":"file","state":"active","definition":9}]}`,
	} {
		log := logWith(t, data)
		if _, err := catalog.Read(t.Context(), log); !errors.Is(err, catalog.ErrUnreadable) {
			t.Errorf("%s is read: %v", name, err)
		}
		if _, err := catalog.Change(t.Context(), log, nil, apply("a", 1, "x")); !errors.Is(err, catalog.ErrUnreadable) || headOf(t, log) != 2 {
			t.Errorf("%s is written over: %v", name, err)
		}
	}
}

// A newer release may have added something. It can be read over, but must not be lost.
func TestWhatANewerReleaseAddedIsReadAndNotWrittenOver(t *testing.T) {
	for name, data := range map[string]string{
		"a member": `{"format":1,"projections":[{"name":"a","version":1,"fingerprint":"f","kind":"file","state":"active","colour":"red"}]}`,
		"a kind":   `{"format":1,"projections":[{"name":"a","version":1,"fingerprint":"f","kind":"wasm","state":"active"}]}`,
		"a state":  `{"format":1,"projections":[{"name":"a","version":1,"fingerprint":"f","kind":"file","state":"frozen"}]}`,
	} {
		log := logWith(t, data)
		c, err := catalog.Read(t.Context(), log)
		if err != nil || len(c.Entries) != 1 {
			t.Errorf("with %s it is read as %+v, %v", name, c, err)
		}
		for _, do := range []operation{pause("a"), apply("b", 1, "x"), register(def("g", 1, ""))} {
			if _, err := catalog.Change(t.Context(), log, nil, do); !errors.Is(err, catalog.ErrUnreadable) || headOf(t, log) != 2 {
				t.Errorf("%s is written over: %v", name, err)
			}
		}
	}
}

func logWith(t *testing.T, data string) *memlog.Log {
	t.Helper()
	log := memlog.New("us", memlog.Options{})
	t.Cleanup(log.Close)
	b := events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: catalog.Control, Data: []byte(data)}}}}
	if _, err := log.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return log
}

func TestAnotherRecordIsNotTakenForADefinition(t *testing.T) {
	log := memlog.New("us", memlog.Options{})
	defer log.Close()
	if _, err := catalog.Change(t.Context(), log, nil, apply("a", 1, "x")); err != nil {
		t.Fatal(err)
	}
	for seq, code := range map[uint64]error{1: catalog.ErrUnreadable, 3: catalog.ErrUnreadable, 4: events.ErrNotFound} {
		if _, err := catalog.Text(t.Context(), log, "a", seq); !errors.Is(err, code) {
			t.Errorf("the record %d: %v", seq, err)
		}
	}
	if _, err := catalog.Text(t.Context(), log, "b", 2); !errors.Is(err, catalog.ErrUnreadable) {
		t.Errorf("the definition of another: %v", err)
	}
}
