package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/infra/region"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/parts"
	"tidemark.dev/services/internal/service"
	"tidemark.dev/services/internal/up"
)

const defaultHTTP = "127.0.0.1:7070"

func (p *program) up() *cobra.Command {
	var http, level, format, names string
	var keep bool
	var from []string
	kept, envErr := parts.ProjectorOptions(os.Getenv)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run regions on this machine until Ctrl-C",
		Long: `Run regions: each with its copy of the log, its read models, the projectors of the flights example, and the HTTP API. The first one leads the log, the
others mirror it over links of their own. Everything is kept in the data directory; a second start continues where the first one ended.

Each region has a NATS server inside this process, and a private redis-server if one is installed, an in-memory one otherwise. With --config, or --nats and
--redis, one region of running servers is run instead: --region says which.`,
		Example: `  tidemark up
  tidemark up --regions us --dir ./data --http 127.0.0.1:0
  tidemark up --regions us,eu --log-from eu=120000
  tidemark up --config tidemark.yaml --region eu`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if envErr != nil {
				return envErr
			}
			if kept.Keep < 0 || kept.SnapshotInterval < 0 || kept.SnapshotCount < 1 {
				return events.Errorf(failure.ErrUsage, "--rollback-window and --snapshot-interval are 0 or longer, and --snapshot-count is 1 or more")
			}
			logger, err := service.Logger(p.err, level, format)
			if err != nil {
				return err
			}
			configs, err := p.regions(names, from, http, cmd.Flags().Changed)
			if err != nil {
				return err
			}
			for i := range configs {
				configs[i].Region.Logger = logger
				configs[i].Reconciler.KeepWrong, configs[i].Projector = keep, kept
			}
			return p.serve(cmd.Context(), configs)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&names, "regions", defaultRegions, "names of the regions, joined by commas; the first one leads")
	flags.StringSliceVar(&from, "log-from", nil, "`REGION=SEQUENCE`: a region that mirrors the log copies it from there on, when its copy is made; what is below is read from the leader")
	flags.StringVar(&http, "http", defaultHTTP, "address of the first region's HTTP API, counted up for the others; port 0 takes free ones; empty: none")
	flags.BoolVar(&keep, "keep-wrong", false, "find what is stored and not as the log says, and leave it so: tidemark repair puts it right")
	flags.DurationVar(&kept.Keep, "rollback-window", kept.Keep, "how long the generation before goes on being followed after a replay; 0: it is dropped at once")
	flags.DurationVar(&kept.SnapshotInterval, "snapshot-interval", kept.SnapshotInterval, "how often a snapshot of each read model is taken, the first a minute after it is live; 0: only when one is asked for")
	flags.IntVar(&kept.SnapshotCount, "snapshot-count", kept.SnapshotCount, "how many snapshots of each version are kept")
	flags.StringVar(&level, "log-level", "warn", "debug, info, warn or error; the log goes to stderr")
	flags.StringVar(&format, "log-format", "text", "text or json")
	return cmd
}

// regions returns what up has to run.
func (p *program) regions(names string, from []string, http string, given func(flag string) bool) ([]up.Config, error) {
	base := up.Config{HTTP: http, Announce: true}
	if p.config == "" && p.nats == "" {
		if given("region") {
			return nil, events.Errorf(failure.ErrUsage, "--region chooses one of several running regions; up runs those of --regions").
				Hint("For this one alone: %s up --regions %s", p.self, p.region)
		}
		base.Region = region.Config{DataDir: p.dir, Redis: cmp.Or(p.redis, "auto")}
		configs, err := up.Regions(strings.Split(names, ","), base)
		if err != nil {
			return nil, err
		}
		return configs, beginLater(configs, from)
	}
	if given("regions") {
		return nil, events.Errorf(failure.ErrUsage, "--regions names embedded regions; of running servers --region names one")
	}
	c, err := p.running()
	if err != nil {
		return nil, err
	}
	base.Announce = p.config == "" // who uses a topology file names it; its secrets are not copied
	base.Region = c
	base.Region.Role, base.Region.DataDir = region.Whole, filepath.Join(p.dir, c.Name)
	configs := []up.Config{base}
	return configs, beginLater(configs, from)
}

// beginLater reads REGION=SEQUENCE, of regions whose copy of the log is to begin later.
func beginLater(configs []up.Config, from []string) error {
	all := make(map[string]uint64, len(from))
	for _, text := range from {
		name, number, _ := strings.Cut(text, "=")
		seq, err := strconv.ParseUint(number, 10, 64)
		if err != nil || seq == 0 || events.ValidateOrigin(name) != nil || all[name] != 0 {
			return events.Errorf(failure.ErrUsage, "--log-from %q does not say with which sequence the copy of a region begins; nothing was started", text).
				Hint("Write REGION=SEQUENCE, each region once: --log-from eu=120000. The first sequence is 1.")
		}
		all[name] = seq
	}
	return up.BeginLater(configs, all)
}

// running returns the region of running servers.
func (p *program) running() (region.Config, error) {
	if p.nats == "" {
		return p.configured(region.Whole)
	}
	if p.redis == "" {
		p.redis = "auto"
	}
	return p.named()
}

func (p *program) serve(ctx context.Context, configs []up.Config) error {
	fleet, cleanup, err := up.Open(ctx, configs)
	if err != nil {
		return err
	}
	defer cleanup()
	if err := fleet.Run(ctx, func() error { return p.welcome(fleet) }); err != nil {
		return err
	}
	p.note("stopped; everything is kept, and the next start continues here")
	return nil
}

// welcomed is what up prints as JSON for each region. It holds no secrets.
type welcomed struct {
	Region string   `json:"region"`
	Leader string   `json:"leader"`
	HTTP   string   `json:"http,omitempty"`
	NATS   string   `json:"nats"`
	User   string   `json:"nats_user,omitempty"`
	Redis  string   `json:"redis"`
	Dir    string   `json:"dir"`
	PID    int      `json:"pid"`
	Notes  []string `json:"notes,omitempty"`
}

func welcomeOf(app *up.App) welcomed {
	r, address := app.Region(), app.Address()
	w := welcomed{
		Region: r.Name(), Leader: r.Leader(), HTTP: address.HTTP, NATS: bare(address.NATS), User: address.User, Redis: r.RedisHint(), Dir: app.Dir(),
		PID: address.PID, Notes: r.Notes(),
	}
	if app.Public() {
		w.Notes = append(w.Notes, "the HTTP API has no users and no passwords, and other machines can reach it: whoever does can read and write everything")
	}
	return w
}

func (p *program) welcome(fleet *up.Fleet) error {
	all := struct {
		Regions []welcomed `json:"regions"`
	}{}
	for _, app := range fleet.Apps() {
		all.Regions = append(all.Regions, welcomeOf(app))
	}
	return p.print(all, func(out io.Writer) error { return p.greet(out, all.Regions) })
}

func (p *program) greet(out io.Writer, all []welcomed) error {
	var notes []string
	for i := range all {
		w := &all[i]
		place := "leads the log"
		if w.Leader != w.Region {
			place = "mirrors the log of " + w.Leader
		}
		fmt.Fprintf(out, "Region %s is up: it %s.\n\n", w.Region, place)
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		if w.HTTP != "" {
			fmt.Fprintf(t, "  HTTP\t%s\n", w.HTTP)
		}
		fmt.Fprintf(t, "  NATS\t%s", w.NATS)
		if w.User != "" {
			fmt.Fprintf(t, "  (user %s, password in %s)", w.User, filepath.Join(w.Dir, "region.json"))
		}
		fmt.Fprintf(t, "\n  Redis\t%s\n  data\t%s\n\n", w.Redis, w.Dir)
		if err := t.Flush(); err != nil {
			return err
		}
		for _, note := range w.Notes {
			if !slices.Contains(notes, note) {
				notes = append(notes, note)
			}
		}
	}
	for _, note := range notes {
		fmt.Fprintf(out, "  Note: %s\n\n", note)
	}
	return p.suggest(out, all)
}

// suggest writes what to try next.
func (p *program) suggest(out io.Writer, all []welcomed) error {
	self := p.self
	if p.config != "" {
		self += " --config " + p.config
	} else if flag := p.dirFlag(p.dir); flag != "" {
		self += " " + flag
	}
	last := all[len(all)-1]
	where := ""
	if len(all) > 1 || p.config != "" {
		where = " --region " + last.Region
	}
	fmt.Fprintf(out, `Try in another terminal:

  %[1]s publish airport/ORD FlightDeparted --data '{"date":"2001/01/01 00:47","delay":5,"distance":1521,"origin":"ORD","destination":"LAS"}'
  %[1]s get airports ORD%[2]s
  %[1]s status%[2]s
`, self, where)
	if last.HTTP != "" {
		fmt.Fprintf(out, "  curl %s/v1/models/airports/ORD\n", last.HTTP)
	}
	_, err := fmt.Fprintln(out, "\nCtrl-C stops it.")
	return err
}

// dirFlag returns the flag that another command needs to find this region.
func (p *program) dirFlag(dir string) string {
	if dir == client.DefaultDir() {
		return ""
	}
	if strings.Trim(dir, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+") != "" {
		dir = "'" + strings.ReplaceAll(dir, "'", `'\''`) + "'"
	}
	return "--dir " + dir
}

// bare returns an address, or several joined by commas, without credentials.
func bare(address string) string {
	var all []string
	for one := range strings.SplitSeq(address, ",") {
		u, err := url.Parse(one)
		if err != nil || u.Host == "" {
			return "(hidden)"
		}
		u.User = nil
		all = append(all, u.String())
	}
	return strings.Join(all, ",")
}
