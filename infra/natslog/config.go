package natslog

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
)

// streamPrefix begins the name of every stream of record.
const streamPrefix = "EVT_"

// mirrorPrefix begins the name of every consumer that feeds a mirror.
const mirrorPrefix = "mirror-"

// maxReplicas is the server's own bound.
const maxReplicas = 5

// Config says which log, and how its stream must be set up. Origin is required; the zero value of everything else works.
type Config struct {
	// Origin is the name of the history.
	Origin string
	// Domain is the JetStream domain that holds the stream; empty means that of the server one is connected to.
	Domain string
	// Replicas is how many servers keep a copy: 1, 3 or 5. 0 means 1.
	Replicas int
	// DuplicateWindow is how long the servers remember message ids. 0 means events.DefaultDuplicateWindow. A retry of an
	// append without expectation is recognised only inside it, so keep it far above Options.ResolveFor.
	DuplicateWindow time.Duration
	// Mirror says that the stream is this region's copy of an origin that another region leads: it can be read only.
	Mirror bool
	// ReadOnly opens the log for reading wherever it is: whether its stream leads or mirrors, and whether it can be appended to, is not looked at.
	// A region looks at its leader's log so, over the link between the two.
	ReadOnly bool
}

// StreamName returns the name of an origin's stream: EVT_<origin>.
func StreamName(origin string) string { return streamPrefix + origin }

// MirrorConsumer returns the name of the durable consumer at the leader that feeds a region's mirror. Its acknowledgement floor is what that
// region holds.
func MirrorConsumer(region string) string { return mirrorPrefix + region }

// MirrorRegion returns the region that a consumer of that name feeds, and whether it is one of ours.
func MirrorRegion(consumer string) (region string, ok bool) {
	return strings.CutPrefix(consumer, mirrorPrefix)
}

// MirrorSubject returns the subject on which an origin's records travel from the leader to a region's mirror.
func MirrorSubject(region, origin string) string { return "repl." + region + "." + StreamName(origin) }

// Subjects returns the subjects that an origin's stream captures.
func Subjects(origin string) []string {
	return []string{"evt." + origin + ".*.*", "ctl." + origin + ".>"}
}

func (c Config) withDefaults() Config {
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.DuplicateWindow == 0 {
		c.DuplicateWindow = events.DefaultDuplicateWindow
	}
	return c
}

func (c Config) validate() error {
	if err := events.ValidateOrigin(c.Origin); err != nil {
		return err
	}
	if c.Replicas < 0 || c.Replicas > maxReplicas {
		return events.Errorf(events.ErrUnsafeLog, "the log %s cannot have %d replicas", c.Origin, c.Replicas).
			Hint("Use 1 for an embedded server, 3 in a region.")
	}
	if c.DuplicateWindow < 0 {
		return events.Errorf(events.ErrUnsafeLog, "the log %s cannot have the duplicate window %s", c.Origin, c.DuplicateWindow)
	}
	return nil
}

// MirrorStream returns the stream that is a region's copy of the origin. It is fed by the durable consumer MirrorConsumer(region) of the leader,
// and asks for it below api, a prefix of subjects that takes the place of $JS.API. It has no subjects of its own. The duplicate
// window is that of the log, for the day on which the copy is promoted; servers forget it when they restart.
func (c Config) MirrorStream(region, api string) jetstream.StreamConfig {
	c = c.withDefaults()
	s := c.streamConfig()
	s.Description = "tidemark copy of origin " + c.Origin + " in region " + region
	s.Subjects, s.AllowAtomicPublish = nil, false
	s.Mirror = &jetstream.StreamSource{
		Name:     StreamName(c.Origin),
		External: &jetstream.ExternalStream{APIPrefix: api},
		Consumer: &jetstream.StreamConsumerSource{Name: MirrorConsumer(region), DeliverSubject: MirrorSubject(region, c.Origin)},
	}
	return s
}

// streamConfig is the stream that Setup creates. Retention has no limit of age, count or size: only the log's own records
// decide what is forgotten. Should somebody set a limit nevertheless, DiscardNew refuses appends there instead of dropping what is stored. DenyPurge is left out on purpose: it could never be taken back.
func (c Config) streamConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               StreamName(c.Origin),
		Description:        "tidemark log of origin " + c.Origin,
		Subjects:           Subjects(c.Origin),
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardNew,
		Storage:            jetstream.FileStorage,
		Replicas:           c.Replicas,
		MaxConsumers:       -1,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		MaxMsgsPerSubject:  -1,
		MaxMsgSize:         -1,
		Duplicates:         c.DuplicateWindow,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		DenyDelete:         true,
	}
}
