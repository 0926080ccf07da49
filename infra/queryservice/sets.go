package queryservice

import (
	"strings"

	"github.com/nats-io/nats.go"

	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// HeaderSets names the fields of an answer's documents that are sets, joined by commas: in JSON a set is an array, as a list is.
const HeaderSets = "Tidemark-Sets"

// writeSets writes HeaderSets, if there are any. All documents of an answer are of one projection.
func writeSets(h nats.Header, body any) {
	for _, d := range documents(body) {
		if d.Values == nil {
			continue
		}
		var sets []string
		for _, f := range d.Fields {
			if f.Kind == projections.KindSet {
				sets = append(sets, f.Name)
			}
		}
		if len(sets) > 0 {
			h.Set(HeaderSets, strings.Join(sets, ","))
		}
		return
	}
}

// readSets makes lists sets, as HeaderSets says. It reports whether all documents have them.
func readSets(h nats.Header, body any) bool {
	names := h.Get(HeaderSets)
	if names == "" {
		return true
	}
	for _, d := range documents(body) {
		for name := range strings.SplitSeq(names, ",") {
			if d.Values != nil && !d.AsSet(name) {
				return false
			}
		}
	}
	return true
}

// documents returns those of an answer.
func documents(body any) (all []*query.Document) {
	switch b := body.(type) {
	case *query.Answer:
		all = append(all, &b.Document)
	case *query.Documents:
		for i := range b.Items {
			all = append(all, &b.Items[i].Document)
		}
	case *query.Page:
		for i := range b.Items {
			all = append(all, &b.Items[i].Document)
		}
	case *query.Update:
		for i := range b.Changes {
			all = append(all, &b.Changes[i].Document)
		}
	}
	return all
}
