package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Elapsed    float64 // seconds
	Output     string
	Code       int
}

// summary is what is known so far.
type summary struct {
	out      io.Writer
	packages map[string]*pkg
	names    []string // what failed, for the list at the end
	passed   int
	failed   int
}

// pkg is a package whose tests are running.
type pkg struct {
	output strings.Builder             // outside any test
	tests  map[string]*strings.Builder // running tests and their output
	passed int
	failed int
}

func (s *summary) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if strings.TrimSpace(line) != "" {
			s.line(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// line handles one line of input. What is not an event is passed on as it is.
func (s *summary) line(line string) {
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Action == "" {
		s.print(line)
		return
	}
	switch {
	case e.Action == "build-output":
		s.print(e.Output)
	case e.Action == "build-fail":
	case e.Action == "exit":
		if e.Code != 0 && s.failed == 0 {
			s.fail(e.Package, fmt.Sprintf("go test ended with code %d\n", e.Code))
		}
	case e.Test != "":
		s.test(e)
	default:
		s.pkg(e)
	}
}

func (s *summary) of(name string) *pkg {
	p := s.packages[name]
	if p == nil {
		p = &pkg{tests: map[string]*strings.Builder{}}
		s.packages[name] = p
	}
	return p
}

// test handles an event of a test.
func (s *summary) test(e event) {
	if strings.HasPrefix(e.Test, "Benchmark") && (e.Action == "run" || e.Action == "output") {
		s.print(e.Output) // a benchmark has no end of its own, and its output is its result
		return
	}
	p := s.of(e.Package)
	output := p.tests[e.Test]
	if output == nil {
		output = &strings.Builder{}
		p.tests[e.Test] = output
	}
	switch e.Action {
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			output.WriteString(e.Output)
		}
	case "pass":
		p.passed++
		delete(p.tests, e.Test)
	case "fail":
		s.failTest(p, e.Package, e.Test, "failed")
	case "skip":
		s.failTest(p, e.Package, e.Test, "skipped: every test has to run")
	}
}

func (s *summary) failTest(p *pkg, name, test, how string) {
	p.failed++
	s.names = append(s.names, fmt.Sprintf("%s %s %s", name, test, how))
	s.print(fmt.Sprintf("--- %s %s %s\n%s", name, test, how, p.tests[test]))
	delete(p.tests, test)
}

// pkg handles an event of a package, and sums it up when it has ended.
func (s *summary) pkg(e event) {
	p := s.of(e.Package)
	switch e.Action {
	case "output":
		p.output.WriteString(e.Output)
	case "pass", "fail", "skip":
		p.output.WriteString(e.Output)
		s.end(p, e)
	}
}

func (s *summary) end(p *pkg, e event) {
	delete(s.packages, e.Package)
	for _, test := range slices.Sorted(maps.Keys(p.tests)) {
		s.failTest(p, e.Package, test, "did not finish")
	}
	s.passed += p.passed
	s.failed += p.failed
	switch {
	case e.Action == "fail" && p.failed == 0:
		s.fail(e.Package, p.beside())
	case p.failed > 0:
		s.print(p.beside())
		s.print(fmt.Sprintf("FAIL %7.1fs  %s: %d passed, %d failed\n", e.Elapsed, e.Package, p.passed, p.failed))
	case p.passed == 0:
		s.print(fmt.Sprintf("none %8s  %s\n", "", e.Package))
	default:
		s.print(fmt.Sprintf("ok   %7.1fs  %s: %d passed\n", e.Elapsed, e.Package, p.passed))
	}
}

// beside returns the package's output without the verdict of go test, which ours replaces.
func (p *pkg) beside() string {
	var kept strings.Builder
	for line := range strings.Lines(p.output.String()) {
		verdict := func(prefix string) bool { return strings.HasPrefix(line, prefix) }
		if !slices.ContainsFunc([]string{"FAIL", "PASS", "ok  \t"}, verdict) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// fail counts a failure outside any test: a build, a TestMain, a process left behind.
func (s *summary) fail(who, why string) {
	s.failed++
	s.names = append(s.names, who)
	s.print(why)
	s.print(fmt.Sprintf("FAIL %8s  %s\n", "", who))
}

// finish reports the packages whose end was never seen, and lists what failed.
func (s *summary) finish() {
	for _, name := range slices.Sorted(maps.Keys(s.packages)) {
		p := s.packages[name]
		p.output.WriteString("the run ended before this package did\n")
		s.end(p, event{Action: "fail", Package: name})
	}
	if len(s.names) > 0 {
		s.print("\nnot passed:\n  " + strings.Join(s.names, "\n  ") + "\n")
	}
	s.print("\n")
}

func (s *summary) print(text string) {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	_, _ = io.WriteString(s.out, text)
}
