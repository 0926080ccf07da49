// Command bench measures the projector and the log against yardsticks in one run: the same stream, the same Redis, the same bytes.
//
// It prints ratios, because figures of one machine mean little on another. Rounds are interleaved, and each ratio is the
// median of the ratios of its rounds. A run whose final read model is wrong fails.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"tidemark.dev/infra/embedded"
)

type config struct {
	events   int
	entities int
	rounds   int
	appends  int
	naive    int
	visible  int
	only     string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	var c config
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&c.events, "events", 300_000, "events of the stream that is read")
	flags.IntVar(&c.entities, "entities", 30_000, "entities they are about")
	flags.IntVar(&c.rounds, "rounds", 5, "rounds; each ratio is the median of its rounds")
	flags.IntVar(&c.appends, "appends", 100_000, "events of each append measurement with lazy sync; a tenth of it with fsync")
	flags.IntVar(&c.naive, "naive", 20_000, "events of the naive loop")
	flags.IntVar(&c.visible, "visible", 3_000, "reads of each measurement of how long a written event takes to be seen")
	flags.StringVar(&c.only, "only", "", "reads, appends or visible; empty: all of them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if c.events < 10_000 || c.entities < 1 || c.rounds < 1 || c.appends < 1_000 || c.naive < 1_000 || c.naive > c.events || c.visible < 100 {
		return fmt.Errorf("a count is too small, or naive is above events")
	}
	path, err := os.MkdirTemp("", "tidemark-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(path) //nolint:errcheck // a temporary folder
	dir, err := embedded.OpenDir(path)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // ends with the process
	measured := false
	for _, m := range []struct {
		name string
		run  func() error
	}{
		{"reads", func() error { return reads(ctx, c, dir, out) }},
		{"appends", func() error { return appends(ctx, c, path, out) }},
		{"visible", func() error { return visible(ctx, c, path, out) }},
	} {
		if c.only != "" && c.only != m.name {
			continue
		}
		measured = true
		if err := m.run(); err != nil {
			return err
		}
	}
	if !measured {
		return fmt.Errorf("there is nothing to measure called %q", c.only)
	}
	return nil
}
