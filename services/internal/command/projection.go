package command

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/declared"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// projectionCommand is the parent of the commands about projections: those that need a file only, and those that ask or change an installation.
func (p *program) projectionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "projection",
		Short: "Write, check, test and apply a projection in YAML; list, pause and remove projections",
		Long: `A projection says which events become which documents. Written as YAML it needs no Go. init, check, test and schema need no servers; the others are about a running
installation, in which every region has the same projections.`,
		Example: "  tidemark projection init > airports.yaml\n  tidemark projection check airports.yaml --sample events.ndjson\n" +
			"  tidemark projection test airports.yaml\n  tidemark projection apply airports.yaml --wait\n  tidemark projection list",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		p.configText("init", "Print a projection with comments, to begin with", "  tidemark projection init > airports.yaml", declared.Example),
		p.projectionCheck(), p.projectionTest(), p.projectionApply(), p.projectionList(), p.projectionShow(), p.projectionPause(), p.projectionResume(), p.projectionRemove(),
		p.configText("schema", "Print the JSON Schema of a projection, for editors", "  tidemark projection schema > projection.schema.json", declared.Schema))
	return cmd
}

func (p *program) projectionCheck() *cobra.Command {
	var sample string
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Say what is wrong with a projection, or what it makes of a sample",
		Long: `Read a projection and compile its expressions. Every mistake is printed at once, as file:line:column: code: message. A file without mistakes is
summed up. With --sample its documents are printed as well: the sample is a file of events, each as JSON with type, entity and data, one a line; what
"tidemark history -o json" prints will do. {"mark":"2001-02-01T00:00:00Z"} is a mark: it removes what has expired by then. Of a projection with a stream, the
sample is of its messages, each as JSON with subject, and if it has them headers, and data, text or data_base64. FILE and the sample may be - for stdin.

Exit codes: 0 valid, 2 invalid.`,
		Example: `  tidemark projection check airports.yaml
  tidemark projection check airports.yaml --sample events.ndjson
  tidemark history airport/ORD -o json | tidemark projection check airports.yaml --sample -`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p.began = true
			return p.checkProjection(args[0], sample)
		},
	}
	cmd.Flags().StringVar(&sample, "sample", "", "a file of events, to show the documents they become")
	return cmd
}

func (p *program) projectionTest() *cobra.Command {
	return &cobra.Command{
		Use:   "test FILE",
		Short: "Run the tests of a projection",
		Long: `Run the tests that stand in the file below tests, and those of the file beside it: airports_test.yaml of airports.yaml. Each gives events and the
documents that they must become.

Exit codes: 0 all pass, 1 one fails, 2 a file is invalid.`,
		Example: "  tidemark projection test airports.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p.began = true
			return p.testProjection(args[0])
		},
	}
}

// projectionReport is what projection check found.
type projectionReport struct {
	File      string              `json:"file"`
	Valid     bool                `json:"valid"`
	Findings  []declared.Finding  `json:"findings,omitempty"`
	Omitted   int                 `json:"omitted,omitempty"` // findings beyond what is reported at once
	Name      string              `json:"projection,omitempty"`
	Version   int                 `json:"version,omitempty"`
	Meaning   string              `json:"meaning,omitempty"`
	Stream    string              `json:"stream,omitempty"` // whose messages it is made of; empty: the log's events
	Fields    []projections.Field `json:"fields,omitempty"`
	Indexes   []projections.Index `json:"indexes,omitempty"`
	Expires   string              `json:"expires,omitempty"` // the field that says when a document expires
	Tests     int                 `json:"tests,omitempty"`
	Events    int                 `json:"events,omitempty"`
	Documents []sampleDocument    `json:"documents,omitempty"`
	Unrouted  []sampleUnrouted    `json:"unrouted,omitempty"`
}

type sampleDocument struct {
	Key      string         `json:"key"`
	Document query.Document `json:"document"`
	Parked   string         `json:"parked,omitempty"`
	ParkedAt uint64         `json:"parked_at,omitempty"`
}

type sampleUnrouted struct {
	Sequence uint64 `json:"sequence"`
	Reason   string `json:"reason"`
}

func (p *program) checkProjection(file, sample string) error {
	if file == "-" && sample == "-" {
		return events.Errorf(failure.ErrUsage, "the projection and the sample cannot both be read from stdin").Hint("Write one of them to a file.")
	}
	report := &projectionReport{File: file}
	projection, cases, err := p.readProjection(file)
	if err != nil {
		return p.mistaken(report, err)
	}
	d := projection.Definition()
	report.Valid, report.Name, report.Version, report.Fields = true, d.Name, d.Version, d.Fields
	report.Indexes, report.Expires = d.Indexes, d.Expires
	if d.Source != nil {
		report.Stream = d.Source.Stream
	}
	report.Meaning, report.Tests = projection.Meaning(), len(cases)
	if sample != "" {
		if err := p.takeSample(report, projection, sample); err != nil {
			return err
		}
	}
	return p.print(report, report.summary)
}

// mistaken prints the findings of an invalid file and returns the error of the command.
func (p *program) mistaken(report *projectionReport, err error) error {
	invalid, ok := errors.AsType[*declared.Invalid](err)
	if !ok {
		return err
	}
	report.File, report.Findings, report.Omitted = invalid.File, invalid.Findings, invalid.Omitted
	if err := p.print(report, report.mistakes); err != nil {
		return err
	}
	return events.Errorf(projections.ErrInvalidProjection, "%s has %s", report.File, display.Count(len(invalid.Findings)+invalid.Omitted, "mistake")).
		Hint("Mend what is named; nothing reads a file with mistakes.")
}

// readProjection reads a projection's file.
func (p *program) readProjection(file string) (*declared.Projection, []declared.Case, error) {
	text, err := p.wholeFile(file, declared.MaxBytes)
	if err != nil {
		return nil, nil, events.Errorf(failure.ErrUsage, "the projection cannot be read: %w", err).Hint("tidemark projection init prints one to begin with.")
	}
	return declared.Parse(file, text)
}

// wholeFile reads a file or stdin, at most one byte more than a bound.
func (p *program) wholeFile(name string, bound int64) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(p.in, bound+1))
	}
	f, err := os.Open(name) //nolint:gosec // the caller's own file
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(f, bound+1))
}

// takeSample folds the events of a file.
func (p *program) takeSample(report *projectionReport, projection *declared.Projection, name string) error {
	from := p.in
	if name != "-" {
		f, err := os.Open(name) //nolint:gosec // the caller's own file
		if err != nil {
			return events.Errorf(failure.ErrUsage, "the sample cannot be read: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		from = f
	}
	var bad error
	out := declared.Fold(projection, sampleOf(projection.Sample(from), &report.Events, &bad))
	if bad != nil {
		return bad
	}
	for _, d := range out.Documents {
		report.Documents = append(report.Documents, sampleDocument{d.Key, query.Document{Fields: out.Fields, Values: d.Values}, d.Parked, d.ParkedAt})
	}
	for _, u := range out.Unrouted {
		report.Unrouted = append(report.Unrouted, sampleUnrouted(u))
	}
	return nil
}

// sampleOf returns the events of a sample, counts them, and keeps the error that ends it.
func sampleOf(sample iter.Seq2[*events.Record, error], n *int, bad *error) iter.Seq[*events.Record] {
	return func(yield func(*events.Record) bool) {
		for r, err := range sample {
			if *bad = err; err != nil || !yield(r) {
				return
			}
			if r.Kind != events.KindControl { // a mark is no event
				*n++
			}
		}
	}
}

func (r *projectionReport) mistakes(w io.Writer) error {
	for _, f := range r.Findings {
		fmt.Fprintln(w, display.Text(f.String()))
	}
	if r.Omitted > 0 {
		fmt.Fprintf(w, "and %d more\n", r.Omitted)
	}
	return nil
}

func (r *projectionReport) summary(w io.Writer) error {
	fmt.Fprintf(w, "%s is valid: projection %s, version %d, %s, %s, meaning %s\n", display.Name(r.File), r.Name, r.Version,
		display.Count(len(r.Fields), "field"), display.Count(r.Tests, "test"), r.Meaning)
	if r.Stream != "" {
		fmt.Fprintf(w, "of the messages of the stream %s\n", display.Name(r.Stream))
	}
	for _, x := range r.Indexes {
		fmt.Fprintf(w, "index %s: %s\n", x.Name, strings.Join(x.Fields, ", "))
	}
	if r.Expires != "" {
		fmt.Fprintf(w, "documents expire at the first mark from %s on\n", r.Expires)
	}
	if r.Events == 0 {
		return nil
	}
	fmt.Fprintf(w, "the sample: %s, %s, %s unrouted\n", display.Count(r.Events, "event"),
		display.Count(len(r.Documents), "document"), display.Number(len(r.Unrouted)))
	head := []string{"KEY"}
	for _, f := range r.Fields {
		head = append(head, strings.ToUpper(f.Name))
	}
	columns(w, strings.Join(append(head, "PARKED"), "\t"), r.Documents, func(d sampleDocument) string {
		cells := []string{display.Name(d.Key)}
		for _, v := range d.Document.Values {
			cells = append(cells, display.Text(v))
		}
		parked := ""
		if d.Parked != "" {
			parked = fmt.Sprintf("at %d: %s", d.ParkedAt, display.Text(d.Parked))
		}
		return strings.Join(append(cells, parked), "\t")
	})
	columns(w, "UNROUTED\tREASON", r.Unrouted, func(u sampleUnrouted) string { return fmt.Sprintf("%d\t%s", u.Sequence, display.Text(u.Reason)) })
	return nil
}

// testReport is what projection test found.
type testReport struct {
	Tests  []testResult `json:"tests"`
	Failed int          `json:"failed"`
}

type testResult struct {
	File        string   `json:"file"`
	Line        int      `json:"line"`
	Name        string   `json:"name"`
	Passed      bool     `json:"passed"`
	Differences []string `json:"differences,omitempty"`
}

func (p *program) testProjection(file string) error {
	projection, cases, err := p.readProjection(file)
	if err != nil {
		return p.mistaken(&projectionReport{File: file}, err)
	}
	report := &testReport{}
	report.run(projection, file, cases)
	beside := testsBeside(file)
	switch text, err := p.wholeFile(beside, declared.MaxBytes); {
	case err == nil:
		if cases, err = declared.ParseCases(projection, beside, text); err != nil {
			return p.mistaken(&projectionReport{File: beside}, err)
		}
		report.run(projection, beside, cases)
	case !errors.Is(err, os.ErrNotExist):
		return events.Errorf(failure.ErrUsage, "the tests cannot be read: %w", err)
	}
	if len(report.Tests) == 0 {
		return events.Errorf(failure.ErrUsage, "%s has no tests, and there is no %s", file, beside).
			Hint("Write them below tests: tidemark projection init shows some.")
	}
	if err := p.print(report, report.table); err != nil || report.Failed == 0 {
		return err
	}
	return events.Errorf(declared.ErrTestFailed, "%d of %s failed", report.Failed, display.Count(len(report.Tests), "test")).
		Hint("The differences are listed above; mend the projection, or what the test expects.")
}

// testsBeside returns the name of the file of tests beside a projection's.
func testsBeside(file string) string {
	ext := filepath.Ext(file)
	return strings.TrimSuffix(file, ext) + "_test" + ext
}

func (r *testReport) run(projection *declared.Projection, file string, cases []declared.Case) {
	for _, c := range cases {
		differences := c.Run(projection)
		r.Tests = append(r.Tests, testResult{file, c.Line, c.Name, len(differences) == 0, differences})
		if len(differences) > 0 {
			r.Failed++
		}
	}
}

func (r *testReport) table(w io.Writer) error {
	for _, t := range r.Tests {
		verdict := "ok    "
		if !t.Passed {
			verdict = "failed"
		}
		fmt.Fprintf(w, "%s  %s:%d  %s\n", verdict, display.Name(t.File), t.Line, display.Text(t.Name))
		for _, d := range t.Differences {
			fmt.Fprintln(w, "        "+display.Text(d))
		}
	}
	_, err := fmt.Fprintf(w, "%s, %s failed\n", display.Count(len(r.Tests), "test"), display.Number(r.Failed))
	return err
}
