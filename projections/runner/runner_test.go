package runner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
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

func TestWhatIsRemovedIsDroppedAndUnknown(t *testing.T) {
	inPlace(t, func(p *place) {
		p.run(compiled(t, "own", 1))
		p.apply(file("counts", 1))
		p.add(20)
		p.equals(parse(t, file("counts", 1)))
		p.apply(file("counts", 2))
		p.equals(parse(t, file("counts", 2)))
		p.remove("counts")
		p.gone("counts", 2)
		p.add(5)
		p.equals(compiled(t, "own", 1)) // the others are not touched

		p.apply(file("counts", 2)) // and again
		p.equals(parse(t, file("counts", 2)))
		if g := p.pointer("counts").Generation; g != 3 {
			t.Errorf("after it was removed it is built as generation %d, whose number was used before", g)
		}
		p.remove("counts")
		p.gone("counts", 3)
		p.remove("own")
		p.gone("own", 1)
		p.resume("own")
		p.equals(compiled(t, "own", 1))
	})
}

// Whatever call the process ends at, the next one finishes dropping.
func TestARemovalThatIsInterruptedIsFinished(t *testing.T) {
	for reached, n := true, 1; reached; n++ {
		reached = false
		t.Run(fmt.Sprint("call ", n), func(t *testing.T) {
			inPlace(t, func(p *place) {
				stop := p.run()
				p.apply(file("counts", 1))
				p.add(10)
				p.equals(parse(t, file("counts", 1)))
				var calls atomic.Int64
				watch := func(c memstore.Call) {
					about := c.Generation.Projection == "counts" || strings.HasSuffix(c.Key, ".counts")
					if about && p.logged.count("it is removed") > 0 && calls.Add(1) == int64(n) {
						reached = true
						p.cancel()
					}
				}
				p.kv.Observe(watch)
				p.store.Observe(watch)
				p.remove("counts")
				<-time.After(10 * time.Second)
				stop()
				p.kv.Observe(nil)
				p.store.Observe(nil)
				p.run()
				p.gone("counts", 1)
			})
		})
		if n == 1 && !reached || n > 100 {
			t.Fatalf("there are %d calls, so this tests nothing", n)
		}
	}
}

// It is removed while a new version is being built, and while the store does not answer.
func TestARemovalTakesWithItWhatIsBeingBuilt(t *testing.T) {
	inPlace(t, func(p *place) {
		p.run()
		p.apply(file("counts", 1))
		p.add(20)
		p.equals(parse(t, file("counts", 1)))
		p.store.Fail(memstore.Fault{Op: memstore.OpCommit, Match: func(c memstore.Call) bool { return c.Generation.Number == 2 }})
		p.store.Fail(memstore.Fault{Op: memstore.OpDrop})
		p.apply(file("counts", 2))
		<-time.After(2 * time.Second)
		p.remove("counts")
		<-time.After(time.Minute)
		if _, err := p.reader.Get(context.Background(), "counts", "k1", query.Options{}); !errors.Is(err, projections.ErrUnknownProjection) {
			t.Errorf("while the store does not drop anything a query is answered %v", err)
		}
		if m, there := p.model("counts"); there {
			t.Errorf("while the store does not drop anything the overview has %+v", m)
		}
		p.store.Disarm()
		p.gone("counts", 2)
	})
}

// A region that was cut off while a projection was removed and applied again builds what all others build.
func TestARegionThatMissedARemovalComesToTheSame(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprint("version ", version, " is applied"), func(t *testing.T) {
			inPlace(t, func(p *place) {
				stop := p.run()
				p.apply(file("counts", 1))
				p.add(10)
				p.equals(parse(t, file("counts", 1)))
				stop()
				p.remove("counts")
				p.apply(file("counts", version))
				p.add(10)
				p.run()
				p.equals(parse(t, file("counts", version)))
			})
		})
	}
}

func TestADefinitionThatThisReleaseCannotReadIsShownAndTheOthersRun(t *testing.T) {
	for name, text := range map[string]struct {
		text string
		code events.Code
	}{
		"an unknown key":    {file("counts", 2) + "colour: red\n", projections.ErrInvalidProjection},
		"another meaning":   {strings.Replace(file("counts", 2), "n: int", "n: int, m: int", 1), projections.ErrDefinitionChanged},
		"another name":      {file("other", 2), projections.ErrDefinitionChanged},
		"no record of that": {"", catalog.ErrUnreadable},
	} {
		t.Run(name, func(t *testing.T) {
			inPlace(t, func(p *place) {
				p.run(compiled(t, "own", 1))
				p.apply(file("good", 1))
				p.until("it is followed", func() bool { return p.pointer("good").Generation == 1 })
				p.foreign("counts", 2, text.text)
				m := p.says("counts", projections.ProjectorRefused, text.code)
				if m.State != "empty" || m.Generation != 0 || !strings.Contains(m.Message, "counts") {
					t.Errorf("it is %+v", m)
				}
				if _, err := p.reader.Get(context.Background(), "counts", "k1", query.Options{}); !errors.Is(err, projections.ErrUnknownProjection) {
					t.Errorf("a query is answered %v", err)
				}
				p.add(10)
				p.equals(parse(t, file("good", 1)))
				p.equals(compiled(t, "own", 1))
				p.apply(file("counts", 3))
				p.equals(parse(t, file("counts", 3)))
				p.says("counts", projections.ProjectorFollowing, "")
			})
		})
	}
}

// foreign writes a catalog with one more projection, as another release may have: its text is not what the fingerprint says.
func (p *place) foreign(name string, version int, text string) {
	p.t.Helper()
	def := parse(p.t, file(name, version)).Definition()
	if text == "" {
		done := p.change(func(c catalog.Catalog) (catalog.Decision, error) { return c.Apply(def, []byte(file(name, version))) })
		c := done.Catalog
		e, _ := c.Find(name)
		entry := fmt.Sprintf(`{"format":1,"change":"x","projections":[{"name":%q,"version":%d,"fingerprint":%q,"kind":"file","state":"active","definition":1}]}`, name, version, e.Fingerprint)
		b := events.Batch{Controls: []events.ControlWrite{{Control: events.Control{Name: catalog.Control, Data: []byte(entry)}}}}
		p.until("it is followed", func() bool { return p.pointer(name).Generation != 0 })
		p.remove(name)
		p.gone(name, 1)
		if _, err := p.log.Append(context.Background(), b); err != nil {
			p.t.Fatal(err)
		}
		return
	}
	p.change(func(c catalog.Catalog) (catalog.Decision, error) { return c.Apply(def, []byte(text)) })
}

func TestAProjectionThatThisProgramDoesNotHaveIsShown(t *testing.T) {
	inPlace(t, func(p *place) {
		other := p.run(compiled(t, "elsewhere", 1))
		p.until("it has begun", func() bool { return p.pointer("elsewhere").Generation == 1 })
		other()
		stop := p.run(compiled(t, "own", 1)) // another build
		m := p.says("elsewhere", projections.ProjectorRefused, catalog.ErrNotInBuild)
		if !strings.Contains(m.Message, "tidemark projection remove elsewhere") {
			t.Errorf("it says %s", m.Message)
		}
		// A process that has it gets the lease, although the one that has not is there too, and speaks for it.
		p.run(compiled(t, "elsewhere", 1), compiled(t, "own", 1))
		p.add(10)
		p.equals(compiled(t, "elsewhere", 1))
		p.equals(compiled(t, "own", 1))
		<-time.After(time.Minute)
		if m, _ := p.model("elsewhere"); m.Projector != projections.ProjectorFollowing {
			t.Errorf("a minute later it is %+v", m)
		}
		stop()
		p.add(10)
		p.equals(compiled(t, "own", 1))
	})
}

func TestABuildWithAnotherDefinitionOfAVersionIsRefused(t *testing.T) {
	inPlace(t, func(p *place) {
		stop := p.run(compiled(t, "own", 1))
		p.add(10)
		p.equals(compiled(t, "own", 1))
		stop()
		type other struct{ M int64 }
		changed, err := projections.New("own", 1, projections.On("x", "E", func(d other, _ projections.Event[struct{}]) (other, error) { return d, nil }))
		if err != nil {
			t.Fatal(err)
		}
		stop = p.run(changed)
		m := p.says("own", projections.ProjectorRefused, projections.ErrDefinitionChanged)
		if m.State != "live" {
			t.Errorf("it is %+v", m)
		}
		if _, err := p.reader.Get(context.Background(), "own", "k1", query.Options{}); err != nil {
			t.Errorf("what was there is answered %v", err)
		}
		stop()
		stop = p.run(compiled(t, "own", 2))
		p.add(1)
		p.equals(compiled(t, "own", 2))
		if c, err := catalog.Read(context.Background(), p.log); err != nil || c.Entries[0].Version != 2 {
			t.Errorf("the catalog is %+v, %v", c, err)
		}
		stop()
	})
}

// While a new build is deployed region by region, a region with the old one goes on with its version.
func TestAnOlderBuildGoesOnUntilItIsReplaced(t *testing.T) {
	inPlace(t, func(p *place) {
		p.run(compiled(t, "own", 1))
		p.add(10)
		p.equals(compiled(t, "own", 1))
		p.change(func(c catalog.Catalog) (catalog.Decision, error) { // another region's build
			return c.Register([]*projections.Definition{compiled(t, "own", 2).Definition()})
		})
		p.until("it is noticed", func() bool { return p.logged.count("the catalog has version 2") == 1 })
		p.add(10)
		p.equals(compiled(t, "own", 1))
		l, err := p.reader.Catalog(context.Background())
		if err != nil || l.Projections[0].Version != 2 || l.Projections[0].Here == nil || l.Projections[0].Here.Version != 1 {
			t.Errorf("the list is %+v, %v", l, err)
		}
		<-time.After(time.Minute)
		if n := p.logged.count("the catalog has version 2"); n != 1 {
			t.Errorf("it was said %d times", n)
		}
	})
}

func TestAFilesProjectionTakesAName(t *testing.T) {
	inPlace(t, func(p *place) {
		p.apply(file("own", 1))
		p.run(compiled(t, "own", 9), compiled(t, "free", 1))
		p.add(10)
		p.equals(parse(t, file("own", 1)))
		p.equals(compiled(t, "free", 1))
		p.until("it is said", func() bool { return p.logged.count("from a file; the one of this program is not run") == 1 })
		p.remove("own") // now the name is free
		p.equals(compiled(t, "own", 9))
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
