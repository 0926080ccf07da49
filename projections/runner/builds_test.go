package runner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/query"
)

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
