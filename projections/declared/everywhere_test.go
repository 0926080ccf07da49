package declared_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections/declared"
)

// walking is a file whose expressions use what could depend on the order of something.
const walking = `
projection: p
version: 1
fields: {n: int, s: string, b: bool}
upcast:
  - {event: E, rename: {b: c, a: b}, default: {x: 1, y: 2, z: "data.x + data.y"}}
on:
  - event: E
    do:
      - set: {s: "data.l.map(i, i.name).filter(i, i != 'b') == ['a', 'c'] ? data.l[0].name : 'other'"}
      - add: {n: "data.l.filter(i, has(i.n) && i.n > 1).size() + data.z"}
  - {event: E, key: "{data.l[1].name}", do: [{set: {b: "data.l.exists_one(i, i.name == 'b')"}}]}
`

func TestEveryRegionReadsAndFoldsTheSame(t *testing.T) {
	log := []events.Event{said(`{"a":1,"l":[{"name":"a","n":1},{"name":"b","n":2},{"name":"c"}]}`), said(`{"l":[{"n":1.5,"name":"a"},{"name":"q","n":"x"}]}`), said(`{"l":7}`)}
	first, meaning := "", ""
	for range 30 {
		p := parse(t, walking)
		got := show(declared.Fold(p, records(log)))
		if first == "" {
			first, meaning = got, p.Meaning()
		}
		if got != first || p.Meaning() != meaning {
			t.Fatalf("%s and then %s", first, got)
		}
	}
	const want = "b=0,,true; k=4,a,false!2 on E: add n: "
	if !strings.HasPrefix(first, want) || !strings.HasSuffix(first, "; q=0,,false; ?3 on E: its key: data.l[1].name: a value is missing") {
		t.Errorf("got %s, want %s…", first, want)
	}
}

func TestTheSameMistakesAreReportedEveryTime(t *testing.T) {
	text := strings.NewReplacer("data.x", "dta.x", "data.l[1]", "doc.m", "s: \"data", "t: \"data").Replace(walking)
	var first string
	for range 20 {
		_, _, err := declared.Parse("f", []byte(text))
		if err == nil {
			t.Fatal("the file is read")
		}
		if first == "" {
			first = err.Error()
		}
		if err.Error() != first {
			t.Fatalf("%s\nand then\n%s", first, err)
		}
	}
}

// A projection is used by its live generation and by replays at once.
func TestAProjectionMayBeUsedByManyAtOnce(t *testing.T) {
	p := parse(t, walking)
	var log []events.Event
	for i := range 200 {
		e := said(fmt.Sprintf(`{"l":[{"name":"a","n":%d},{"name":"k%d"}]}`, i, i%7))
		e.Entity.ID = fmt.Sprint("e", i%11)
		log = append(log, e)
	}
	want := show(declared.Fold(p, records(log)))
	got := make([]string, 4)
	var wait sync.WaitGroup
	for i := range got {
		wait.Go(func() { got[i] = show(declared.Fold(p, records(log))) })
	}
	wait.Wait()
	if slices.ContainsFunc(got, func(s string) bool { return s != want }) {
		t.Errorf("got %q, want %q", got, want)
	}
}
