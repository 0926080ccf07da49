package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/topology"
	"tidemark.dev/infra/topology/probe"
	"tidemark.dev/services/internal/display"
)

// configCommand is the parent of the commands about the topology file.
func (p *program) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Check the topology file, or print an example of one",
		Long:    "The topology file, tidemark.yaml, says which regions exist, where their servers are, and which of them accepts writes.",
		Example: "  tidemark config init > tidemark.yaml\n  tidemark config check\n  tidemark config check --connect",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.configCheck(),
		p.configText("init", "Print a topology file with comments, to begin with", "  tidemark config init > tidemark.yaml", topology.Example),
		p.configText("schema", "Print the JSON Schema of the topology file, for editors", "  tidemark config schema > tidemark.schema.json", topology.Schema))
	return cmd
}

func (p *program) configText(name, short, example string, text func() string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Example: example, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			p.began = true
			_, err := io.WriteString(p.out, text())
			return err
		},
	}
}

// configChoices are the flags of config check.
type configChoices struct{ connect, explain bool }

func (p *program) configCheck() *cobra.Command {
	var choices configChoices
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say what is wrong with the topology file, or what it says",
		Long: `Read the topology file and the variables that override its keys. Every mistake is printed at once, as file:line:column: code: message. A file
without mistakes is summed up: regions, servers, and where each secret comes from, never the secret.

FILE is --config, $` + topology.FileVariable + ` or ./` + topology.DefaultFile + ` when it is left out. Exit codes: 0 valid, 2 invalid, 3 with --connect: a server does
not answer, refuses the credentials, or is not what the file says.`,
		Example: `  tidemark config check
  tidemark config check /etc/tidemark.yaml --connect
  tidemark config check --explain
  tidemark config check -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.began = true
			file := ""
			if len(args) == 1 {
				file = args[0]
			}
			return p.checkConfig(cmd.Context(), cmp.Or(file, p.config), topology.Environment(os.Environ()), choices)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&choices.connect, "connect", false, "also try every server; nothing is written")
	flags.BoolVar(&choices.explain, "explain", false, "list every key: its value, where that is from, and the variable that overrides it")
	return cmd
}

// configReport is what config check found.
type configReport struct {
	File     string             `json:"file"`
	Valid    bool               `json:"valid"`
	Findings []topology.Finding `json:"findings,omitempty"`
	Omitted  int                `json:"omitted,omitempty"` // findings beyond what is reported at once
	Topology *topology.Topology `json:"topology,omitempty"`
	Secrets  []secretReport     `json:"secrets,omitempty"`
	Settings []topology.Setting `json:"settings,omitempty"`
	Servers  []probe.Result     `json:"servers,omitempty"`
}

// secretReport says where a secret comes from, and whether it can be read here.
type secretReport struct {
	Key      string `json:"key"`
	From     string `json:"from"`
	Readable bool   `json:"readable"`
	Message  string `json:"message,omitempty"` // why it cannot be read
}

func (p *program) checkConfig(ctx context.Context, file string, env topology.Environment, choices configChoices) error {
	report := configReport{File: cmp.Or(file, topology.FilePath(env))}
	t, err := topology.Load(report.File, env)
	if invalid, ok := errors.AsType[*topology.Invalid](err); ok {
		report.Findings, report.Omitted = invalid.Findings, invalid.Omitted
		if err := p.print(&report, report.mistakes); err != nil {
			return err
		}
		return events.Errorf(topology.ErrInvalid, "%s has %s", report.File, display.Count(len(invalid.Findings)+invalid.Omitted, "mistake")).
			Hint("Mend what is named; nothing reads a file with mistakes.")
	}
	if err != nil {
		return err
	}
	report.Valid, report.Topology, report.Secrets = true, t, secretsOf(t, env)
	if choices.explain {
		report.Settings = t.Settings()
	}
	if choices.connect {
		report.Servers = probe.Servers(ctx, t, env, min(p.timeout, probe.DefaultTimeout))
	}
	if err := p.print(&report, report.summary); err != nil {
		return err
	}
	return unfit(report.Servers)
}

// secretsOf says of each secret whether it can be read here.
func secretsOf(t *topology.Topology, env topology.Environment) []secretReport {
	var all []secretReport
	for _, r := range t.Regions {
		for _, s := range []struct {
			key    string
			secret topology.Secret
		}{{"nats.password", r.NATS.Password}, {"nats.creds", r.NATS.Creds}, {"redis.password", r.Redis.Password}} {
			if s.secret.IsZero() {
				continue
			}
			report := secretReport{Key: "regions." + r.Name + "." + s.key, From: s.secret.String(), Readable: true}
			if _, err := s.secret.Resolve(env); err != nil {
				report.Readable, report.Message = false, err.Error()
				if e, ok := errors.AsType[*events.Error](err); ok {
					report.Message = e.What
				}
			}
			all = append(all, report)
		}
	}
	return all
}

// unfit returns an error when a server cannot be used. One that does not answer decides its code.
func unfit(servers []probe.Result) error {
	var bad []string
	var code events.Code
	for _, s := range servers {
		if s.OK {
			continue
		}
		bad = append(bad, s.Kind+" of "+s.Region+" at "+s.Address)
		if code == "" || s.Code == events.ErrUnreachable {
			code = s.Code
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return events.Errorf(code, "%d of %s cannot be used: %s", len(bad), display.Count(len(servers), "server"), strings.Join(bad, ", ")).
		Hint("The list above says why, and what to do.")
}

func (c *configReport) mistakes(w io.Writer) error {
	for _, f := range c.Findings {
		fmt.Fprintln(w, display.Text(f.String()))
	}
	if c.Omitted > 0 {
		fmt.Fprintf(w, "and %d more\n", c.Omitted)
	}
	return nil
}

func (c *configReport) summary(w io.Writer) error {
	origin := c.Topology.Origin()
	fmt.Fprintf(w, "%s is valid: %s, origin %s is led by %s\n", display.Name(c.File), display.Count(len(c.Topology.Regions), "region"), origin.Name, origin.Leader)
	columns(w, "REGION\tROLE\tNATS\tDOMAIN\tREPLICAS\tREDIS\tHTTP", c.Topology.Regions, func(r topology.Region) string {
		role, redis := "mirrors "+origin.Name, strings.Join(r.Redis.Addresses, " ")
		if r.Name == origin.Leader {
			role = "leads " + origin.Name
		}
		if r.Redis.Cluster {
			redis += " (cluster)"
		}
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%d\t%s\t%s", r.Name, role, strings.Join(r.NATS.URLs, " "), r.NATS.Domain, r.NATS.Replicas, redis, cmp.Or(r.HTTP, "-"))
	})
	columns(w, "SECRET\tFROM\tHERE", c.Secrets, func(s secretReport) string {
		return s.Key + "\t" + display.Name(s.From) + "\t" + cmp.Or(display.Text(s.Message), "readable")
	})
	columns(w, "KEY\tVALUE\tFROM\tVARIABLE", c.Settings, func(s topology.Setting) string {
		return s.Key + "\t" + display.Name(cmp.Or(s.Value, "-")) + "\t" + display.Name(s.From) + "\t" + s.Variable
	})
	if len(c.Settings) > 0 {
		fmt.Fprintln(w, "\nLists are written with commas. The variable of a secret holds the secret itself; the same name with _FILE behind it, the path of a file.")
	}
	columns(w, "SERVER OF\tKIND\tADDRESS\tRESULT", c.Servers, func(s probe.Result) string {
		result := "ok: " + s.Found
		if !s.OK {
			result = string(s.Code) + ": " + strings.TrimRight(s.Message, ".") + ". " + s.Next
		}
		return s.Region + "\t" + s.Kind + "\t" + s.Address + "\t" + display.Text(result)
	})
	return nil
}

// columns writes a table behind an empty line; of nothing, nothing.
func columns[T any](w io.Writer, head string, rows []T, row func(T) string) {
	if len(rows) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\n"+head)
	for _, r := range rows {
		fmt.Fprintln(t, row(r))
	}
	_ = t.Flush() // what cannot be written to standard output cannot be told there either
}
