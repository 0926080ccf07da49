package parts

import (
	"slices"
	"testing"

	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/query"
)

// Which read models must be live for queries to be ready, as an installation goes on.
func TestQueriesAreReadyWithoutWhatIsBuiltForTheFirstTime(t *testing.T) {
	log := memlog.New("us", memlog.Options{})
	defer log.Close()
	def := func(name string) *projections.Definition {
		return &projections.Definition{Name: name, Version: 1, Fields: []projections.Field{{Name: "n", Kind: projections.KindInt}}, Handles: []projections.Handles{{EventType: "E"}}}
	}
	change := func(do func(catalog.Catalog) (catalog.Decision, error)) {
		t.Helper()
		if _, err := catalog.Change(t.Context(), log, nil, do); err != nil {
			t.Fatal(err)
		}
	}
	apply := func(name string) {
		change(func(c catalog.Catalog) (catalog.Decision, error) { return c.Apply(def(name), []byte(name)) })
	}
	models := map[string]*query.ModelStatus{}
	see := func(name, state string, generation uint32, projector projections.ProjectorState) {
		models[name] = &query.ModelStatus{Name: name, State: state, Generation: generation, Projector: projector}
	}
	e := newExpected(log, []projections.Projection{ofDefinition{def: def("own")}})
	wants := func(when string, want ...string) {
		t.Helper()
		var o query.Overview
		for _, m := range models {
			o.Projections = append(o.Projections, *m)
		}
		if got := e.Names(t.Context(), &o); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	wants("before there is a catalog", "own")
	apply("first")
	apply("second")
	wants("at the first look", "first", "own", "second")
	see("first", "live", 1, projections.ProjectorFollowing)
	apply("later")
	see("later", "building", 1, projections.ProjectorFollowing)
	wants("one is applied later and being built", "first", "own", "second")
	see("later", "live", 1, projections.ProjectorFollowing)
	wants("it is live", "first", "later", "own", "second")
	see("later", "building", 1, projections.ProjectorFollowing)
	wants("its store was emptied", "first", "later", "own", "second")
	see("second", "empty", 0, projections.ProjectorRefused)
	wants("one cannot be run here and was never built", "first", "later", "own")
	see("first", "empty", 1, projections.ProjectorRefused)
	wants("one refuses, that was live", "first", "later", "own")
	change(func(c catalog.Catalog) (catalog.Decision, error) { return c.Pause("later") })
	wants("one is paused", "first", "own")
	change(func(c catalog.Catalog) (catalog.Decision, error) { return c.Resume("later") })
	wants("and resumed", "first", "later", "own")
	change(func(c catalog.Catalog) (catalog.Decision, error) { return c.Remove("first") })
	delete(models, "first")
	wants("one is removed", "later", "own")
	log.Unreachable(-1)
	wants("the log does not answer", "later", "own")
}

// ofDefinition is a projection of which only the definition is asked.
type ofDefinition struct {
	projections.Projection
	def *projections.Definition
}

func (o ofDefinition) Definition() *projections.Definition { return o.def }
