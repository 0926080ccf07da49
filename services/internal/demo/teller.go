package demo

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// teller writes the story. The first error of its writer stays.
type teller struct {
	out   io.Writer
	steps int
	err   error
}

func newTeller(out io.Writer) *teller { return &teller{out: out} }

func (t *teller) line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.out, format+"\n", args...)
	}
}

func (t *teller) detail(format string, args ...any) { t.line("   "+format, args...) }

// step is one numbered step of the story.
type step struct {
	t     *teller
	begin time.Time
}

// step writes the beginning of a step's line.
func (t *teller) step(format string, args ...any) *step {
	t.steps++
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.out, "%-2d %-40s", t.steps, fmt.Sprintf(format, args...))
	}
	return &step{t: t, begin: time.Now()}
}

func (s *step) elapsed() time.Duration { return time.Since(s.begin) }

// done writes how long the step took, and what was seen.
func (s *step) done(format string, args ...any) {
	s.t.line("%6.2f s", s.elapsed().Seconds())
	s.t.detail(format, args...)
}

// table writes aligned rows.
func (t *teller) table(fill func(row func(cells ...any))) {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 3, ' ', tabwriter.AlignRight)
	fill(func(cells ...any) {
		for _, c := range cells {
			_, _ = fmt.Fprintf(w, "%v\t", c) // a strings.Builder never fails
		}
		_, _ = fmt.Fprintln(w)
	})
	_ = w.Flush()
	for row := range strings.Lines(text.String()) {
		t.line("%s", strings.TrimRight(row, "\n"))
	}
}
