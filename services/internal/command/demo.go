package command

import (
	"io"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/services/internal/demo"
	"tidemark.dev/services/internal/failure"
)

func (p *program) demo() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show and check all of it on 40,000 real events, in three temporary regions",
		Long: `Start three regions in a temporary directory, publish 20,000 real flights as 40,000 events, query them everywhere, write in a region that mirrors, cut a region's
links and heal them, empty its Redis and let the read models come back, replay, and compare every document of every region with an independent fold of the file. Exit
code 0 only if all of it held. It leaves nothing behind.`,
		Example: "  tidemark demo\n  tidemark demo --redis mini",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c := (region.Config{Redis: p.redis}); c.OneRedis() {
				return events.Errorf(failure.ErrUsage, "the demo empties its Redis, so it runs on its own and not on one at an address; nothing was started").
					Hint("Use --redis auto, server or mini.")
			}
			out := p.out
			if p.output == outputJSON {
				out = io.Discard
			}
			summary, err := demo.Run(cmd.Context(), out, demo.Options{Redis: p.redis})
			if err != nil {
				return err
			}
			return p.print(summary, func(io.Writer) error { return nil })
		},
	}
}
