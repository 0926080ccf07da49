package replica

import (
	"log/slog"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
)

// Config says which copy. Origin, Region and Leader are required.
type Config struct {
	// Origin is the name of the history.
	Origin string
	// Region holds the copy; also the name of its JetStream domain.
	Region string
	// Leader is the region that leads the origin; also the name of its JetStream domain.
	Leader string
	// Replicas is how many of the region's servers keep the copy: 1, 3 or 5. 0 means 1.
	Replicas int
	// From is the first sequence that a copy is made to hold; 0 and 1 are the log's beginning. A copy that exists stays as it was made.
	From uint64
}

// Options adjusts a Mirror. The zero value works.
type Options struct {
	// Logger gets one line per change of state. Default: none.
	Logger *slog.Logger
}

const (
	// lookEvery is how often the copy is compared with the leader's log.
	lookEvery = time.Second
	// fullEvery is how often, at least, lineage and terms are compared too. They are at once when anything about a stream has changed.
	fullEvery = 10 * time.Second
	// callTimeout bounds one request. One over a slow link takes some hundred milliseconds.
	callTimeout = 2 * time.Second
	// createTimeout bounds the making of a stream or consumer, which a cluster has to agree on.
	createTimeout = 5 * time.Second
	// recordTimeout bounds a request of the log's reader, which asks four times in it.
	recordTimeout = 4 * time.Second
	// quietFor is how long the mirror may hear nothing before the lag counts as unknown. The leader sends something every second.
	quietFor = 3 * time.Second
	// staleFor is how old a look may be before the lag counts as unknown: several requests may have waited in vain since.
	staleFor = 5 * time.Second
	// shortLooks is how often in a row the leader's log must be found shorter than the copy before that is believed: a server of a cluster that
	// was just cut off may answer from what it knew.
	shortLooks = 3
)

func (c Config) validate() error {
	for _, name := range []string{c.Origin, c.Region, c.Leader} {
		if err := events.ValidateOrigin(name); err != nil {
			return err
		}
	}
	if c.Region == c.Leader {
		return events.Errorf(events.ErrUnsafeLog, "region %s leads origin %s, so it does not mirror it; nothing was started", c.Region, c.Origin).
			Hint("Name another region as the leader, or set the log up as the leader does.")
	}
	return nil
}

func (c Config) stream() string   { return natslog.StreamName(c.Origin) }
func (c Config) consumer() string { return natslog.MirrorConsumer(c.Region) }

// gate returns the prefix of subjects below which the mirror asks for its consumer. Only this package answers there. It does not name the
// leader, so that the same copy can follow another one later.
func (c Config) gate() string { return GatePrefix + c.Origin }

// GatePrefix begins the subjects that mirrors ask below. They stay inside a region.
const GatePrefix = "tm.gate."

// here and there are the copy's log, and the leader's as it is seen over the link.
func (c Config) here() natslog.Config {
	return natslog.Config{Origin: c.Origin, Replicas: c.Replicas, Mirror: true}
}

func (c Config) there() natslog.Config {
	return natslog.Config{Origin: c.Origin, Domain: c.Leader, ReadOnly: true}
}
