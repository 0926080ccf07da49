package client

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

const (
	// DefaultHeartbeat is how often a watch of this package says where it stands while nothing changes. A region that says nothing for a little more than two of them is
	// given up.
	DefaultHeartbeat = 5 * time.Second
	// watchPage is the number of documents of a step while everything there is is told.
	watchPage = 500
)

// WatchOptions of a watch.
type WatchOptions struct {
	// From is the token of a Step to go on from, and Region the region that it names. Empty: begin with everything there is.
	From, Region string
	// Prefix says that only keys matter that begin so; empty: all.
	Prefix string
	// Heartbeat is how often a step comes while nothing changes; 0 means DefaultHeartbeat.
	Heartbeat time.Duration
}

// Step is a step of a watch: documents that are there or have changed, none in a heartbeat.
type Step[D any] struct {
	// Reset says to forget everything that was told: what there is follows, in this step and in those after it, until one that is Level. A watch without a token begins so. It happens again when
	// the watch cannot go on from where it was, which Why says: the read model was replaced, more has changed than a region keeps, or another region has to be watched.
	Reset bool
	Why   error
	// Changes are the latest states of documents.
	Changes []Change[D]
	// Level says that everything up to Position has been told.
	Level bool
	// Token is where to go on after this step, in Region; empty in steps from which no watch can go on.
	Token    string
	Region   string
	Position events.Position
	Lag      *query.Lag
}

// Change is the latest state of a document.
type Change[D any] struct {
	Key      string
	Document D // the zero D when it was deleted
	Deleted  bool
	// Parked says where and why the document's fold stopped; empty when it did not.
	Parked string
}

// Watch tells everything there is in a read model, and then the latest state of every document that changes, until ctx ends. It is Source.Watch with documents of type D, and ends
// also with projections.ErrInvalidQuery when they are not of that type.
func Watch[D any](ctx context.Context, s Source, projection string, o WatchOptions) iter.Seq2[Step[D], error] {
	return func(yield func(Step[D], error) bool) {
		for raw, err := range s.Watch(ctx, projection, o) {
			step := Step[D]{Reset: raw.Reset, Why: raw.Why, Level: raw.Level, Token: raw.Token, Region: raw.Region, Position: raw.Position, Lag: raw.Lag}
			for i := range raw.Changes {
				c := &raw.Changes[i]
				change := Change[D]{Key: c.Key, Deleted: c.Deleted, Parked: c.Parked}
				if err == nil && !c.Deleted {
					change.Document, err = typed[D](projection, c.Document)
				}
				step.Changes = append(step.Changes, change)
			}
			if !yield(step, err) || err != nil {
				return
			}
		}
	}
}

// errStopped: whoever watches does not want to hear more.
var errStopped = errors.New("stopped")

// station is a region that is listed and watched.
type station struct {
	region  string
	list    func(ctx context.Context, o query.ListOptions) (query.Page, error)
	updates func(ctx context.Context, o query.WatchOptions) iter.Seq2[query.Update, error]
	heard   func(u *query.Update) // is told of each update
}

// follower is one watching.
type follower struct {
	projection string
	options    WatchOptions
	yield      func(Step[query.Document], error) bool
	token      string // where to go on, in region; empty: with everything there is
	region     string
	why        error // the reason for the next reset
	begun      bool  // something was told
}

func follow(projection string, o WatchOptions, yield func(Step[query.Document], error) bool) *follower {
	o.Heartbeat = cmp.Or(o.Heartbeat, DefaultHeartbeat)
	return &follower{projection: projection, options: o, yield: yield, token: o.From, region: o.Region}
}

// at watches in one region until that ends: with errStopped, ctx's cause, or why it cannot go on. Where the token is from another region it begins with everything there is.
func (f *follower) at(ctx context.Context, s *station) error {
	token := f.token
	if token == "" || f.region != "" && f.region != s.region {
		var err error
		if token, err = f.everything(ctx, s); err != nil {
			return err
		}
	}
	for u, err := range s.updates(ctx, query.WatchOptions{From: token, Prefix: f.options.Prefix, Heartbeat: f.options.Heartbeat}) {
		if err != nil {
			return err
		}
		s.heard(&u)
		if u.Token != "" {
			f.token, f.region = u.Token, s.region
		}
		step := Step[query.Document]{Level: !u.Position.IsZero(), Token: u.Token, Region: s.region, Position: u.Position, Lag: u.Lag}
		for i := range u.Changes {
			c := &u.Changes[i]
			step.Changes = append(step.Changes, Change[query.Document]{Key: c.Key, Document: c.Document, Deleted: c.Deleted, Parked: c.Parked})
		}
		if err := f.tell(step); err != nil {
			return err
		}
	}
	return events.Errorf(events.ErrUnreachable, "the watch in region %s ended without a word", s.region)
}

// everything tells all there is in a region, and returns the token from which on to watch.
func (f *follower) everything(ctx context.Context, s *station) (token string, err error) {
	o := query.ListOptions{Limit: watchPage}
	var begun query.Page
	for first := true; ; {
		page, err := s.list(ctx, o)
		if errors.Is(err, events.ErrTooLarge) && o.Limit > 1 {
			o.Limit /= 2 // it has to fit into a message
			continue
		}
		if err != nil {
			return "", err
		}
		if first {
			begun = page
			f.token, f.region = "", "" // what was told before is forgotten now
		}
		// Documents of later pages are newer, perhaps; what is told up to is where the first page was.
		step := Step[query.Document]{Reset: first, Region: s.region, Position: begun.Position, Lag: begun.Lag}
		if first {
			step.Why, f.why = f.why, nil
		}
		beyond := false
		for i := range page.Items {
			item := &page.Items[i]
			if beyond = f.options.Prefix != "" && item.Key > f.options.Prefix && !strings.HasPrefix(item.Key, f.options.Prefix); beyond {
				break
			}
			if strings.HasPrefix(item.Key, f.options.Prefix) {
				step.Changes = append(step.Changes, Change[query.Document]{Key: item.Key, Document: item.Document, Parked: item.Parked})
			}
		}
		if o.After = page.Next; o.After == "" || beyond {
			step.Level, step.Token = true, begun.Watch
			f.token, f.region = begun.Watch, s.region
		}
		if err := f.tell(step); err != nil || step.Level {
			return begun.Watch, err
		}
		first = false
	}
}

func (f *follower) tell(s Step[query.Document]) error {
	f.begun = true
	if !f.yield(s, nil) {
		return errStopped
	}
	return nil
}

// Watch tells everything there is in the region's read model, and then the latest state of every document that changes, until ctx ends. When it cannot go on from where it was it begins with
// everything again, and says so (Step.Reset). An error is yielded once and ends it; errors are those of query.Reader.Watch without ErrResync.
func (c *Client) Watch(ctx context.Context, projection string, o WatchOptions) iter.Seq2[Step[query.Document], error] {
	return func(yield func(Step[query.Document], error) bool) {
		s := &station{
			region: c.region.Name(),
			list: func(ctx context.Context, o query.ListOptions) (query.Page, error) {
				return c.reader.List(ctx, projection, o)
			},
			updates: func(ctx context.Context, o query.WatchOptions) iter.Seq2[query.Update, error] {
				return c.reader.Watch(ctx, projection, o)
			},
			heard: func(*query.Update) {},
		}
		f := follow(projection, o, yield)
		for {
			err := f.at(ctx, s)
			if errors.Is(err, projections.ErrResync) && ctx.Err() == nil {
				f.token, f.why = "", err
				err = rest(ctx, pauseFrom)
			}
			if errors.Is(err, errStopped) {
				return
			}
			if err != nil {
				yield(Step[query.Document]{}, err)
				return
			}
		}
	}
}
