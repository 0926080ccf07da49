package main

import (
	"fmt"
	"slices"
	"strings"
)

const domain = "tidemark.dev/"

// A layer is one module and what its files, tests included, may import beside
// their own module.
type layer struct {
	name    string
	below   []string // modules it may import
	foreign bool     // modules that are not ours
	clients bool     // clients and servers of NATS and Redis
}

// layers returns the modules from the bottom up. A module that is missing here
// may not exist.
func layers() []layer {
	return []layer{
		{name: "events"},
		{name: "projections", below: []string{"events"}, foreign: true},
		{name: "infra", below: []string{"events", "projections"}, foreign: true, clients: true},
		{name: "services", below: []string{"events", "projections", "infra"}, foreign: true},
	}
}

// clientPrefixes are the import paths of NATS and Redis clients and servers.
func clientPrefixes() []string {
	return []string{
		"github.com/nats-io/",
		"github.com/synadia-io/",
		"github.com/redis/",
		"github.com/go-redis/",
		"github.com/gomodule/redigo",
		"github.com/alicebob/miniredis",
	}
}

// brokenArrows names each import that its module's layer does not allow.
func brokenArrows(t tree) []string {
	var found []string
	for _, f := range t.files {
		for _, i := range f.imports {
			if why := t.layers[f.module].refuses(i.path); why != "" {
				found = append(found, fmt.Sprintf("%s:%d: imports %s: %s", f.path, i.line, i.path, why))
			}
		}
	}
	return found
}

// refuses says why the layer may not import path, or nothing when it may.
func (l layer) refuses(path string) string {
	if ours, ok := strings.CutPrefix(path, domain); ok {
		module, _, _ := strings.Cut(ours, "/")
		switch {
		case module == l.name || slices.Contains(l.below, module):
			return ""
		case len(l.below) == 0:
			return l.name + " may import no other module"
		}
		return fmt.Sprintf("%s may import %s only", l.name, strings.Join(l.below, ", "))
	}
	if standard(path) {
		return ""
	}
	if !l.foreign {
		return l.name + " may import the standard library only"
	}
	client := func(prefix string) bool { return strings.HasPrefix(path, prefix) }
	if !l.clients && slices.ContainsFunc(clientPrefixes(), client) {
		return l.name + " may not import clients of NATS or Redis: they belong in infra"
	}
	return ""
}

// standard reports whether path is of the standard library, whose first element
// has no dot. The pseudo-package C is not.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return path != "C" && !strings.Contains(first, ".")
}
