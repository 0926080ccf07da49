package main

import (
	"maps"
	"slices"
	"strings"
)

// cycles names each import cycle between packages once, as a path that comes
// back to where it began.
//
// A package's tests count too, as a node of their own: the package's test files
// may not import what imports the package. An external test package (_test) may.
func cycles(t tree) []string {
	code := map[string][]string{}
	tests := map[string][]string{}
	for _, f := range t.files {
		switch {
		case f.ignored || f.externalTest:
		case f.test:
			tests[f.pkg] = append(tests[f.pkg], f.ours()...)
		default:
			code[f.pkg] = append(code[f.pkg], f.ours()...)
		}
	}
	seen := map[string]bool{}
	var found []string
	for _, pkg := range slices.Sorted(maps.Keys(code)) {
		if path := way(code, code[pkg], pkg); path != nil && !seen[ring(path)] {
			seen[ring(path)] = true
			found = append(found, "import cycle: "+strings.Join(append([]string{pkg}, path...), " -> "))
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(tests)) {
		if path := way(code, tests[pkg], pkg); path != nil && !seen[ring(path)] {
			found = append(found, "import cycle: "+strings.Join(append([]string{pkg + " (its tests)"}, path...), " -> "))
		}
	}
	return found
}

// ring identifies a cycle by its members, wherever the walk entered it.
func ring(path []string) string {
	return strings.Join(slices.Sorted(slices.Values(path)), " ")
}

// way returns the shortest path of imports that begins with one of from and ends
// with to, both included, or nil.
func way(imports map[string][]string, from []string, to string) []string {
	came := map[string]string{}
	queue := slices.Clone(from)
	for _, pkg := range from {
		came[pkg] = ""
	}
	for len(queue) > 0 {
		pkg := queue[0]
		queue = queue[1:]
		if pkg == to {
			var path []string
			for at := pkg; at != ""; at = came[at] {
				path = append([]string{at}, path...)
			}
			return path
		}
		for _, next := range imports[pkg] {
			if _, known := came[next]; !known {
				came[next] = pkg
				queue = append(queue, next)
			}
		}
	}
	return nil
}
