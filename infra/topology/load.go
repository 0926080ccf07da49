package topology

import (
	"io"
	"os"

	"tidemark.dev/events"
)

// Load reads a topology file. Path may be empty: then it is $TIDEMARK_CONFIG, or else ./tidemark.yaml. Errors: ErrNoFile, and those of Parse.
func Load(path string, env Environment) (*Topology, error) {
	if path == "" {
		path = FilePath(env)
	}
	f, err := os.Open(path) //nolint:gosec // the operator's own file
	if err != nil {
		return nil, events.Errorf(ErrNoFile, "the topology file %s cannot be read: %w", path, bare(err)).
			Hint("Say where it is, or in $%s; tidemark config init prints an example.", FileVariable)
	}
	defer f.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, events.Errorf(ErrNoFile, "the topology file %s cannot be read: %w", path, bare(err))
	}
	return Parse(path, text, env)
}

// FilePath returns where the topology file is when nobody says: $TIDEMARK_CONFIG, or ./tidemark.yaml.
func FilePath(env Environment) string {
	if path, _ := env.Lookup(FileVariable); path != "" {
		return path
	}
	return DefaultFile
}
