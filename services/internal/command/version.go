package command

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build says which program this is.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
}

func (p *program) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print which program this is",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			return p.print(b, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "tidemark %s", b.Version)
				if err == nil && b.Revision != "" {
					_, err = fmt.Fprintf(w, " (%s)", b.Revision)
				}
				if err == nil {
					_, err = fmt.Fprintf(w, ", %s\n", b.Go)
				}
				return err
			})
		},
	}
}

func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build{Version: "(unknown)"}
	}
	b := build{Version: info.Main.Version, Go: info.GoVersion}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
