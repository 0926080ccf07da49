package parts

import (
	"os"
	"strconv"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/infra/topology"
	"tidemark.dev/services/internal/failure"
	"tidemark.dev/services/internal/service"
)

// WriterConfig returns the configuration of a writer. Errors: those of topology.Load and region.Of.
func WriterConfig(s service.Settings) (Config, error) { return configOf(s, region.Writer) }

// ProjectorConfig returns the configuration of a projector. Errors: those of topology.Load and region.Of.
func ProjectorConfig(s service.Settings) (Config, error) { return configOf(s, region.Projector) }

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
