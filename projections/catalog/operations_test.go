package catalog_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/events/memlog"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
)

// def returns a definition; another meaning is another fingerprint.
func def(name string, version int, meaning string) *projections.Definition {
	return &projections.Definition{
		Name: name, Version: version, Fields: []projections.Field{{Name: "n", Kind: projections.KindInt}},
		Handles: []projections.Handles{{EventType: "E"}}, Meaning: meaning,
	}
}

// operation is what a test does to a catalog.
type operation func(catalog.Catalog) (catalog.Decision, error)

func apply(name string, version int, meaning string) operation {
	return func(c catalog.Catalog) (catalog.Decision, error) {
		return c.Apply(def(name, version, meaning), []byte(name+" "+meaning))
	}
}

func pause(name string) operation {
	return func(c catalog.Catalog) (catalog.Decision, error) { return c.Pause(name) }
}

func resume(name string) operation {
	return func(c catalog.Catalog) (catalog.Decision, error) { return c.Resume(name) }
}

func remove(name string) operation {
	return func(c catalog.Catalog) (catalog.Decision, error) { return c.Remove(name) }
}

func register(defs ...*projections.Definition) operation {
	return func(c catalog.Catalog) (catalog.Decision, error) { return c.Register(defs) }
}

// step is an operation, and what it must come to: a verdict, or the code of an error.
type step struct {
	do   operation
	want string
}

func TestWhatCanBeDoneWithAProjection(t *testing.T) {
	for name, c := range map[string]struct {
		steps []step
		state string // of every entry at the end
	}{
		"a file is applied, and again": {[]step{{apply("a", 1, "x"), "new"}, {apply("a", 1, "x"), "unchanged"}}, "a file 1 active"},
		"a new version": {
			[]step{{apply("a", 1, "x"), "new"}, {apply("a", 2, "y"), "new-version"}, {apply("a", 7, "y"), "new-version"}}, "a file 7 active <2 <1",
		},
		"a change without a new version":    {[]step{{apply("a", 2, "x"), "new"}, {apply("a", 2, "y"), "definition-changed"}}, "a file 2 active"},
		"a lower version":                   {[]step{{apply("a", 2, "x"), "new"}, {apply("a", 1, "x"), "version-lowered"}}, "a file 2 active"},
		"only the last versions are kept":   {[]step{{apply("a", 1, "x"), "new"}, {apply("a", 2, "x"), "new-version"}, {apply("a", 3, "x"), "new-version"}, {apply("a", 4, "x"), "new-version"}, {apply("a", 5, "x"), "new-version"}, {apply("a", 6, "x"), "new-version"}}, "a file 6 active <5 <4 <3 <2"},
		"two of them stand by name":         {[]step{{apply("b", 1, "x"), "new"}, {apply("a", 1, "x"), "new"}}, "a file 1 active, b file 1 active"},
		"paused, twice":                     {[]step{{apply("a", 1, "x"), "new"}, {pause("a"), "paused"}, {pause("a"), "unchanged"}}, "a file 1 paused"},
		"resumed, twice":                    {[]step{{apply("a", 1, "x"), "new"}, {pause("a"), "paused"}, {resume("a"), "resumed"}, {resume("a"), "unchanged"}}, "a file 1 active"},
		"a paused one gets a new version":   {[]step{{apply("a", 1, "x"), "new"}, {pause("a"), "paused"}, {apply("a", 2, "x"), "new-version"}}, "a file 2 paused <1"},
		"removed, twice":                    {[]step{{apply("a", 1, "x"), "new"}, {remove("a"), "removed"}, {remove("a"), "unchanged"}}, "a file 1 removed"},
		"a paused one is removed":           {[]step{{apply("a", 1, "x"), "new"}, {pause("a"), "paused"}, {remove("a"), "removed"}}, "a file 1 removed"},
		"applied again after it was":        {[]step{{apply("a", 1, "x"), "new"}, {remove("a"), "removed"}, {apply("a", 1, "x"), "restored"}}, "a file 1 active"},
		"applied again with a new version":  {[]step{{apply("a", 1, "x"), "new"}, {remove("a"), "removed"}, {apply("a", 2, "y"), "restored"}}, "a file 2 active <1"},
		"a removed version stays what was":  {[]step{{apply("a", 3, "x"), "new"}, {remove("a"), "removed"}, {apply("a", 3, "y"), "definition-changed"}, {apply("a", 2, "x"), "version-lowered"}}, "a file 3 removed"},
		"a removed one cannot be paused":    {[]step{{apply("a", 1, "x"), "new"}, {remove("a"), "removed"}, {pause("a"), "unknown-projection"}, {resume("a"), "unknown-projection"}}, "a file 1 removed"},
		"what never was":                    {[]step{{pause("a"), "unknown-projection"}, {resume("a"), "unknown-projection"}, {remove("a"), "unknown-projection"}}, ""},
		"those of a program are registered": {[]step{{register(def("g", 1, ""), def("a", 1, "")), "registered"}, {register(def("g", 1, "")), "unchanged"}}, "a go 1 active, g go 1 active"},
		"a program's new version":           {[]step{{register(def("g", 1, "")), "registered"}, {register(def("g", 2, "")), "registered"}, {register(def("g", 1, "")), "unchanged"}}, "g go 2 active"},
		"a program's changed definition":    {[]step{{register(def("g", 1, "")), "registered"}, {register(def("g", 1, "z")), "unchanged"}}, "g go 1 active"},
		"a program's own name is taken":     {[]step{{register(def("g", 1, "")), "registered"}, {apply("g", 2, "x"), "name-taken"}}, "g go 1 active"},
		"a file's name is taken":            {[]step{{apply("a", 1, "x"), "new"}, {register(def("a", 2, "")), "unchanged"}}, "a file 1 active"},
		"a program's is removed for good":   {[]step{{register(def("g", 1, "")), "registered"}, {remove("g"), "removed"}, {register(def("g", 2, "")), "unchanged"}}, "g go 1 removed"},
		"and is brought back by a person":   {[]step{{register(def("g", 1, "")), "registered"}, {remove("g"), "removed"}, {resume("g"), "restored"}, {register(def("g", 2, "")), "registered"}}, "g go 2 active"},
		"a file takes a program's place":    {[]step{{register(def("g", 1, "")), "registered"}, {remove("g"), "removed"}, {apply("g", 1, "x"), "definition-changed"}, {apply("g", 2, "x"), "restored"}}, "g file 2 active"},
		"a program takes a file's place":    {[]step{{apply("a", 1, "x"), "new"}, {remove("a"), "removed"}, {register(def("a", 1, "")), "unchanged"}, {register(def("a", 2, "")), "registered"}}, "a go 2 active <1"},
		"a paused program's gets a version": {[]step{{register(def("g", 1, "")), "registered"}, {pause("g"), "paused"}, {register(def("g", 2, "")), "registered"}}, "g go 2 paused"},
	} {
		t.Run(name, func(t *testing.T) {
			log := memlog.New("us", memlog.Options{})
			defer log.Close()
			for i, s := range c.steps {
				head := headOf(t, log)
				done, err := catalog.Change(t.Context(), log, nil, s.do)
				got := string(done.Verdict)
				if code, coded := events.CodeOf(err); coded {
					got = string(code)
				}
				if got != s.want {
					t.Fatalf("step %d came to %s (%v), want %s", i+1, got, err, s.want)
				}
				if wrote := headOf(t, log) != head; wrote != (err == nil && done.Verdict != catalog.Unchanged) {
					t.Errorf("step %d, %s, wrote: %t", i+1, s.want, wrote)
				}
			}
			now, err := catalog.Read(t.Context(), log)
			if got := list(now); err != nil || got != c.state {
				t.Errorf("the catalog is %q, %v, want %q", got, err, c.state)
			}
			for _, e := range now.Entries {
				definitionsAreThere(t, log, e)
			}
		})
	}
}

// list shows a catalog.
func list(c catalog.Catalog) string {
	var all []string
	for _, e := range c.Entries {
		line := fmt.Sprint(e.Name, " ", e.Kind, " ", e.Version, " ", e.State)
		for _, before := range e.Earlier {
			line += fmt.Sprint(" <", before.Version)
		}
		all = append(all, line)
	}
	return strings.Join(all, ", ")
}

// definitionsAreThere checks that an entry names the texts of its versions.
func definitionsAreThere(t *testing.T, log events.Reader, e catalog.Entry) {
	t.Helper()
	all := slices.Clone(e.Earlier)
	if e.Kind == catalog.File {
		all = append(all, catalog.Earlier{Version: e.Version, Fingerprint: e.Fingerprint, Definition: e.Definition})
	} else if e.Definition != 0 {
		t.Errorf("a projection in Go has a definition: %+v", e)
	}
	for _, v := range all {
		text, err := catalog.Text(t.Context(), log, e.Name, v.Definition)
		if err != nil {
			t.Errorf("version %d of %s: %v", v.Version, e.Name, err)
			continue
		}
		meaning := strings.TrimPrefix(string(text), e.Name+" ")
		if def(e.Name, v.Version, meaning).Fingerprint() != v.Fingerprint {
			t.Errorf("version %d of %s is %q, which is not its fingerprint", v.Version, e.Name, text)
		}
	}
}

func headOf(t *testing.T, log events.Reader) uint64 {
	t.Helper()
	info, err := log.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.Last
}

func TestAnOperationLeavesTheCatalogItIsGivenAlone(t *testing.T) {
	log := memlog.New("us", memlog.Options{})
	defer log.Close()
	var c catalog.Catalog
	for _, do := range []operation{apply("b", 1, "x"), apply("c", 1, "x"), register(def("g", 1, ""))} {
		done, err := catalog.Change(t.Context(), log, nil, do)
		if err != nil {
			t.Fatal(err)
		}
		c = done.Catalog
	}
	before := list(c)
	for _, do := range []operation{apply("a", 1, "x"), apply("b", 2, "x"), pause("b"), remove("c"), remove("g"), register(def("a", 1, ""), def("g", 9, ""))} {
		if _, err := do(c); err != nil {
			t.Error(err)
		}
		if after := list(c); after != before {
			t.Fatalf("the catalog was %q and is %q", before, after)
		}
	}
}

func TestACatalogHasBounds(t *testing.T) {
	var c catalog.Catalog
	for i := range catalog.MaxProjections {
		c.Entries = append(c.Entries, catalog.Entry{Name: fmt.Sprintf("p-%04d", i), Version: 1, Kind: catalog.File, State: catalog.Active, Definition: 1})
	}
	for name, do := range map[string]operation{"applied": apply("a", 1, "x"), "registered": register(def("g", 1, ""))} {
		if _, err := do(c); !errors.Is(err, catalog.ErrFull) {
			t.Errorf("one more than the bound is %s: %v", name, err)
		}
	}
	if _, err := apply("p-0000", 2, "x")(c); err != nil {
		t.Errorf("a new version of one of them: %v", err)
	}
	c.Entries[0].State = catalog.Removed
	if _, err := apply("a", 1, "x")(c); err != nil {
		t.Errorf("in the place of one that was removed: %v", err)
	}
	for i := range c.Entries {
		c.Entries[i].State = catalog.Removed
	}
	for i := len(c.Entries); i < catalog.MaxEntries; i++ {
		c.Entries = append(c.Entries, catalog.Entry{Name: fmt.Sprintf("p-%04d", i), Version: 1, Kind: catalog.File, State: catalog.Removed, Definition: 1})
	}
	if _, err := apply("a", 1, "x")(c); !errors.Is(err, catalog.ErrFull) {
		t.Errorf("one more name than the bound: %v", err)
	}
	if d, err := apply("p-0500", 2, "x")(c); err != nil || d.Verdict != catalog.Restored {
		t.Errorf("a name that was used before: %+v, %v", d, err)
	}
	text := make([]byte, catalog.MaxText+1)
	if _, err := (catalog.Catalog{}).Apply(def("a", 1, "x"), text); !errors.Is(err, events.ErrTooLarge) {
		t.Errorf("a text over its bound: %v", err)
	}
}

// The largest catalog that can be fits into its record, and so does the largest definition beside it, also forwarded in one message.
func TestTheLargestCatalogFitsIntoTheLog(t *testing.T) {
	log := memlog.New("us", memlog.Options{})
	defer log.Close()
	var c catalog.Catalog
	name := func(i int) string { return fmt.Sprintf("p%047d", i) }
	const finger = "0123456789abcdef"
	earlier := slices.Repeat([]catalog.Earlier{{Version: 1 << 30, Fingerprint: finger, Definition: 1}}, catalog.MaxEarlier)
	for i := range catalog.MaxEntries - 1 {
		e := catalog.Entry{Name: name(i), Version: 1 << 30, Fingerprint: finger, Kind: catalog.File, State: catalog.Removed, Definition: 1, Earlier: earlier}
		if i < catalog.MaxProjections-1 {
			e.State = catalog.Active
		}
		c.Entries = append(c.Entries, e)
	}
	if _, err := catalog.Change(t.Context(), log, nil, func(catalog.Catalog) (catalog.Decision, error) {
		return c.Apply(def(name(catalog.MaxEntries), 1, "x"), make([]byte, catalog.MaxText))
	}); err != nil {
		code, _ := events.CodeOf(err)
		t.Fatalf("it is refused: %s", code)
	}
	r, err := log.LastControl(t.Context(), catalog.Control)
	if err != nil {
		t.Fatal(err)
	}
	const digits, message = 18, 2 << 20 // a sequence may have so many more; one message of the servers
	most := len(r.Control.Data) + catalog.MaxEntries*(1+catalog.MaxEarlier)*digits
	if most > events.MaxDataBytes || most+catalog.MaxText > message*9/10 {
		t.Errorf("it may have %d bytes", most)
	}
}

func TestOnlyWhatTheCatalogAdmitsOfAProgramIsRun(t *testing.T) {
	log := memlog.New("us", memlog.Options{})
	defer log.Close()
	var now catalog.Catalog
	for _, do := range []operation{register(def("g", 2, "")), apply("f", 1, "x"), apply("r", 2, "x"), remove("r")} {
		done, err := catalog.Change(t.Context(), log, nil, do)
		if err != nil {
			t.Fatal(err)
		}
		now = done.Catalog
	}
	for _, c := range []struct {
		def  *projections.Definition
		code error
	}{
		{def("g", 2, ""), nil}, {def("g", 3, "z"), nil}, {def("new", 1, ""), nil}, {def("r", 3, ""), nil},
		{def("g", 1, ""), nil}, // an older program, while a newer one is being deployed
		{def("g", 2, "z"), projections.ErrDefinitionChanged}, {def("f", 9, ""), catalog.ErrNameTaken}, {def("r", 2, ""), projections.ErrDefinitionChanged},
		{def("r", 1, ""), projections.ErrVersionLowered},
	} {
		if err := now.Admit(c.def); !errors.Is(err, c.code) {
			t.Errorf("%s version %d %q: %v, want %v", c.def.Name, c.def.Version, c.def.Meaning, err, c.code)
		}
	}
}
