package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/infra/region"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/up"
)

const defaultHTTP = "127.0.0.1:7070"

func (p *program) up() *cobra.Command {
	var http, level, format string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a region on this machine until Ctrl-C",
		Long: `Run a region: its log, its read models, the projectors of the flights example, and the HTTP API. Everything is kept in the data
directory; a second start continues where the first one ended.

Without --nats a NATS server runs inside this process. Without --redis a private redis-server is started if one is installed, and an
in-memory one otherwise. With --nats and --redis the region is made of running servers; the password is read from $` + passwordVariable + `.`,
		Example: `  tidemark up
  tidemark up --dir ./data --http 127.0.0.1:0
  tidemark up --region eu --nats nats://nats.internal:4222 --nats-user tidemark --redis redis://redis.internal:6379`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := p.logger(level, format)
			if err != nil {
				return err
			}
			redis := p.redis
			if redis == "" {
				redis = "auto"
			}
			return p.serve(cmd.Context(), up.Config{
				Region: region.Config{
					Name: p.region, DataDir: p.dir, NATS: p.nats, User: p.natsUser, Password: os.Getenv(passwordVariable), Redis: redis,
					Logger: logger,
				},
				HTTP: http, Announce: true,
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&http, "http", defaultHTTP, "address of the HTTP API; port 0 takes a free one; empty: none")
	flags.StringVar(&level, "log-level", "warn", "debug, info, warn or error; the log goes to stderr")
	flags.StringVar(&format, "log-format", "text", "text or json")
	return cmd
}

func (p *program) logger(level, format string) (*slog.Logger, error) {
	var o slog.HandlerOptions
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, events.Errorf(failure.ErrUsage, "%q is not a level of the log", level).Hint("Use debug, info, warn or error.")
	}
	o.Level = l
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(p.err, &o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(p.err, &o)), nil
	}
	return nil, events.Errorf(failure.ErrUsage, "%q is not a format of the log", format).Hint("Use text or json.")
}

func (p *program) serve(ctx context.Context, c up.Config) error {
	app, cleanup, err := up.New(ctx, c)
	if err != nil {
		return err
	}
	defer cleanup()
	if err := app.Run(ctx, func() error { return p.welcome(app, c.Region.DataDir) }); err != nil {
		return err
	}
	p.note("stopped; everything is kept, and the next start continues here")
	return nil
}

// welcomed is what up prints as JSON. It holds no secrets.
type welcomed struct {
	Region string   `json:"region"`
	HTTP   string   `json:"http,omitempty"`
	NATS   string   `json:"nats"`
	User   string   `json:"nats_user,omitempty"`
	Redis  string   `json:"redis"`
	Dir    string   `json:"dir"`
	PID    int      `json:"pid"`
	Notes  []string `json:"notes,omitempty"`
}

func (p *program) welcome(app *up.App, dir string) error {
	r, address := app.Region(), app.Address()
	w := welcomed{
		Region: r.Name(), HTTP: address.HTTP, NATS: bare(address.NATS), User: address.User, Redis: r.RedisHint(), Dir: dir, PID: address.PID, Notes: r.Notes(),
	}
	if app.Public() {
		w.Notes = append(w.Notes, "the HTTP API has no users and no passwords, and other machines can reach it: whoever does can read and write everything")
	}
	return p.print(w, func(out io.Writer) error {
		fmt.Fprintf(out, "Region %s is up.\n\n", w.Region)
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		if w.HTTP != "" {
			fmt.Fprintf(t, "  HTTP\t%s\n", w.HTTP)
		}
		fmt.Fprintf(t, "  NATS\t%s", w.NATS)
		if w.User != "" {
			fmt.Fprintf(t, "  (user %s, password in %s)", w.User, filepath.Join(dir, "region.json"))
		}
		fmt.Fprintf(t, "\n  Redis\t%s\n  data\t%s\n", w.Redis, w.Dir)
		if err := t.Flush(); err != nil {
			return err
		}
		for _, note := range w.Notes {
			fmt.Fprintf(out, "\n  Note: %s\n", note)
		}
		self := p.self
		if flag := p.dirFlag(dir); flag != "" {
			self += " " + flag
		}
		fmt.Fprintf(out, `
Try in another terminal:

  %[1]s publish airport/ORD FlightDeparted --data '{"date":"2001/01/01 00:47","delay":5,"distance":1521,"origin":"ORD","destination":"LAS"}'
  %[1]s get airports ORD
  %[1]s status
`, self)
		if w.HTTP != "" {
			fmt.Fprintf(out, "  curl %s/v1/models/airports/ORD\n", w.HTTP)
		}
		_, err := fmt.Fprintln(out, "\nCtrl-C stops it.")
		return err
	})
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

// bare returns a URL without its credentials.
func bare(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(hidden)"
	}
	u.User = nil
	return u.String()
}
