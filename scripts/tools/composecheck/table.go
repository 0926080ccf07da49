package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// table is what was checked, in order.
type table struct{ rows []row }

type row struct {
	what, count string
	took        time.Duration
	failed      bool
}

// print writes the table.
func (t *table) print(w io.Writer) {
	if len(t.rows) == 0 {
		return
	}
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(columns, "\nchecked\tcounted\tseconds\tverdict")
	for _, r := range t.rows {
		verdict := "ok"
		if r.failed {
			verdict = "FAIL"
		}
		_, _ = fmt.Fprintf(columns, "%s\t%s\t%.1f\t%s\n", r.what, r.count, r.took.Seconds(), verdict)
	}
	_ = columns.Flush()
}
