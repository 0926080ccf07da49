// Command testsum turns the events of `go test -json`, read from standard input,
// into one line per package, the full output of what failed, and the totals on a
// line of their own: "N passed, N failed".
//
// It counts each test and subtest as go test reports it. A test that was skipped
// or never finished has failed: a green run means that everything ran.
//
// Several runs of go test may follow each other on the input. Between them the
// caller may add events of its own:
//
//	{"Action":"fail","Package":"who","Output":"why"}    something beside the tests failed
//	{"Action":"exit","Package":"what","Code":1}         how a run of go test ended
//
// Exit codes: 0 all passed, 1 something failed, 2 no test ran.
package main

import (
	"fmt"
	"io"
	"os"
)

const (
	exitOK      = 0
	exitFailed  = 1
	exitNothing = 2
)

func main() {
	os.Exit(run(os.Stdin, os.Stdout))
}

func run(stdin io.Reader, stdout io.Writer) int {
	s := summary{out: stdout, packages: map[string]*pkg{}}
	if err := s.read(stdin); err != nil {
		s.fail("the events could not be read to their end", err.Error())
	}
	s.finish()
	_, _ = fmt.Fprintf(stdout, "%d passed, %d failed\n", s.passed, s.failed)
	switch {
	case s.failed > 0:
		return exitFailed
	case s.passed == 0:
		return exitNothing
	}
	return exitOK
}
