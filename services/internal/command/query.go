package command

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

// readFlags are the flags of a read.
type readFlags struct {
	consistency, atLeast string
	at                   string
	wait                 time.Duration
	given                func(flag string) bool
}

func (f *readFlags) register(p *program, cmd *cobra.Command) {
	set := cmd.Flags()
	p.registerAt(cmd, &f.at)
	f.given = set.Changed
	set.StringVar(&f.consistency, "consistency", "eventual", "eventual: whatever is there; strong: ask the leader for its head, and answer from there or later")
	set.StringVar(&f.atLeast, "at-least", "", "answer from this position or later, or not at all")
	set.DurationVar(&f.wait, "wait", query.DefaultWait, "how long to wait for that; 0 means not at all")
	_ = cmd.RegisterFlagCompletionFunc("consistency", cobra.FixedCompletions([]string{"eventual", "strong"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *readFlags) options() (o query.Options, err error) {
	if f.given("at-least") {
		if f.atLeast == "" {
			// An empty variable in a script: answering from anywhere would look like keeping the promise.
			return o, events.Errorf(events.ErrInvalidPosition, "the position to wait for is empty").Hint("Leave --at-least out to read without one.")
		}
		if o.AtLeast, err = events.ParsePosition(f.atLeast); err != nil {
			return o, err
		}
	}
	if f.given("at") {
		if o.At, err = copyName(f.at); err != nil {
			return o, err
		}
	}
	switch f.consistency {
	case "strong":
		o.Strong = true
	case "eventual":
		if f.given("consistency") && !o.AtLeast.IsZero() {
			return o, events.Errorf(projections.ErrInvalidQuery, "an eventual read takes whatever is there, and the position %s was asked for beside it", o.AtLeast).
				Hint("Leave one of them out.")
		}
	default:
		return o, events.Errorf(failure.ErrUsage, "%q is not a consistency", f.consistency).Hint("Use --consistency eventual or strong, or --at-least POSITION.")
	}
	switch {
	case o.Strong && !o.AtLeast.IsZero():
		return o, events.Errorf(projections.ErrInvalidQuery, "a strong read was asked for, and beside it the position %s", o.AtLeast).
			Hint("Use one of them. A strong read covers whatever was acknowledged before it.")
	case f.wait < 0:
		return o, events.Errorf(projections.ErrInvalidQuery, "a wait of %s is below 0", f.wait)
	case f.wait == 0:
		o.Wait = -1
	default:
		o.Wait = f.wait
	}
	return o, nil
}

// registerAt adds the flag that names a copy.
func (p *program) registerAt(cmd *cobra.Command, at *string) {
	cmd.Flags().StringVar(at, "at", "", "name of a copy: the read model as it was at a position (status shows them)")
	_ = cmd.RegisterFlagCompletionFunc("at", p.copyNames)
}

func copyName(at string) (string, error) {
	if at == "" {
		return "", events.Errorf(projections.ErrInvalidQuery, "the name of the copy is empty").Hint("Leave --at out to read the live read model.")
	}
	return at, nil
}

// words are the flags of a copy as they were given.
func (f *readFlags) words() []string {
	if f.at == "" {
		return nil
	}
	return []string{"--at", f.at}
}

// rangeFlags are the flags of a part of an index.
type rangeFlags struct {
	index    string
	equal    []string
	from, to string
	given    func(flag string) bool
}

func (f *rangeFlags) register(cmd *cobra.Command) {
	set := cmd.Flags()
	f.given = set.Changed
	set.StringVar(&f.index, "index", "", "an index of the projection (default by key); "+projections.ParkedIndexName+" is that of parked documents")
	set.StringArrayVar(&f.equal, "eq", nil, "value that the first field of the index must have; again for the next one")
	set.StringVar(&f.from, "from", "", "lowest value of the next field")
	set.StringVar(&f.to, "to", "", "value of the next field before which to end")
}

func (f *rangeFlags) bounds() query.Range {
	x := query.Range{Index: f.index, Equal: f.equal}
	if f.given("from") {
		x.From = &f.from
	}
	if f.given("to") {
		x.To = &f.to
	}
	return x
}

// words are the flags as they were given.
func (f *rangeFlags) words() []string {
	var words []string
	if f.index != "" {
		words = append(words, "--index", f.index)
	}
	for _, v := range f.equal {
		words = append(words, "--eq", v)
	}
	if f.given("from") {
		words = append(words, "--from", f.from)
	}
	if f.given("to") {
		words = append(words, "--to", f.to)
	}
	return words
}

// shell writes words so that a shell reads them as they are.
func shell(words ...string) string {
	for i, w := range words {
		if w == "" || strings.Trim(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@,=+") != "" {
			words[i] = strconv.Quote(w)
		}
	}
	return strings.Join(words, " ")
}

// asking connects, and calls ask with a context that ends when there was no answer for too long.
func (p *program) asking(cmd *cobra.Command, wait time.Duration, ask func(context.Context, *client.Client) error) error {
	c, err := p.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // only read
	ctx, cancel := p.bounded(cmd.Context(), max(wait, 0))
	defer cancel()
	return ask(ctx, c)
}

// field returns a stored value as a person reads it. An empty text stays visible.
func field(f projections.Field, value string) string {
	if f.Kind == projections.KindString {
		return display.Name(value)
	}
	return display.Text(value)
}

// place says where an answer stands.
func place(s *query.Standing) string {
	if s.At != "" {
		return fmt.Sprintf("in the copy %s at %s, %s since", s.At, s.Position, eventsSince(s.Lag))
	}
	return fmt.Sprintf("at %s, lag %s", s.Position, lag(s.Lag))
}

func eventsSince(l *query.Lag) string {
	if l == nil {
		return "an unknown number of records"
	}
	return display.Count(l.Events, "record")
}

// lag never shows what is not known as a number.
func lag(l *query.Lag) string {
	if l == nil {
		return "unknown"
	}
	return display.Number(l.Events)
}
