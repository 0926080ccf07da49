package runner_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/runner"
)

func TestTheProjectionsOfAProgramAreEnteredByOneAppendAndRun(t *testing.T) {
	inPlace(t, func(p *place) {
		a, b := compiled(t, "airports", 1), compiled(t, "routes", 1)
		stop := p.run(a, b)
		p.until("both have begun", func() bool { return p.pointer("airports").Generation == 1 && p.pointer("routes").Generation == 1 })
		c, err := catalog.Read(context.Background(), p.log)
		if err != nil || c.Sequence != 2 || len(c.Entries) != 2 || c.Entries[0].Kind != catalog.Go {
			t.Errorf("the catalog is %+v, %v", c, err)
		}
		p.add(20)
		p.equals(a)
		p.equals(b)
		stop()
		defer p.run(a, b)() // entered already
		p.add(1)
		p.equals(a)
		if c, err = catalog.Read(context.Background(), p.log); err != nil || c.Sequence != 2 {
			t.Errorf("the catalog is at %d, %v", c.Sequence, err)
		}
	})
}

func TestWhatIsAppliedIsBuiltAtOnceAndFollowed(t *testing.T) {
	inPlace(t, func(p *place) {
		p.run(compiled(t, "own", 1))
		p.add(30)
		p.equals(compiled(t, "own", 1))
		began := time.Now()
		p.apply(file("counts", 1))
		p.equals(parse(t, file("counts", 1)))
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("it took %s: the record was not noticed when it was read", took)
		}
		p.add(10)
		p.equals(parse(t, file("counts", 1)))
		if n := p.logged.count("what is done about a projection changed"); n != 2 {
			t.Errorf("%d changes were logged:\n%s", n, p.logged)
		}
	})
}

func TestAPausedProjectionAnswersFromWhereItStandsAndGoesOn(t *testing.T) {
	inPlace(t, func(p *place) {
		stop := p.run()
		p.apply(file("counts", 1))
		p.add(10)
		p.equals(parse(t, file("counts", 1)))
		p.pause("counts")
		m := p.says("counts", projections.ProjectorPaused, "")
		stood := m.Position
		p.add(25)
		for _, restarted := range []bool{false, true} {
			if restarted {
				stop()
				stop = p.run()
			}
			<-time.After(time.Minute)
			if m, _ = p.model("counts"); m.Projector != projections.ProjectorPaused || m.State != "live" || !m.Position.Equal(stood) || m.Lag == nil || m.Lag.Events < 25 {
				t.Errorf("restarted %t: a minute later it is %+v, and stood at %s", restarted, m, stood)
			}
			if a, err := p.reader.Get(context.Background(), "counts", "k1", query.Options{}); err != nil || !a.Position.Equal(stood) || a.Lag == nil || a.Lag.Events < 25 {
				t.Errorf("restarted %t: the answer is %+v, %v", restarted, a, err)
			}
		}
		p.resume("counts")
		p.equals(parse(t, file("counts", 1)))
		p.says("counts", projections.ProjectorFollowing, "")
		if g := p.pointer("counts").Generation; g != 1 {
			t.Errorf("it is generation %d", g)
		}
		stop()
	})
}

// A new version is built beside the old one, which goes on following meanwhile: reads are never behind by more than usual, and never find nothing.
func TestTheVersionBeforeIsFollowedWhileTheNewOneIsBuilt(t *testing.T) {
	inPlace(t, func(p *place) {
		p.run()
		p.apply(file("counts", 1))
		p.add(40)
		p.equals(parse(t, file("counts", 1)))
		held := make(chan struct{})
		p.store.Observe(func(c memstore.Call) {
			if c.Op == memstore.OpApply && c.Generation.Number == 2 {
				<-held // the new one does not get on
			}
		})
		p.apply(file("counts", 2))
		p.until("the new version is being built", func() bool {
			job, _, err := projections.ReadJSON[projections.Replay](context.Background(), p.kv, projections.ReplayKey("counts"))
			return err == nil && job.State == projections.ReplayBuilding
		})
		for range 50 {
			at := p.add(1)
			a, err := p.reader.Get(context.Background(), "counts", "k1", query.Options{AtLeast: at})
			if v, _ := a.Document.Field("n"); err != nil || a.Generation != 1 || v == "" {
				t.Fatalf("while version 2 is built the answer is %+v, %v", a, err)
			}
		}
		if m, _ := p.model("counts"); m.Projector != projections.ProjectorFollowing || m.Version != 1 || m.Lag == nil || m.Lag.Events != 0 {
			t.Errorf("meanwhile it is %+v", m)
		}
		p.store.Observe(nil)
		close(held)
		seen := map[uint32]bool{}
		for range 2_000 {
			at := p.add(1)
			a, err := p.reader.Get(context.Background(), "counts", fmt.Sprint("k", p.stored%7), query.Options{AtLeast: at})
			if err != nil {
				t.Fatalf("during the switch: %v", err)
			}
			if seen[a.Generation] = true; len(seen) == 2 {
				break
			}
			<-time.After(time.Millisecond)
		}
		p.equals(parse(t, file("counts", 2)))
		p.until("the old generation is dropped", func() bool { return len(p.pointer("counts").Retired) == 0 })
	})
}

// The process ends in the middle of building a new version: the next one goes on with both.
func TestARestartGoesOnBuildingAndFollowsTheVersionBefore(t *testing.T) {
	inPlace(t, func(p *place) {
		stop := p.run()
		p.apply(file("counts", 1))
		p.add(40)
		p.equals(parse(t, file("counts", 1)))
		p.store.Fail(memstore.Fault{Op: memstore.OpCommit, Match: func(c memstore.Call) bool { return c.Generation.Number == 2 }})
		p.apply(file("counts", 2))
		<-time.After(2 * time.Second)
		stop()
		p.add(10)
		stop = p.run()
		at := p.add(3)
		if a, err := p.reader.Get(context.Background(), "counts", "k1", query.Options{AtLeast: at, Wait: 30 * time.Second}); err != nil || a.Generation != 1 {
			t.Errorf("after the restart version 1 answers %+v, %v", a, err)
		}
		p.store.Disarm()
		p.equals(parse(t, file("counts", 2)))
		stop()
	})
}

// Version 2 cannot be built: version 1 goes on, the reason is shown, it is tried again after a while, and version 3 mends it.
func TestAVersionThatCannotBeBuiltLeavesTheOneBeforeAlone(t *testing.T) {
	inPlace(t, func(p *place) {
		p.run()
		p.apply(file("counts", 1))
		p.add(10)
		p.equals(parse(t, file("counts", 1)))
		broken := events.Errorf(projections.ErrWrongType, "a key holds something else")
		p.store.Fail(memstore.Fault{Op: memstore.OpCreate, Err: broken, Match: func(c memstore.Call) bool { return c.Generation.Number > 1 }})
		p.apply(file("counts", 2))
		p.until("it failed", func() bool {
			m, _ := p.model("counts")
			return m.Replay != nil && m.Replay.State == projections.ReplayFailed && m.Replay.Code == string(projections.ErrWrongType)
		})
		for range 5 {
			at := p.add(1)
			if a, err := p.reader.Get(context.Background(), "counts", "k1", query.Options{AtLeast: at}); err != nil || a.Generation != 1 {
				t.Errorf("version 1 answers %+v, %v", a, err)
			}
			<-time.After(20 * time.Second)
		}
		if tried := p.pointer("counts").Highest; tried < 3 || tried > 6 {
			t.Errorf("in a hundred seconds it was tried %d times", tried-1)
		}
		p.store.Disarm()
		p.equals(parse(t, file("counts", 2)))
	})
}

// leaderless is the log of a region that is cut off: its copy is there, the leader is not.
type leaderless struct {
	events.Reader
	events.Appender
}

// A region that is cut off goes on with what its copy says, and with what is compiled in, entered or not.
func TestARegionThatIsCutOffRunsWhatIsCompiledIn(t *testing.T) {
	inPlace(t, func(p *place) {
		leader := memlog.New("us", memlog.Options{})
		defer leader.Close()
		leader.Unreachable(-1)
		p.apply(file("counts", 1))
		p.runOn(leaderless{p.log, leader}, compiled(t, "own", 1))
		p.add(10)
		p.equals(compiled(t, "own", 1))
		p.equals(parse(t, file("counts", 1)))
		p.until("it is said", func() bool { return p.logged.count("cannot be entered in the catalog yet") == 1 })
		<-time.After(time.Minute)
		if n := p.logged.count("cannot be entered in the catalog yet"); n != 1 {
			t.Errorf("it was said %d times", n)
		}
	})
}

func TestALogThatDoesNotAnswerIsWaitedForAndWhatRunsGoesOn(t *testing.T) {
	inPlace(t, func(p *place) {
		p.log.Unreachable(-1)
		p.run(compiled(t, "own", 1))
		<-time.After(time.Minute)
		p.log.Unreachable(0)
		p.add(5)
		p.equals(compiled(t, "own", 1))
		p.apply(file("counts", 1))
		p.equals(parse(t, file("counts", 1)))
		p.log.Unreachable(-1)
		<-time.After(5 * time.Minute)
		p.log.Unreachable(0)
		p.apply(file("counts", 2))
		p.equals(parse(t, file("counts", 2)))
		if n := p.logged.count("cannot be followed; what runs goes on"); n == 0 || n > 6 {
			t.Errorf("it was said %d times:\n%s", n, p.logged)
		}
	})
}

func TestACatalogThatCannotBeReadLeavesAllThatRunsAlone(t *testing.T) {
	inPlace(t, func(p *place) {
		p.run(compiled(t, "own", 1))
		p.apply(file("counts", 1))
		p.equals(parse(t, file("counts", 1)))
		b := events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: catalog.Control, Data: []byte(`{"format":2}`)}}}}
		if _, err := p.log.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		p.until("it is said", func() bool { return p.logged.count("catalog-unreadable") > 0 })
		p.add(10)
		p.equals(parse(t, file("counts", 1)))
		p.equals(compiled(t, "own", 1))
	})
}

// Two processes of one region: the second one takes over, what was changed meanwhile included.
func TestASecondProcessTakesOver(t *testing.T) {
	inPlace(t, func(p *place) {
		own := compiled(t, "own", 1)
		first := p.run(own)
		p.apply(file("counts", 1))
		p.add(10)
		p.equals(parse(t, file("counts", 1)))
		second := p.run(own)
		p.pause("counts")
		p.says("counts", projections.ProjectorPaused, "")
		p.apply(file("more", 1))
		p.add(10)
		p.equals(parse(t, file("more", 1)))
		first()
		p.resume("counts")
		p.add(10)
		for _, text := range []string{file("counts", 1), file("more", 1)} {
			p.equals(parse(t, text))
		}
		p.remove("counts")
		p.gone("counts", 1)
		second()
	})
}

func TestTwoOwnProjectionsOfOneNameAreRefused(t *testing.T) {
	log := memlog.New("us", memlog.Options{})
	defer log.Close()
	p := newPlace(t, log)
	own := []projections.Projection{compiled(t, "own", 1), compiled(t, "own", 2)}
	if _, err := runner.New(own, log, p.store, p.kv, p.leases, runner.Options{}); !errors.Is(err, projections.ErrInvalidProjection) {
		t.Errorf("got %v", err)
	}
}
