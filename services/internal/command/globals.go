package command

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/topology"
	"tidemark.dev/projections"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/service"
)

const (
	outputTable = "table"
	outputJSON  = "json"
	// passwordVariable, not a flag: flags are seen by every user of the machine.
	passwordVariable = "TIDEMARK_NATS_PASSWORD" //nolint:gosec // a name
	defaultRegions   = "us,eu,ap"
	defaultTimeout   = 30 * time.Second
	defaultSource    = "urn:tidemark:cli"
)

// globals are the flags of every command.
type globals struct {
	dir, config, nats, natsUser, redis, region, leader, output string
	timeout                                                    time.Duration
}

func (g *globals) register(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&g.region, "region", os.Getenv(service.EnvRegion), "the region to use (default the one that leads the log, or $"+service.EnvRegion+")")
	flags.StringVar(&g.dir, "dir", client.DefaultDir(), "data directory of the regions on this machine (or $TIDEMARK_DIR)")
	flags.StringVar(&g.config, "config", os.Getenv(topology.FileVariable), "topology file of regions of running servers (or $"+topology.FileVariable+")")
	flags.StringVar(&g.nats, "nats", "", "URL of a running NATS server, instead of a region on this machine")
	flags.StringVar(&g.natsUser, "nats-user", "", "user for --nats; the password is read from $"+passwordVariable)
	flags.StringVar(&g.redis, "redis", "", "address of a running Redis, beside --nats; for up also auto, server or mini")
	flags.StringVar(&g.leader, "leader", "", "with --nats: the region that leads the log (default --region itself)")
	flags.StringVarP(&g.output, "output", "o", outputTable, "table or json")
	flags.DurationVar(&g.timeout, "timeout", defaultTimeout, "how long to wait for the servers to answer")
}

// check refuses values of the global flags that no command can use.
func (g *globals) check(given func(flag string) bool) error {
	switch {
	case g.output != outputTable && g.output != outputJSON:
		bad := g.output
		g.output = outputTable
		return events.Errorf(failure.ErrUsage, "%q is not an output format", bad).Hint("Use -o table or -o json.")
	case g.timeout <= 0:
		return events.Errorf(failure.ErrUsage, "a timeout of %s is not above 0", g.timeout)
	case g.dir == "":
		return events.Errorf(failure.ErrUsage, "the data directory is empty").Hint("Leave --dir and $TIDEMARK_DIR out to use the default.")
	case g.natsUser != "" && g.nats == "":
		return events.Errorf(failure.ErrUsage, "--nats-user is for a server that --nats names")
	case g.leader != "" && g.nats == "":
		return events.Errorf(failure.ErrUsage, "--leader is for a server that --nats names")
	case g.nats != "" && given("config"):
		return events.Errorf(failure.ErrUsage, "--config and --nats both say where the servers are").Hint("Use one of them.")
	case g.nats != "" && g.region == "":
		return events.Errorf(failure.ErrUsage, "--nats names a server, and it is not said of which region").Hint("Add --region NAME, and --leader NAME where another region leads.")
	}
	return nil
}

// connect finds the region and connects to it. The caller closes the client.
func (p *program) connect(ctx context.Context) (*client.Client, error) {
	c, pid, err := p.find()
	if err != nil {
		return nil, err
	}
	ctx, cancel := p.bounded(ctx, 0)
	defer cancel()
	r, err := region.Open(ctx, c)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, errors.Join(context.Cause(ctx), err)
	case errors.Is(err, events.ErrUnreachable) && pid != 0:
		return nil, p.silent(pid, err)
	case err != nil:
		return nil, err
	}
	return client.New(r, defaultSource), nil
}

// find returns how to use the region: the one the flags name, the one of the topology file, or the one that runs on the data directory, and then
// the process that runs it.
func (p *program) find() (c region.Config, pid int, err error) {
	switch {
	case p.nats != "":
		c, err = p.named()
	case p.config != "":
		c, err = p.configured(region.Client)
	default:
		var a region.Address
		if a, err = region.Find(p.dir, p.region); err == nil {
			c, pid = a.Config(), a.PID
		}
	}
	c.Logger = slog.New(slog.DiscardHandler)
	return c, pid, err
}

// named returns the region of the servers that flags name.
func (p *program) named() (region.Config, error) {
	if p.redis == "" {
		return region.Config{}, events.Errorf(failure.ErrUsage, "--nats names a running server, and there is no --redis beside it").
			Hint("Add --redis ADDRESS.")
	}
	return region.Address{
		Region: p.region, Leader: p.leader, NATS: p.nats, User: p.natsUser, Password: os.Getenv(passwordVariable), Redis: p.redis,
	}.Config(), nil
}

// configured returns the region of the topology file: the one that is named, or the one that leads the log.
func (p *program) configured(role region.Role) (region.Config, error) {
	env := topology.Environment(os.Environ())
	t, err := topology.Load(p.config, env)
	if err != nil {
		return region.Config{}, err
	}
	return region.Of(t, cmp.Or(p.region, t.Leader().Name), role, env)
}

// silent says what is known about a region of this machine that does not answer.
func (p *program) silent(pid int, err error) error {
	if !region.Alive(pid) {
		return events.Errorf(region.ErrNotRunning, "the region in %s does not run any more: its process %d ended without a word", p.dir, pid).
			Hint("Start it again with %s up.", p.self)
	}
	return events.Errorf(events.ErrUnreachable, "the region in %s, run by process %d, does not answer: %w", p.dir, pid, err).
		Hint("See what that process says, or stop it and start it again with %s up.", p.self)
}

// self is how a person calls this program: as they just did, or the way that compiles it first.
func self() string {
	path, err := os.Executable()
	if err == nil && strings.Contains(path, string(filepath.Separator)+"go-build") {
		return "go run ./services/tidemark"
	}
	return display.Name(os.Args[0])
}

// completionPatience bounds how long a person who is typing waits.
const completionPatience = 2 * time.Second

// copyNames completes the name of a copy of the projection that is named already.
func (p *program) copyNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	c, err := p.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close() //nolint:errcheck // the command is over
	pointer, _, err := projections.ReadPointer(ctx, c.Region().KV(), args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for i := range pointer.Copies {
		one := &pointer.Copies[i]
		names = append(names, one.Name+"\t"+one.Position)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// projectionNames completes the name of a projection. What goes wrong is no reason to disturb a person who is typing.
func (p *program) projectionNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	c, err := p.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close() //nolint:errcheck // the command is over
	names, err := c.Reader().Projections(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
