package command

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

func watcher() (*program, *building) {
	p := &program{out: &bytes.Buffer{}, err: &bytes.Buffer{}, self: "tidemark"}
	return p, &building{p: p, entry: catalog.Entry{Name: "counts", Version: 2}, progress: display.NewProgress(&bytes.Buffer{}, "build counts", "records")}
}

// Ctrl-C while a version is being built ends the watching only.
func TestWatchingABuildCanEndWithoutEndingIt(t *testing.T) {
	p, w := watcher()
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	_, err := p.watchLive(ctx, w, func(context.Context) (*query.ModelStatus, error) {
		if looks++; looks == 2 {
			cancel()
		}
		return nil, nil
	})
	if !errors.Is(err, failure.ErrInterrupted) || !strings.Contains(err.Error(), "counts goes on being built") {
		t.Errorf("it ended with %v", err)
	}
}

// A server that does not answer for a moment is asked again; one that stays away, and whatever else is wrong, is said.
func TestWatchingABuildEndsWhenItMust(t *testing.T) {
	away := events.Errorf(events.ErrUnreachable, "the log does not answer")
	for name, c := range map[string]struct {
		answers []error // and then the read model is live
		code    error
	}{
		"live at once":          {nil, nil},
		"live after trouble":    {[]error{away, nil, away, events.Errorf(projections.ErrStoreUnreachable, "nor the store"), nil}, nil},
		"nobody answers":        {repeated(away, liveTroubles+1), events.ErrUnreachable},
		"it cannot be built":    {[]error{nil, events.Errorf(failure.ErrReplayFailed, "it failed")}, failure.ErrReplayFailed},
		"somebody removed it":   {[]error{events.Errorf(projections.ErrUnknownProjection, "it was removed")}, projections.ErrUnknownProjection},
		"somebody replaced it":  {[]error{events.Errorf(events.ErrConflict, "version 3")}, events.ErrConflict},
		"nobody answers, twice": {append(append(repeated(away, liveTroubles), nil), repeated(away, liveTroubles)...), nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, w := watcher()
				left := c.answers
				m, err := p.watchLive(t.Context(), w, func(context.Context) (*query.ModelStatus, error) {
					if len(left) == 0 {
						return &query.ModelStatus{Name: "counts", State: "live"}, nil
					}
					now := left[0]
					left = left[1:]
					return nil, now
				})
				if !errors.Is(err, c.code) || (m != nil) != (c.code == nil) || len(left) != 0 {
					t.Errorf("it ended with %+v, %v, and %d answers were left", m, err, len(left))
				}
			})
		})
	}
}

func repeated(err error, n int) (list []error) {
	for range n {
		list = append(list, err)
	}
	return list
}

func TestAQuestionIsAnsweredYesOrNotAtAll(t *testing.T) {
	for said, code := range map[string]error{"y\n": nil, "YES\n": nil, "n\n": failure.ErrDeclined, "\n": failure.ErrDeclined, "": failure.ErrDeclined, "yesterday\n": failure.ErrDeclined} {
		var errs bytes.Buffer
		p := &program{in: strings.NewReader(said), err: &errs}
		if err := p.asked(t.Context(), "removing counts drops its read model"); !errors.Is(err, code) {
			t.Errorf("%q is taken as %v", said, err)
		}
		if errs.String() != "Removing counts drops its read model. Remove it? [y/N] " {
			t.Errorf("the question is %q", errs.String())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	held, release := newHeld()
	defer release()
	p := &program{in: held, err: &bytes.Buffer{}}
	if err := p.asked(ctx, "removing"); !errors.Is(err, failure.ErrInterrupted) {
		t.Errorf("Ctrl-C is taken as %v", err)
	}
}

// held is a reader that says nothing until it is released.
type held struct{ released chan struct{} }

func newHeld() (held, func()) {
	h := held{make(chan struct{})}
	return h, func() { close(h.released) }
}

func (h held) Read([]byte) (int, error) {
	<-h.released
	return 0, errors.New("released")
}
