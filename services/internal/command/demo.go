package command

import (
	"io"

	"github.com/spf13/cobra"

	"tidemark.dev/services/internal/demo"
)

func (p *program) demo() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show and check all of it on 40,000 real events, in a temporary region",
		Long: `Start a region in a temporary directory, publish 20,000 real flights as 40,000 events, query them, empty Redis and let the read models come back,
replay, and compare every document with an independent fold of the file. Exit code 0 only if all of it held. It leaves nothing behind.`,
		Example: "  tidemark demo\n  tidemark demo --redis mini",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
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
