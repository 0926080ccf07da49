// Package demo shows the main job on real input, and checks it: three regions of its own, real flights published as events, queried everywhere, a
// region cut off, a read model lost, and rebuilt, and looked at as it was. It says so when anything did not hold.
package demo

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections/flights"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
)

// ErrFailed says that something the demo promises did not hold.
const ErrFailed = events.Code("demo-failed")

// Codes lists every code of this package.
func Codes() []events.Code { return []events.Code{ErrFailed} }

// Options of the demo. The zero value works.
type Options struct {
	// Redis is how each region gets its Redis; see region.Config.
	Redis string
	// Logger gets one line per change of state; default: none.
	Logger *slog.Logger
}

// Summary is what the demo saw.
type Summary struct {
	Regions       []string        `json:"regions"`
	Events        uint64          `json:"events"`
	EventsPerSec  float64         `json:"events_per_second"`
	Replicated    float64         `json:"replicated_seconds"` // from the last acknowledgement until every region held everything
	Position      events.Position `json:"position"`
	CutOff        uint64          `json:"events_while_cut_off"`
	Healed        float64         `json:"healed_seconds"`      // from the healed link until the region's read models were level
	Unavailable   int             `json:"unavailable_answers"` // while Redis was empty
	Recovered     float64         `json:"recovered_seconds"`
	Replayed      float64         `json:"replayed_seconds"`
	LookedBack    float64         `json:"looked_back_seconds"` // until there was a copy of a read model as it had been, and that was compared
	Airports      int             `json:"airports"`
	Routes        int             `json:"routes"`
	DigestsEqual  bool            `json:"digests_equal"`    // of the regions with each other, and of the replay
	DocumentsSame bool            `json:"documents_equal"`  // of every region, with the independent fold
	Found         int             `json:"damaged_found"`    // documents that were changed in a Redis by hand
	Repaired      int             `json:"damaged_repaired"` // of them
	MarkEqual     bool            `json:"mark_equal"`       // whether all regions had the same documents at a mark after that
	Seconds       float64         `json:"seconds"`
}

// Run runs the demo and tells what happens to out. It returns ErrFailed when something did not hold, or the error that ended it.
// Everything it started is stopped and removed, whatever happens.
func Run(ctx context.Context, out io.Writer, o Options) (s Summary, err error) {
	begin := time.Now()
	dir, err := os.MkdirTemp("", "tidemark-demo-")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demo{say: newTeller(out), summary: &s}
	d.say.line("Tidemark demo: three regions, one leader, %s real flights, two events each\n", display.Number(flights.Count))
	defer func() { err = errors.Join(err, d.close(context.WithoutCancel(ctx))) }()
	if err := d.open(ctx, dir, o); err != nil {
		return s, err
	}
	if err := d.work(ctx, o); err != nil {
		return s, err
	}
	s.Seconds = time.Since(begin).Seconds()
	d.say.line("\nAll of it held, in %.1f s: %s events, %s documents in each of %d regions, each equal to an independent fold of the file.",
		s.Seconds, display.Number(s.Events), display.Number(s.Airports+s.Routes), len(s.Regions))
	d.say.line("Next: tidemark up, and the five-minute tour in the README.")
	return s, d.say.err
}

// demo is one run.
type demo struct {
	say      *teller
	summary  *Summary
	places   []*place        // the first one leads
	imported events.Position // the last event of the file
	own      int64           // events about demoAirport that the demo published itself
}

// story is what a reader of the output follows.
func (d *demo) story(ctx context.Context) error {
	for _, part := range []func(context.Context) error{d.publish, d.busiest, d.ownWrite, d.cut, d.heal, d.lose, d.replay, d.compare, d.lookBack, d.mend} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func failed(format string, args ...any) error {
	return events.Errorf(ErrFailed, format, args...).Hint("This is a bug in Tidemark; please report it with this output.")
}

// at returns the options of a read that must see everything published so far.
func (d *demo) at() query.Options {
	return query.Options{AtLeast: d.summary.Position, Wait: patience}
}

// patience bounds every wait of the demo.
const patience = 30 * time.Second
