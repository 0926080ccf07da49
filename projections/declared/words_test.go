package declared_test

import (
	"strings"
	"testing"

	"tidemark.dev/events"
	"tidemark.dev/projections/declared"
)

func TestAFieldMayHaveAnyNameButFour(t *testing.T) {
	for _, name := range strings.Fields("as break const continue else for function if import let loop package namespace return var void while has size event data doc type int default key on n y") {
		p := parse(t, "projection: p\nversion: 1\nfields: {"+name+": int}\non: [{event: E, do: [{set: {"+name+": doc."+name+" + 1}}]}]\n")
		if got := show(declared.Fold(p, records([]events.Event{said(""), said("")}))); got != "k=2" {
			t.Errorf("%s: got %s", name, got)
		}
	}
}
