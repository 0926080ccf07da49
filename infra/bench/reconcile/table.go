package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// table prints what was measured and what was proved, line by line, as it comes.
type table struct {
	out   io.Writer
	wrong int
}

func (t *table) head(text string) { _, _ = fmt.Fprintf(t.out, "\n%s\n", text) } // an output that fails shows

// line prints a figure.
func (t *table) line(what, format string, args ...any) {
	_, _ = fmt.Fprintf(t.out, "  %-52s %s\n", what, fmt.Sprintf(format, args...))
}

// prove prints what came out, and counts it unless it is right.
func (t *table) prove(right bool, what, format string, args ...any) {
	mark := "ok   "
	if !right {
		mark = "WRONG"
		t.wrong++
	}
	_, _ = fmt.Fprintf(t.out, "  %s %-46s %s\n", mark, what, fmt.Sprintf(format, args...))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// indent makes an error of several lines one that fits into a table.
func indent(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
