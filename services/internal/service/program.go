package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/httpapi"
)

// The environment variables of a service; each is the default of a flag.
const (
	EnvConfig    = "TIDEMARK_CONFIG"
	EnvRegion    = "TIDEMARK_REGION"
	EnvHTTP      = "TIDEMARK_HTTP"
	EnvLogLevel  = "TIDEMARK_LOG_LEVEL"
	EnvLogFormat = "TIDEMARK_LOG_FORMAT"
)

const (
	defaultConfig = "tidemark.yaml"
	defaultHTTP   = "127.0.0.1:7070"
	// probePatience bounds a health check.
	probePatience = 3 * time.Second
	maxProbe      = 64 << 10 // bytes
)

// Settings are what a service is told.
type Settings struct {
	// Name of the service.
	Name string
	// Config is the topology file, Region the one of its regions that the service is for.
	Config, Region string
	// Address is where it answers.
	Address net.Addr
	Logger  *slog.Logger
}

// Main is the main function of a service: flags, signals, exit code. A second signal ends the process at once.
func Main(name, short string, open func(context.Context, Settings) (Part, func(), error)) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	region.QuietClients()
	os.Exit(Execute(ctx, name, short, os.Args[1:], os.Stdout, os.Stderr, open))
}

// Execute runs the command line of a service and returns its exit code.
func Execute(ctx context.Context, name, short string, args []string, stdout, stderr io.Writer, open func(context.Context, Settings) (Part, func(), error)) int {
	began := false
	root := command(name, short, func(ctx context.Context, s Settings, http string) error { //nolint:contextcheck // cobra hands the context to each command
		began = true
		l, err := httpapi.Listen(ctx, http)
		if err != nil {
			return err
		}
		s.Address = l.Addr()
		return New(name, l, func(ctx context.Context) (Part, func(), error) { return open(ctx, s) }, s.Logger.With("region", s.Region)).Run(ctx)
	}, &began)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return failure.ExitDone
	}
	if _, coded := events.CodeOf(err); !coded && !began {
		err = events.Errorf(failure.ErrUsage, "%s", strings.Join(strings.Fields(err.Error()), " ")).Hint("See %s --help.", name)
	}
	fmt.Fprintln(stderr, strings.Replace(failure.Tell(err).String(), "tidemark: ", name+": ", 1))
	return failure.ExitCode(err)
}

func command(name, short string, run func(context.Context, Settings, string) error, began *bool) *cobra.Command {
	var s Settings
	var http, level, format string
	root := &cobra.Command{
		Use:   name,
		Short: short,
		Long: short + `.

It reads the topology file and works for one of its regions, until SIGTERM. Its servers may start before or after it: it says what it waits for. It answers
GET /healthz (the process is alive), /readyz (it does its work, or what is missing), and /metrics.

Exit codes: 0 ended as told, 2 bad settings, 3 a server refused it or it could not go on.`,
		Example:       fmt.Sprintf("  %s --config tidemark.yaml --region us --http 127.0.0.1:7070\n  %s healthcheck", name, name),
		SilenceErrors: true, SilenceUsage: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			s.Name = name
			if s.Region == "" {
				return events.Errorf(failure.ErrUsage, "which region the %s works for is not said", name).Hint("Add --region, or set $%s.", EnvRegion)
			}
			if s.Logger, err = Logger(cmd.ErrOrStderr(), level, format); err != nil {
				return err
			}
			return run(cmd.Context(), s, http)
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&s.Config, "config", env(EnvConfig, defaultConfig), "the topology file (or $"+EnvConfig+")")
	flags.StringVar(&s.Region, "region", env(EnvRegion, ""), "the region it works for (or $"+EnvRegion+")")
	flags.StringVar(&http, "http", env(EnvHTTP, defaultHTTP), "where it answers (or $"+EnvHTTP+"); port 0 takes a free one")
	flags.StringVar(&level, "log-level", env(EnvLogLevel, "info"), "debug, info, warn or error (or $"+EnvLogLevel+"); the log goes to stderr")
	flags.StringVar(&format, "log-format", env(EnvLogFormat, "text"), "text or json (or $"+EnvLogFormat+")")
	root.AddCommand(&cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the running service whether it is ready; exit code 0 or 1",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			*began = true
			return probe(cmd.Context(), cmd.OutOrStdout(), http)
		},
	})
	return root
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// Logger returns a logger that writes to w. It returns failure.ErrUsage.
func Logger(w io.Writer, level, format string) (*slog.Logger, error) {
	var o slog.HandlerOptions
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, events.Errorf(failure.ErrUsage, "%q is not a level of the log", level).Hint("Use debug, info, warn or error.")
	}
	o.Level = l
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, &o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &o)), nil
	}
	return nil, events.Errorf(failure.ErrUsage, "%q is not a format of the log", format).Hint("Use text or json.")
}

// probe asks a service on this machine whether it is ready.
func probe(ctx context.Context, out io.Writer, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return events.Errorf(failure.ErrUsage, "%q is not an address", address).Hint("Write host:port.")
	}
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort("127.0.0.1", port)+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return events.Errorf(ErrNotReady, "the service does not answer at port %s: %w", port, errors.Unwrap(err))
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxProbe))
	if err != nil {
		return events.Errorf(ErrNotReady, "the service's answer broke off: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return notReady(text)
	}
	_, err = fmt.Fprintln(out, "ready")
	return err
}

// notReady says what the service named as missing.
func notReady(text []byte) error {
	var told struct {
		Missing []httpapi.Missing `json:"missing"`
	}
	if err := json.Unmarshal(text, &told); err != nil || len(told.Missing) == 0 {
		return events.Errorf(ErrNotReady, "the service is not ready and does not say why")
	}
	parts := make([]string, len(told.Missing))
	for i, m := range told.Missing {
		parts[i] = m.Part + ": " + m.Reason
	}
	return events.Errorf(ErrNotReady, "the service is not ready: %s", strings.Join(parts, "; "))
}
