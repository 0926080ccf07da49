package command

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/projections/skips"
	"tidemark.dev/services/internal/display"
)

// maxWaiting bounds how many events are counted that wait behind the one a document is parked at.
const maxWaiting = 10_000

// parkedCase is everything about one parked document.
type parkedCase struct {
	Projection string `json:"projection"`
	Key        string `json:"key"`
	Region     string `json:"region"`
	query.Parked
	Event past `json:"event"`
	// Document is what it was before the event. There may have been none: then its fields are as in a new one.
	Document any `json:"document"`
	// Waiting counts the later events of the document's entity; null when the document is not of one entity, and it is not known.
	Waiting *waiting `json:"waiting"`
	// Skip is the position of the record that skips the event, when there is one that the read model has not reached yet.
	Skip     *events.Position `json:"skip,omitempty"`
	Position events.Position  `json:"position"`
	Lag      *query.Lag       `json:"lag"`
	// Hidden says that values are.
	Hidden bool `json:"values_hidden"`

	document query.Document
}

// waiting is a number of events; more says that there are more.
type waiting struct {
	Events uint64 `json:"events"`
	More   bool   `json:"more,omitempty"`
}

func (p *program) parkedShow() *cobra.Command {
	var reveal bool
	cmd := &cobra.Command{
		Use:   "show <projection> <key>",
		Short: "Print why a document is parked, at which event, and what waits behind it",
		Long: `Print the event that cannot be applied to a document, why, what the document was before it, and how many later events wait.

Values of the event's data and of the document are hidden: shown are names, structure and kinds, and reasons with "…" instead of values. --reveal shows
everything. A document that is not parked is told as such, with exit code 1.`,
		Example:           "  tidemark parked show airports ORD\n  tidemark parked show airports ORD --reveal\n  tidemark parked show routes DTW-ORD -o json",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: p.parkedKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			p.began = true
			if err := projections.ValidateKey(args[1]); err != nil {
				return err
			}
			c, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // only read
			ctx, cancel := p.bounded(cmd.Context(), 0)
			defer cancel()
			found, err := look(ctx, c, args[0], args[1])
			if err != nil {
				return err
			}
			if !reveal {
				found.hide()
			}
			if err := p.print(found, found.write); err != nil {
				return err
			}
			if !reveal {
				p.note("values are hidden; --reveal shows them")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&reveal, "reveal", false, "show the values of the event and of the document")
	return cmd
}

// look returns what there is to know about a parked document, or ErrNotParked.
func look(ctx context.Context, c *client.Client, projection, key string) (*parkedCase, error) {
	a, err := c.Reader().Get(ctx, projection, key, query.Options{})
	if err != nil {
		return nil, err
	}
	parked, ok := query.ParkedOf(key, a.Parked)
	if !ok {
		return nil, events.Errorf(projections.ErrNotParked, "%s of %s is not parked at %s, in region %s", display.Name(key), projection, a.Position, a.Region).
			Hint("tidemark parked list shows the documents that are. An event whose document cannot be told is unrouted: it can only be read by a new version.")
	}
	found := &parkedCase{
		Projection: projection, Key: key, Region: a.Region, Parked: parked, Document: a.Document, document: a.Document, Position: a.Position, Lag: a.Lag,
	}
	pointer, _, err := projections.ReadPointer(ctx, c.Region().KV(), projection)
	if err != nil {
		return nil, err
	}
	log, err := c.Region().Reader(pointer.Source)
	if err != nil {
		return nil, err
	}
	info, err := log.Info(ctx)
	if err != nil {
		return nil, err
	}
	r, err := log.Record(ctx, parked.Sequence)
	if err != nil {
		return nil, err
	}
	found.Event = newPast(&r, &info)
	if pointer.Source != nil { // no record of ours reaches it
		return found, nil
	}
	list, err := skips.Read(ctx, c.Log(), projection, info.Last)
	if err != nil {
		return nil, err
	}
	if at, recorded := list.Find(key, parked.Sequence, info.Last); recorded {
		position := info.Position(at)
		found.Skip = &position
	}
	found.Waiting, err = countWaiting(ctx, c, found)
	return found, err
}

// countWaiting counts the later events of a document that is of one entity. Which events a projection folds, its projector has said.
func countWaiting(ctx context.Context, c *client.Client, found *parkedCase) (*waiting, error) {
	status, _, err := projections.ReadStatus(ctx, c.Region().KV(), found.Projection)
	if err != nil {
		return nil, err
	}
	folded := map[string]bool{}
	for _, h := range status.Definition.Handles {
		if !h.ByEntity || h.EntityType == "" || h.EntityType != status.Definition.Handles[0].EntityType {
			return nil, nil //nolint:nilnil // not known
		}
		folded[h.EventType] = true
	}
	if len(folded) == 0 {
		return nil, nil //nolint:nilnil // the projector has said nothing yet
	}
	n := &waiting{}
	entity := events.Entity{Type: status.Definition.Handles[0].EntityType, ID: found.Key}
	for r, err := range c.Log().History(ctx, entity, found.Sequence+1) {
		if err != nil {
			return nil, err
		}
		if r.Kind != events.KindEvent || !folded[r.Event.Type] {
			continue
		}
		if n.Events == maxWaiting {
			n.More = true
			break
		}
		n.Events++
	}
	return n, nil
}

// hide takes the values away.
func (f *parkedCase) hide() {
	f.Hidden = true
	f.Hide()
	f.Event.mask()
	f.Document = maskedDocument{f.document.Fields}
}

func (f *parkedCase) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s %s, parked at %s\n", f.Projection, display.Name(f.Key), f.At)
	fmt.Fprintf(t, "reason\t%s\n", display.Text(f.Reason))
	fmt.Fprintf(t, "event\t%s %s, id %s of %s\n", display.Name(f.Event.Entity), display.Name(f.Event.Type), display.Name(f.Event.ID), display.Name(f.Event.Source))
	fmt.Fprintf(t, "stored\t%s\n", f.Event.Stored.Format("2006-01-02 15:04:05.000Z"))
	fmt.Fprintf(t, "data\t%s\n", shown(&f.Event))
	fmt.Fprintln(t, "document as it was before the event:")
	if f.Hidden {
		maskedDocument{f.document.Fields}.write(t)
	} else {
		for i, x := range f.document.Fields {
			fmt.Fprintf(t, "  %s\t%s\n", x.Name, field(x, f.document.Values[i]))
		}
	}
	fmt.Fprintf(t, "waiting\t%s\n", f.waits())
	if f.Skip != nil {
		fmt.Fprintf(t, "skipped\tfrom %s on, which this read model has not reached\n", f.Skip)
	}
	fmt.Fprintf(t, "position\t%s\nlag\t%s\nregion\t%s\n", f.Position, lag(f.Lag), f.Region)
	return t.Flush()
}

func (f *parkedCase) waits() string {
	switch {
	case f.Waiting == nil:
		return "unknown: the document is not of one entity"
	case f.Waiting.More:
		return "more than " + display.Count(f.Waiting.Events, "later event")
	}
	return display.Count(f.Waiting.Events, "later event")
}

// parkedKeys completes a projection, and then the key of one of its parked documents.
func (p *program) parkedKeys(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return p.projectionNames(cmd, args, begun)
	}
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	c, err := p.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close() //nolint:errcheck // the command is over
	page, err := c.Reader().Parked(ctx, args[0], query.ParkedOptions{Limit: query.MaxLimit})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var keys []string
	for _, d := range page.Items {
		if strings.HasPrefix(d.Key, begun) && !strings.ContainsAny(d.Key, "\t\n") { // what a shell can complete
			keys = append(keys, d.Key)
		}
	}
	return keys, cobra.ShellCompDirectiveNoFileComp
}
