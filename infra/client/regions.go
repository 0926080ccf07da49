package client

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"tidemark.dev/events"
	"tidemark.dev/infra/queryservice"
	"tidemark.dev/infra/region"
)

const (
	// DefaultPatience is how long a read goes on looking for a region that answers.
	DefaultPatience = 5 * time.Second
	// DefaultAttemptTimeout is how long one region gets to answer.
	DefaultAttemptTimeout = time.Second
	// dialTimeout bounds one attempt to connect to a region's servers.
	dialTimeout = 2 * time.Second
)

// Config of a Regions. Regions is required.
type Config struct {
	// Regions in the order in which they are asked; the first is the application's own. Of each its Name is used, and where its NATS is: NATS, User, Password, NATSOptions. One
	// without an address is asked over the links that the servers of the others have to it. Of the first also what publishing needs: Origin, Leader, GroupCommit.
	// Running and InTopology make such a list.
	Regions []region.Config
	// Inbox is what the subjects begin with on which answers are heard, below _INBOX. so that other regions' answers come through; default _INBOX. A user with few rights has one
	// of his own.
	Inbox string
	// Source is given to published events that name none, for example urn:shop:checkout.
	Source string
	// Session says what is remembered from read to read.
	Session Session
	// Patience is how long a read goes on looking for a region that answers, beside the time that it asks to wait for a position. 0 means DefaultPatience; a negative one:
	// every region is asked once.
	Patience time.Duration
	// AttemptTimeout is how long one region gets to answer, beside the same time. 0 means DefaultAttemptTimeout.
	AttemptTimeout time.Duration
	// Logger gets one line per change of state; default: none.
	Logger *slog.Logger
}

// Regions is a client of several regions that needs only NATS. It reads from the query service of its own region, and from others while that does not answer or cannot;
// every answer names the region that it is from. It publishes to the log of its own region. It is safe for concurrent use.
type Regions struct {
	config  Config
	logger  *slog.Logger
	places  []*place
	session *session
	health  *health

	life  context.Context //nolint:containedctx // ends the looks at regions that did not answer
	end   context.CancelFunc
	looks sync.WaitGroup
	links []*queryservice.Caller

	mu      sync.Mutex
	home    *region.Region // opened when it is used first
	opening chan struct{}  // closed when the attempt under way is over; nil: there is none
	closed  bool
}

// place is a region as it can be reached: over its own servers first, if their address is known, then over the links of the others'.
type place struct {
	region  string
	callers []*queryservice.Caller
}

// Dial returns a client. Servers that do not answer yet are tried in the background. Errors: events.ErrInvalidEvent for a malformed name, projections.ErrInvalidQuery for
// a configuration without regions or without any address, events.ErrUnreachable for an address that can never be used.
func Dial(ctx context.Context, c Config) (*Regions, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.Regions = slices.Clone(c.Regions)
	for i := range c.Regions {
		if at := &c.Regions[i]; c.Inbox != "" {
			at.NATSOptions = append(slices.Clone(at.NATSOptions), nats.CustomInboxPrefix(c.Inbox))
		}
	}
	c.Patience, c.AttemptTimeout = cmp.Or(c.Patience, DefaultPatience), cmp.Or(max(c.AttemptTimeout, 0), DefaultAttemptTimeout)
	r := &Regions{config: c, logger: c.Logger, session: newSession(c.Session), health: newHealth()}
	if r.logger == nil {
		r.logger = slog.New(slog.DiscardHandler)
	}
	r.life, r.end = context.WithCancel(context.WithoutCancel(ctx))
	callers, errs := make([]*queryservice.Caller, len(c.Regions)), make([]error, len(c.Regions))
	var dialling sync.WaitGroup
	for i := range c.Regions {
		if c.Regions[i].NATS != "" {
			dialling.Go(func() { callers[i], errs[i] = dial(&c.Regions[i], r.logger) })
		}
	}
	dialling.Wait()
	for _, caller := range callers {
		if caller != nil {
			r.links = append(r.links, caller)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, r.Close()) //nolint:contextcheck // an end that has no caller to wait for
	}
	for i := range c.Regions {
		p := &place{region: c.Regions[i].Name}
		if callers[i] != nil {
			p.callers = append(p.callers, callers[i])
		}
		for _, other := range r.links {
			if other != callers[i] {
				p.callers = append(p.callers, other)
			}
		}
		r.places = append(r.places, p)
	}
	return r, nil
}

func (c *Config) validate() error {
	seen, reachable := map[string]bool{}, false
	for i := range c.Regions {
		at := &c.Regions[i]
		if err := events.ValidateOrigin(at.Name); err != nil {
			return err
		}
		if seen[at.Name] {
			return misconfigured("region %s is named twice", at.Name)
		}
		seen[at.Name], reachable = true, reachable || at.NATS != ""
	}
	if !reachable {
		return misconfigured("none of the %d regions has an address of its NATS servers", len(c.Regions))
	}
	return nil
}

func dial(c *region.Config, logger *slog.Logger) (*queryservice.Caller, error) {
	options := []nats.Option{nats.Timeout(dialTimeout)}
	if c.User != "" {
		options = append(options, nats.UserInfo(c.User, c.Password))
	}
	options = append(options, c.NATSOptions...)
	for address := range strings.SplitSeq(c.NATS, ",") {
		options = append(options, func(o *nats.Options) error {
			o.Servers = append(o.Servers, strings.TrimSpace(address))
			return nil
		})
	}
	return queryservice.Dial(c.Name, logger, options...)
}

// Names returns the regions, in the order in which they are asked.
func (r *Regions) Names() []string {
	names := make([]string, len(r.places))
	for i, p := range r.places {
		names[i] = p.region
	}
	return names
}

// Well returns the regions that are expected to answer: all but those that did not when they were asked last.
func (r *Regions) Well() []string {
	return slices.DeleteFunc(r.Names(), func(name string) bool { return !r.health.well(name, "") })
}

// Forget begins a new session: what was seen so far binds no more.
func (r *Regions) Forget() { r.session.forget() }

// Close ends the connections. Reads that wait end with events.ErrUnreachable.
func (r *Regions) Close() error {
	r.mu.Lock()
	r.closed = true
	home, opening := r.home, r.opening
	r.mu.Unlock()
	r.end()
	for _, l := range r.links {
		l.Close()
	}
	r.looks.Wait()
	if opening != nil {
		<-opening
		r.mu.Lock()
		home = r.home
		r.mu.Unlock()
	}
	if home == nil {
		return nil
	}
	return home.Close(context.Background())
}
