package runner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/memstore"
	"tidemark.dev/projections/query"
)

func TestWhatIsRemovedIsDroppedAndUnknown(t *testing.T) {
	inPlace(t, func(p *place) {
		p.run(compiled(t, "own", 1))
		p.apply(file("counts", 1))
		p.add(20)
		p.equals(parse(t, file("counts", 1)))
		p.apply(file("counts", 2))
		p.equals(parse(t, file("counts", 2)))
		for _, key := range []string{projections.RepairKey("counts"), projections.PlanKey("counts"), projections.FindingsKey("counts")} { // what others keep about it goes too
			if _, err := p.kv.Put(context.Background(), key, []byte("{}"), 0); err != nil {
				t.Fatal(err)
			}
		}
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
