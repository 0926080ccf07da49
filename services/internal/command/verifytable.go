package command

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"tidemark.dev/projections/reconcile"
	"tidemark.dev/services/internal/display"
)

// shownPartitions bounds the partitions that are printed of one projection; -o json has all.
const shownPartitions = 16

// write writes a row for each projection and region, and below what does not fit into a table.
func (v *verified) write(w io.Writer) error {
	if len(v.Verdicts) == 0 {
		return v.Deep.write(w)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROJECTION\tREGION\tVERDICT\tMARK\tSEQUENCE\tDOCUMENTS\tDIGEST\tNEWEST MARK\tSCRUBBED")
	for i := range v.Verdicts {
		one := &v.Verdicts[i]
		for j := range one.Regions {
			r := &one.Regions[j]
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", display.Name(one.Projection), r.Region, verdictOf(one, r), hereOf(one, r), newestOf(r), scrubbedOf(r))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	first := true
	remark := func(format string, args ...any) {
		if first {
			fmt.Fprintln(w)
			first = false
		}
		fmt.Fprintln(w, display.Text(fmt.Sprintf(format, args...)))
	}
	for i := range v.Verdicts {
		remarksOn(&v.Verdicts[i], remark)
	}
	return v.Deep.write(w)
}

// verdictOf says what is known of one region.
func verdictOf(v *reconcile.Verdict, r *reconcile.Told) string {
	switch {
	case r.Unknown != nil:
		return string(reconcile.Unknown)
	case r.Unhealthy != nil:
		return string(v.Result) + ", UNHEALTHY"
	case v.Result == reconcile.Different:
		return "DIFFERENT"
	}
	return string(v.Result)
}

// hereOf returns the columns of the verdict's mark.
func hereOf(v *reconcile.Verdict, r *reconcile.Told) string {
	if r.Here == nil {
		return "none\tnone\tunknown\tunknown"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s", display.Number(v.Number), display.Number(v.Sequence), display.Number(r.Here.Documents), r.Here.Digest.String())
}

// newestOf returns the column of the newest mark that the region has passed.
func newestOf(r *reconcile.Told) string {
	switch {
	case r.Unknown != nil:
		return "unknown"
	case r.Newest == nil:
		return "none"
	case r.Age == nil:
		return display.Number(r.Newest.Number)
	}
	return fmt.Sprintf("%s, %s old", display.Number(r.Newest.Number), display.Duration(time.Duration(*r.Age*float64(time.Second))))
}

// scrubbedOf returns the column of until when every stored document was compared with its digest: equal marks say nothing of what was changed in Redis since.
func scrubbedOf(r *reconcile.Told) string {
	switch {
	case r.Unknown != nil:
		return "unknown"
	case r.Scrubbed.IsZero():
		return "never"
	}
	return r.Scrubbed.Format("2006-01-02 15:04:05Z")
}

// remarksOn says which partitions differ, and why something is not known or not well.
func remarksOn(v *reconcile.Verdict, remark func(format string, args ...any)) {
	if v.Result == reconcile.Different {
		where := ""
		if len(v.Partitions) > 0 {
			where = ", in " + display.Count(len(v.Partitions), "partition")
		}
		remark("%s: different at mark %d, sequence %d%s", v.Projection, v.Number, v.Sequence, where)
	}
	for i, d := range v.Partitions {
		if i == shownPartitions {
			remark("%s: and %d partitions more, which -o json has", v.Projection, len(v.Partitions)-i)
			break
		}
		remark("%s: partition %d: %s", v.Projection, d.Partition, alike(d.Regions))
	}
	if v.Whole != nil {
		remark("%s: which partitions differ is not known: %s", v.Projection, v.Whole.Message)
	}
	for _, r := range v.Reasons {
		remark("%s: %s", v.Projection, r.Message)
	}
	for i := range v.Regions {
		if r := &v.Regions[i]; r.Unhealthy != nil {
			remark("%s: %s is unhealthy: %s", v.Projection, r.Region, r.Unhealthy.Message)
		}
	}
}

// alike says what regions had of a partition, those together that had the same.
func alike(regions []reconcile.InPlace) string {
	var said []string
	for i, r := range regions {
		names := []string{r.Region}
		for j, other := range regions {
			if j != i && other.Sum == r.Sum {
				if j < i { // it was said with the other one
					names = nil
					break
				}
				names = append(names, other.Region)
			}
		}
		if names != nil {
			said = append(said, fmt.Sprintf("%s had %s with %s", strings.Join(names, ", "), display.Count(r.Documents, "document"), r.Digest.String()))
		}
	}
	return strings.Join(said, "; ")
}
