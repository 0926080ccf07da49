// Command tidemark runs a region, publishes to it, queries it and rebuilds its read models. See tidemark help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"tidemark.dev/infra/region"
	"tidemark.dev/services/internal/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	region.QuietClients()
	os.Exit(command.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
