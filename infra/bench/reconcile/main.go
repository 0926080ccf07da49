// Command reconcile proves, and measures, that damaged documents of a read model are found and repaired while events are written: on a real redis-server, with a read model of a million
// documents folded from a log of two million events.
//
// Every document, its version and its digest, every list of keys and every index are compared with a ledger that this program keeps of what it wrote, and not with what the code under test
// says that they should be. It ends with 1 when something was not found, was found and is right, or was not repaired.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"tidemark.dev/infra/embedded"
)

type config struct {
	documents  int
	events     int
	rounds     int
	live       int
	memory     bool
	rekey      bool
	deep       bool
	each       bool
	comparison uint64
	replay     bool
	profiles   string
}

// errWrong says that the proof failed; what failed is in the output.
var errWrong = errors.New("the proof failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "reconcile:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var c config
	flags := flag.NewFlagSet("reconcile", flag.ContinueOnError)
	flags.IntVar(&c.documents, "documents", 1_000_000, "documents of the read model")
	flags.IntVar(&c.events, "events", 2_000_000, "events of the log; at least as many as documents and a quarter")
	flags.IntVar(&c.rounds, "rounds", 3, "rounds of the scrub and of its yardstick")
	flags.IntVar(&c.live, "live", 500, "events written in each second during everything")
	flags.BoolVar(&c.memory, "memory", false, "keep the log in memory instead of in JetStream")
	flags.BoolVar(&c.rekey, "rekey", false, "compute the documents' keys from the events, instead of taking the entities' ids")
	flags.BoolVar(&c.deep, "deep", true, "after each repair fold every partition again from the log")
	flags.BoolVar(&c.each, "each", true, "damage in each way alone before all of them at once")
	flags.BoolVar(&c.replay, "replay", false, "prove and measure replays and snapshots, instead of finding what is wrong")
	flags.Uint64Var(&c.comparison, "comparisons", 1_000_000, "documents that are examined without any finding")
	flags.StringVar(&c.profiles, "profiles", "", "folder for processor profiles of the scrubs and of judging; none: they are not taken")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if c.documents < 25_000 || c.events < c.documents+c.documents/4 || c.rounds < 1 || c.live < 1 {
		return errors.New("there have to be 25,000 documents, a quarter more events, one round and one live event a second")
	}
	path, err := os.MkdirTemp("", "reconcile")
	if err != nil {
		return err
	}
	defer os.RemoveAll(path) //nolint:errcheck // a temporary folder
	dir, err := embedded.OpenDir(path)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // ends with the process
	w := &world{c: c, dir: dir}
	defer w.close()
	p := &proof{world: w, table: &table{out: out}}
	if err := p.run(ctx); err != nil {
		return err
	}
	if p.table.wrong > 0 {
		return fmt.Errorf("%w: %d wrong", errWrong, p.table.wrong)
	}
	return nil
}
