package command

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/services/internal/display"
)

// shownSamples bounds the documents that differ that are printed as text; -o json has all that are remembered.
const shownSamples = 20

// write writes what would be done.
func (x *prepared) write(w io.Writer) error {
	if err := x.writePlan(w); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, "nothing was changed")
	return err
}

func (x *prepared) writePlan(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\t%s\n", x.Projection, whatOfReplay(&x.Request))
	fmt.Fprintf(t, "region\t%s\n", x.Region)
	planRows(t, &x.Plan)
	fmt.Fprintf(t, "memory\t%s\n", x.memory())
	return t.Flush()
}

func planRows(w io.Writer, plan *projections.ReplayPlan) {
	fmt.Fprintf(w, "strategy\t%s: %s\n", plan.Strategy, display.Text(plan.Why))
	switch plan.Strategy {
	case projections.StrategyKept, projections.StrategyDrop:
		return
	case projections.StrategyWhole, projections.StrategySnapshot, projections.StrategyRefold:
	}
	if plan.Records == 0 {
		fmt.Fprintln(w, "records\tnone")
	} else {
		fmt.Fprintf(w, "records\t%s, %s to %s, some %s\n", display.Number(plan.Records), display.Number(plan.First), display.Number(plan.Last), size(plan.Bytes))
	}
	fmt.Fprintf(w, "documents\tsome %s\n", display.Number(plan.Documents))
	fmt.Fprintf(w, "time\tsome %s\n", display.Duration(seconds(plan.Seconds)))
}

// memory says what the store needs, and what it has.
func (x *prepared) memory() string {
	if x.MemoryMax == 0 {
		return fmt.Sprintf("some %s more; the store uses %s, and has no bound that it tells", size(x.Plan.Memory), size(x.MemoryUsed))
	}
	share := 100 * float64(x.MemoryUsed+x.Plan.Memory) / float64(x.MemoryMax)
	return fmt.Sprintf("some %s more; the store uses %s of %s, and would use %.0f %%", size(x.Plan.Memory), size(x.MemoryUsed), size(x.MemoryMax), share)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// size returns bytes with a unit that is read.
func size(bytes uint64) string {
	value, unit := float64(bytes), 0
	units := [...]string{"B", "KiB", "MiB", "GiB", "TiB"}
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// whatOfReplay says what a replay is to do.
func whatOfReplay(r *projections.ReplayRequest) string {
	switch r.Kind {
	case projections.ReplayCopy:
		return fmt.Sprintf("a copy, %s, as it was at %s, kept%s", r.As, r.To, untilOr(r.Until, " until it is dropped"))
	case projections.ReplayRollback:
		return "the generation before takes over again"
	case projections.ReplayDrop:
		if r.As == "" {
			return "the generation before is dropped"
		}
		return "the copy " + r.As + " is dropped"
	case projections.ReplayModel:
	}
	if r.From > 1 {
		return "built anew, trusting what was before sequence " + display.Number(r.From)
	}
	return "built anew from the first record"
}

func untilOr(t *time.Time, or string) string {
	if t == nil {
		return or
	}
	return " until " + moment(*t)
}

// replayed writes what came of a replay that has ended.
func replayed(w io.Writer, r *projections.Replay) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\t%s\n", r.Projection, came(r))
	if r.Plan != nil {
		fmt.Fprintf(t, "how\t%s: %s\n", r.Plan.Strategy, display.Text(r.Plan.Why))
	}
	for _, why := range r.Back {
		fmt.Fprintf(t, "went back\t%s\n", display.Text(why))
	}
	if r.Kind != projections.ReplayDrop {
		proofRows(t, r)
		if r.Position != "" {
			fmt.Fprintf(t, "documents\t%s\n", display.Number(r.Documents))
			fmt.Fprintf(t, "position\t%s\n", display.Name(r.Position))
			fmt.Fprintf(t, "digest\t%s\n", display.Name(r.Digest))
		}
	}
	if r.Finished != nil {
		fmt.Fprintf(t, "took\t%s\n", display.Duration(r.Finished.Sub(r.Requested)))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return samples(w, r.Difference)
}

// proofRows writes with what it was compared.
func proofRows(w io.Writer, r *projections.Replay) {
	if r.Kind == projections.ReplayCopy {
		return
	}
	if refold := r.Plan != nil && r.Plan.Strategy == projections.StrategyRefold; !refold {
		fmt.Fprintf(w, "compared\t%s\n", verdict(r))
	}
	if r.Proof != nil {
		fmt.Fprintf(w, "proof\t%s\n", proofOf(r.Proof))
	}
	if d := r.Difference; d != nil {
		fmt.Fprintf(w, "difference\t%s\n", countsOf(d))
	}
}

func proofOf(p *projections.Proof) string {
	said := string(p.Result)
	if p.Result == projections.ProofDifferent {
		said = strings.ToUpper(said)
	}
	switch {
	case p.With == "live":
		said += ", with the generation before"
	case p.With != "":
		said += ", with " + display.Name(p.With)
	}
	if p.Sequence > 0 {
		said += " at " + display.Number(p.Sequence)
	}
	if p.Why != "" {
		said += ": " + display.Text(p.Why)
	}
	return said
}

func countsOf(d *projections.Difference) string {
	said := fmt.Sprintf("%s changed, %s only now, %s only before, %s the same", display.Number(d.Changed), display.Number(d.Added), display.Number(d.Removed), display.Number(d.Same))
	if d.Unsettled > 0 {
		said += fmt.Sprintf(", %s not told, because they changed all the time", display.Number(d.Unsettled))
	}
	return said
}

// came says what came of a replay.
func came(r *projections.Replay) string {
	switch r.State {
	case projections.ReplayFailed:
		return "the replay failed: " + display.Text(r.Message)
	case projections.ReplayCancelled:
		return "the replay was given up; what was live goes on"
	case projections.ReplayRequested, projections.ReplayBuilding, projections.ReplaySwitching:
		s := stageOf(r)
		return "the replay goes on: " + s.String()
	case projections.ReplayDone:
	}
	switch {
	case r.Kind == projections.ReplayCopy:
		return fmt.Sprintf("the copy %s is there, kept%s; read it with --at %s", r.As, untilOr(r.Until, " until it is dropped"), r.As)
	case r.Kind == projections.ReplayDrop:
		return whatOfReplay(&r.ReplayRequest)
	case r.Kind == projections.ReplayRollback:
		return fmt.Sprintf("generation %d is live again", r.Generation)
	case r.Plan != nil && r.Plan.Strategy == projections.StrategyRefold:
		return fmt.Sprintf("%s folded again in generation %d, which stays live", display.Count(r.Documents, "document"), r.Generation)
	}
	return fmt.Sprintf("generation %d is live", r.Generation)
}

// samples writes some of the documents that differ.
func samples(w io.Writer, d *projections.Difference) error {
	if d == nil || len(d.Samples) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KEY\tBEFORE\tNOW")
	for i := range d.Samples[:min(len(d.Samples), shownSamples)] {
		s := &d.Samples[i]
		fmt.Fprintf(t, "%s\t%s\t%s\n", display.Name(s.Key), fieldsOf(s.Before), fieldsOf(s.After))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if more := d.Changed + d.Added + d.Removed; more > uint64(min(len(d.Samples), shownSamples)) {
		fmt.Fprintf(w, "and more: -o json has %s of %s\n", display.Number(len(d.Samples)), display.Count(more, "document"))
	}
	return nil
}

// fieldsOf writes fields on one line.
func fieldsOf(fields map[string]string) string {
	if fields == nil {
		return "no document"
	}
	var said []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		said = append(said, name+"="+display.Name(fields[name]))
	}
	return strings.Join(said, " ")
}

// hidden is what is shown in place of a value.
const hidden = "<hidden>"

// hideSamples replaces the values of documents that differ. Names stay, and where a document is parked.
func hideSamples(r *projections.Replay) {
	if r.Difference == nil {
		return
	}
	hide := func(fields map[string]string) map[string]string {
		if fields == nil {
			return nil
		}
		masked := maps.Clone(fields)
		for name := range masked {
			if name != "_parked" {
				masked[name] = hidden
			}
		}
		return masked
	}
	d := *r.Difference
	d.Samples = slices.Clone(d.Samples)
	for i := range d.Samples {
		d.Samples[i].Before, d.Samples[i].After = hide(d.Samples[i].Before), hide(d.Samples[i].After)
	}
	r.Difference = &d
}
