package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// program is one invocation of the command line.
type program struct {
	in       io.Reader
	out, err io.Writer
	self     string // how a person calls this program
	globals
	began bool // a command's own code was reached
}

// Run executes a command line and returns its exit code. It returns when ctx ends, as soon as the command has cleaned up.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{in: stdin, out: stdout, err: stderr, self: self()}
	root := p.root() //nolint:contextcheck // cobra hands the context to each command
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return failure.ExitDone
	}
	err = p.classify(ctx, cmd, err)
	p.tell(err)
	return failure.ExitCode(err)
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tidemark",
		Short: "Keeps read models equal to one ordered history of events",
		Long: `Tidemark appends domain events to a log and projects them into read models that can be queried, proven and rebuilt.

Start a region with "tidemark up", or see it work with "tidemark demo". The other commands find a running region by themselves.

Exit codes: 0 done, 1 a condition is not met (a conflict, no such document, a position not reached), 2 bad input,
3 a server does not answer or the outcome is not known.`,
		Example: `  tidemark demo
  tidemark up
  tidemark publish airport/ORD FlightDeparted --data '{"date":"2001/01/01 00:47","delay":5}'
  tidemark get airports ORD
  tidemark status
  tidemark verify`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if name := cmd.Name(); cmd.Flags().Changed("redis") && p.nats == "" && name != "up" && name != "demo" {
				return events.Errorf(failure.ErrUsage, "--redis is for a region that --nats names, and for up and demo; this region has its own")
			}
			return p.check(cmd.Flags().Changed)
		},
	}
	p.register(root)
	root.AddGroup(
		&cobra.Group{ID: "region", Title: "Run a region:"},
		&cobra.Group{ID: "data", Title: "Publish and query:"},
		&cobra.Group{ID: "operate", Title: "Operate:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			run := c.RunE
			c.RunE = func(cmd *cobra.Command, args []string) error {
				p.began = true
				return run(cmd, args)
			}
			root.AddCommand(c)
		}
	}
	add("region", p.demo(), p.up())
	add("data", p.publish(), p.importFile(), p.get(), p.list(), p.count(), p.watch(), p.history())
	add("operate", p.status(), p.verify(), p.repair(), p.findings(), p.auditCommand(), p.replay(), p.snapshotCommand(), p.parkedCommand(), p.configCommand(), p.projectionCommand())
	add("", p.version())
	_ = root.RegisterFlagCompletionFunc("region", p.regionNames)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return root
}

// classify gives a code to errors that have none: what cobra finds wrong before a command begins is bad usage.
func (p *program) classify(ctx context.Context, cmd *cobra.Command, err error) error {
	if _, coded := events.CodeOf(err); coded {
		return err
	}
	if !p.began {
		return events.Errorf(failure.ErrUsage, "%s", strings.Join(strings.Fields(err.Error()), " ")).
			Hint("Usage: %s. More with %s --help.", cmd.UseLine(), cmd.CommandPath())
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return events.Errorf(failure.ErrInterrupted, "a signal ended the command before its result was known")
	}
	return err
}

// tell writes an error to stderr.
func (p *program) tell(err error) {
	report := failure.Tell(err)
	if p.output == outputJSON {
		_ = json.NewEncoder(p.err).Encode(map[string]failure.Report{"error": report})
		return
	}
	fmt.Fprintln(p.err, display.Text(report.String()))
}

// note writes a remark to stderr, unless machines read it.
func (p *program) note(format string, args ...any) {
	if p.output != outputJSON {
		fmt.Fprintln(p.err, display.Text(fmt.Sprintf(format, args...)))
	}
}

// print writes a result as JSON, or has it written as text.
func (p *program) print(v any, table func(w io.Writer) error) error {
	if p.output == outputJSON {
		encoder := json.NewEncoder(p.out)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(v)
	}
	return table(p.out)
}

// bounded returns a context for a command that asks once.
func (p *program) bounded(ctx context.Context, more time.Duration) (context.Context, context.CancelFunc) {
	patience := p.timeout + more
	return context.WithTimeoutCause(ctx, patience, events.Errorf(failure.ErrTimedOut, "there was no answer within %s", patience).
		Hint("Try again, or with a larger --timeout."))
}
