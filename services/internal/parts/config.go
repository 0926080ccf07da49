package parts

import (
	"os"
	"strconv"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/topology"
	"tidemark.dev/projections/projector"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/service"
)

// WriterConfig returns the configuration of a writer. Errors: those of topology.Load and region.Of.
func WriterConfig(s service.Settings) (Config, error) { return configOf(s, region.Writer) }

// ProjectorConfig returns the configuration of a projector. Errors: those of topology.Load and region.Of.
// Which read models are kept beside the live ones is set by the environment: see ProjectorOptions.
func ProjectorConfig(s service.Settings) (Config, error) {
	c, err := configOf(s, region.Projector)
	if err == nil {
		c.Projector, err = ProjectorOptions(os.Getenv)
	}
	return c, err
}

const (
	// DefaultRollback is how long the generation before goes on being followed after a replay.
	DefaultRollback = time.Hour
	// DefaultSnapshots is how often a snapshot of each read model is taken.
	DefaultSnapshots = time.Hour
	// DefaultSnapshotCount is how many of each version are kept.
	DefaultSnapshotCount = 3
	maxSnapshotCount     = 1_000

	rollbackVariable  = "TIDEMARK_ROLLBACK_WINDOW"
	snapshotsVariable = "TIDEMARK_SNAPSHOT_INTERVAL"
	countVariable     = "TIDEMARK_SNAPSHOT_COUNT"
)

// ProjectorOptions returns what an environment says of the read models that are kept beside the live ones. It returns failure.ErrUsage.
func ProjectorOptions(env func(string) string) (projector.Options, error) {
	o := projector.Options{Keep: DefaultRollback, SnapshotInterval: DefaultSnapshots, SnapshotCount: DefaultSnapshotCount}
	for name, to := range map[string]*time.Duration{rollbackVariable: &o.Keep, snapshotsVariable: &o.SnapshotInterval} {
		text := env(name)
		if text == "" {
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return o, events.Errorf(failure.ErrUsage, "%s is %.40q, and should be a duration", name, text).Hint("Write it like 90m or 24h; 0 is never.")
		}
		*to = d
	}
	if text := env(countVariable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxSnapshotCount {
			return o, events.Errorf(failure.ErrUsage, "%s is %.40q, and should be a number from 1 to %d", countVariable, text, maxSnapshotCount)
		}
		o.SnapshotCount = n
	}
	return o, nil
}

// keepWrong is the environment variable that lets a reconciler report what it finds and repair nothing.
const keepWrong = "TIDEMARK_KEEP_WRONG"

// ReconcilerConfig returns the configuration of a reconciler. Errors: those of topology.Load and region.Of, and failure.ErrUsage.
func ReconcilerConfig(s service.Settings) (Config, error) {
	c, err := configOf(s, region.Projector)
	if err != nil {
		return c, err
	}
	if text := os.Getenv(keepWrong); text != "" {
		if c.Reconciler.KeepWrong, err = strconv.ParseBool(text); err != nil {
			return c, events.Errorf(failure.ErrUsage, "%s is neither true nor false", keepWrong).Hint("Leave it out, and what is found wrong is repaired.")
		}
	}
	return c, nil
}

// QueryConfig returns the configuration of a query service. Errors: those of topology.Load and region.Of.
func QueryConfig(s service.Settings) (Config, error) { return configOf(s, region.Client) }

func configOf(s service.Settings, role region.Role) (Config, error) {
	env := topology.Environment(os.Environ())
	t, err := topology.Load(s.Config, env)
	if err != nil {
		return Config{}, err
	}
	r, err := region.Of(t, s.Region, role, env)
	if err != nil {
		return Config{}, err
	}
	r.Logger = s.Logger
	return Config{Service: s.Name, Region: r, Address: s.Address}, nil
}

// WriterPart returns a writer as what a service consists of.
func WriterPart(w *Writer) service.Part { return service.Part{API: w.API(), Run: w.Run} }

// ProjectorPart returns projectors as what a service consists of.
func ProjectorPart(p *Projectors) service.Part { return service.Part{API: p.API(), Run: p.Run} }

// ReconcilerPart returns a reconciler as what a service consists of.
func ReconcilerPart(r *Reconciler) service.Part { return service.Part{API: r.API(), Run: r.Run} }

// QueryPart returns a query service as what a service consists of.
func QueryPart(q *Query) service.Part { return service.Part{API: q.API(), Run: q.Run} }
