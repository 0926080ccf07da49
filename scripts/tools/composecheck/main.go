// Command composecheck brings docker-compose.yml up from nothing and checks what it promises: the flights are imported, every document of every
// region is compared with a fold of the file and of what was published, while containers and a whole region are stopped and started under writes.
//
// It talks to the services over HTTP and to the engine through the docker command, and imports none of the project's code: what it expects is
// computed here, with plain maps. scripts/compose-check is how it is run; that script also takes everything down.
//
// Exit codes: 0 all holds, 1 something does not, 2 it could not be checked.
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
)

const (
	exitOK     = 0
	exitFailed = 1
	exitCannot = 2
)

// regions of docker-compose.yml; the first one leads.
func regions() []string { return []string{"us", "eu", "ap"} }

const leader = "us"

// parts of a region: containers that are stopped in turn.
func parts() []string { return []string{"nats", "redis", "writer", "projector", "query", "reconciler"} }

// options say what is checked.
type options struct {
	root    string // the checkout
	project string // of compose
	cut     string // the region that is cut off and stopped as a whole
	kill    bool   // containers get no time to end
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("composecheck", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.root, "root", ".", "the checkout")
	flags.StringVar(&o.project, "project", "tidemark-check", "the name of the compose project; its containers and volumes are this run's own")
	flags.StringVar(&o.cut, "cut", "eu", "the region that is cut off and stopped as a whole")
	flags.BoolVar(&o.kill, "kill", false, "end containers with SIGKILL in place of SIGTERM")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return exitCannot
	}
	c, err := newCheck(o, stdout)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "compose-check: cannot check: %v\n", err)
		return exitCannot
	}
	err = c.run(ctx)
	c.table.print(stdout)
	switch {
	case err == nil:
		_, _ = fmt.Fprintln(stdout, "compose-check: ok")
		return exitOK
	case ctx.Err() != nil:
		_, _ = fmt.Fprintf(stderr, "compose-check: stopped before its end: %v\n", context.Cause(ctx))
		return exitCannot
	case errors.Is(err, errCannot):
		_, _ = fmt.Fprintf(stderr, "compose-check: cannot check: %v\n", err)
		return exitCannot
	}
	_, _ = fmt.Fprintf(stderr, "compose-check: FAIL: %v\n", err)
	return exitFailed
}
