// Package client is how a Go service publishes events and queries read models.
//
//	c, err := client.Open(ctx, client.Options{Source: "urn:shop:checkout"})
//	receipt, err := c.Publish(ctx, event, events.ExpectAny())
//	order, _, err := client.Get[Order](ctx, c, "orders", "42", query.Options{AtLeast: receipt.Position})
package client

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"tidemark.dev/events"
	"tidemark.dev/infra/region"
	"tidemark.dev/projections/query"
)

// Options of a client. The zero value finds the regions that run on this machine for this user, and uses the one that leads the log.
type Options struct {
	// Dir is the data directory of a running tidemark up; default DefaultDir. Ignored when Address names a server.
	Dir string
	// Region is the one of its regions to use; default the one that leads the log.
	Region string
	// Address of a region of running servers.
	Address region.Address
	// Source is given to published events that name none, for example urn:shop:checkout.
	Source string
	// Logger gets one line per change of state; default: none.
	Logger *slog.Logger
}

// Client uses one region. It is safe for concurrent use.
type Client struct {
	region *region.Region
	reader *query.Reader
	source string
}

// DefaultDir is the data directory unless told otherwise: $TIDEMARK_DIR, else tidemark below the user's data directory.
func DefaultDir() string {
	if dir := os.Getenv("TIDEMARK_DIR"); dir != "" {
		return dir
	}
	if data := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, "tidemark")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "."
	}
	return filepath.Join(home, ".local", "share", "tidemark")
}

// Open connects. Errors: region.ErrNotRunning, events.ErrUnreachable, events.ErrUnauthorized, events.ErrNoLog,
// events.ErrUnsafeLog, projections.ErrStoreUnreachable, projections.ErrNamespaceTaken.
func Open(ctx context.Context, o Options) (*Client, error) {
	address := o.Address
	if address.NATS == "" {
		dir := o.Dir
		if dir == "" {
			dir = DefaultDir()
		}
		var err error
		if address, err = region.Find(dir, o.Region); err != nil {
			return nil, err
		}
	}
	r, err := region.Connect(ctx, address, o.Logger)
	if err != nil {
		return nil, err
	}
	return New(r, o.Source), nil
}

// New returns a client of a region that is open already. Close closes the region.
func New(r *region.Region, source string) *Client {
	return &Client{region: r, reader: query.New(r.Name(), r.Store(), r.KV(), query.NewCopyHeads(r.Log(), r.Copy(), r.Head())).Use(r.Signals()).Attach(r.Reader), source: source}
}

// Close ends the connections.
func (c *Client) Close() error { return c.region.Close(context.Background()) }

// Region returns the region behind the client.
func (c *Client) Region() *region.Region { return c.region }

// Log returns the region's log, for events.Mutate, atomic batches and pipelined appends.
func (c *Client) Log() events.Log { return c.region.Log() }

// Reader returns the region's queries.
func (c *Client) Reader() *query.Reader { return c.reader }

// Publish appends one event. An event without an ID gets a new one, one without a source the client's. To be able to repeat a publish whose
// outcome stayed unknown, set the ID yourself. Errors are those of events.Appender.
func (c *Client) Publish(ctx context.Context, e events.Event, x events.Expectation) (events.Receipt, error) {
	return c.region.Log().Append(ctx, events.One(named(e, c.source), x))
}

// Confirm waits until at least n regions hold what was published at a position, the leader among them, and returns their names. Errors are those
// of events.Confirm, and events.ErrLostPosition for a position of another history; the event is stored whatever it returns.
func (c *Client) Confirm(ctx context.Context, p events.Position, n int) ([]string, error) {
	return confirm(ctx, c.region, p, n)
}

func confirm(ctx context.Context, r *region.Region, p events.Position, n int) ([]string, error) {
	info, err := r.Log().Info(ctx)
	if err != nil {
		return nil, err
	}
	switch _, ours := p.Point(info.Origin); {
	case !ours:
		return nil, events.Errorf(events.ErrInvalidPosition, "%q is not a position of origin %s", p, info.Origin)
	case (events.Histories{info.Origin: info.Terms}).Covers(info.Head(), p) == events.Lost:
		return nil, events.Errorf(events.ErrLostPosition, "the position %s is not of this log's history, which is at %s", p, info.Head())
	}
	return events.Confirm(ctx, r.Floors(), p, n)
}

// Get is Reader().Get.
func (c *Client) Get(ctx context.Context, projection, key string, o query.Options) (query.Answer, error) {
	return c.reader.Get(ctx, projection, key, o)
}

// Lookup is Reader().Lookup.
func (c *Client) Lookup(ctx context.Context, projection string, keys []string, o query.Options) (query.Documents, error) {
	return c.reader.Lookup(ctx, projection, keys, o)
}

// List is Reader().List.
func (c *Client) List(ctx context.Context, projection string, o query.ListOptions) (query.Page, error) {
	return c.reader.List(ctx, projection, o)
}

// Count is Reader().Count.
func (c *Client) Count(ctx context.Context, projection string, o query.CountOptions) (query.Count, error) {
	return c.reader.Count(ctx, projection, o)
}

// Marks is Reader().Marks.
func (c *Client) Marks(ctx context.Context, projection string, o query.MarksOptions) (query.Marks, error) {
	return c.reader.Marks(ctx, projection, o)
}

// Overview is Reader().Overview.
func (c *Client) Overview(ctx context.Context) (query.Overview, error) { return c.reader.Overview(ctx) }
