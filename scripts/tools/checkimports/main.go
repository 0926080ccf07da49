// Command checkimports keeps the arrows between the modules pointing one way:
//
//	services -> infra -> projections -> events
//
// It reads import clauses only, of every file under every build tag, so it also
// sees the wire injectors, the tests, and a cycle that the go command would
// refuse to load.
//
// Usage: checkimports [root]
//
// Exit codes: 0 the rules hold, 1 a rule is broken, 2 the tree could not be checked.
package main

import (
	"fmt"
	"io"
	"os"
)

const (
	exitOK        = 0
	exitViolation = 1
	exitCannot    = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	root := "."
	switch len(args) {
	case 0:
	case 1:
		root = args[0]
	default:
		_, _ = fmt.Fprintln(stderr, "usage: checkimports [root]")
		return exitCannot
	}
	t, err := readTree(root)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "import direction: cannot check: %v\n", err)
		return exitCannot
	}
	found := append(brokenArrows(t), cycles(t)...)
	for _, v := range found {
		_, _ = fmt.Fprintln(stdout, v)
	}
	if len(found) > 0 {
		_, _ = fmt.Fprintf(stdout, "import direction: FAIL, %d violations\n", len(found))
		return exitViolation
	}
	_, _ = fmt.Fprintf(stdout, "import direction: ok, %d modules, %d files\n", len(t.layers), len(t.files))
	return exitOK
}
