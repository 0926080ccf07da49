package command

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tidemark.dev/events"
	"tidemark.dev/infra/client"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/declared"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/display"
	"tidemark.dev/services/internal/failure"
)

func (p *program) projectionApply() *cobra.Command {
	var dryRun, wait bool
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Give a projection to every region, or a new version of it",
		Long: `Read a projection's file and append it to the log, so that every region has the same. Each region builds it from the first event of the log.

A file that says something else than the one before needs a higher version. The new version is built beside the old one, which goes on answering and being
followed; when it has caught up, queries are switched over at once. Comments, layout and tests are no change. Applying a file again changes nothing.

It can be done in any region. FILE may be - for stdin.`,
		Example: `  tidemark projection apply airports.yaml
  tidemark projection apply airports.yaml --dry-run        # say what would change
  tidemark projection apply airports.yaml --wait           # until queries in this region are answered from it`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.began = true
			if dryRun && wait {
				return events.Errorf(failure.ErrUsage, "--dry-run changes nothing, so there is nothing to wait for").Hint("Use one of --dry-run and --wait.")
			}
			return p.applyProjection(cmd.Context(), args[0], dryRun, wait)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	flags.BoolVar(&wait, "wait", false, "wait until queries in this region are answered from it")
	return cmd
}

// changed is what a command made of a projection.
type changed struct {
	Projection  string          `json:"projection"`
	Result      catalog.Verdict `json:"result"`
	DryRun      bool            `json:"dry_run,omitempty"`
	Version     int             `json:"version"`
	Before      int             `json:"version_before,omitempty"`
	State       catalog.State   `json:"state"`
	Kind        catalog.Kind    `json:"kind"`
	Fingerprint string          `json:"fingerprint"`
	// Changes says what of the documents and events is another than in the version before.
	Changes []string `json:"changes,omitempty"`
	// Position of the catalog that has it, and Definition that of the file's text.
	Position   events.Position `json:"position,omitzero"`
	Definition events.Position `json:"definition,omitzero"`
	// Here is the region's read model, once it is live.
	Here *query.ModelStatus `json:"here,omitempty"`
}

func changedBy(ctx context.Context, log events.Reader, done catalog.Done) (changed, error) {
	c := changed{
		Projection: done.After.Name, Result: done.Verdict, Version: done.After.Version, State: done.After.State, Kind: done.After.Kind, Fingerprint: done.After.Fingerprint,
		Position: done.Position,
	}
	if done.Before.Version != done.After.Version {
		c.Before = done.Before.Version
	}
	if done.After.Definition == 0 {
		return c, nil
	}
	info, err := log.Info(ctx)
	if err == nil {
		c.Definition = info.Position(done.After.Definition)
	}
	return c, err
}

// changeCatalog makes a change. In a region that mirrors the log, what there is to do is what the leader's catalog says.
func changeCatalog(ctx context.Context, c *client.Client, do func(catalog.Catalog) (catalog.Decision, error)) (catalog.Done, error) {
	var floors events.Floors
	if !c.Region().Leads() {
		floors = c.Region().Floors()
	}
	return catalog.Change(ctx, c.Log(), floors, do)
}

func (p *program) applyProjection(ctx context.Context, file string, dryRun, wait bool) error {
	text, err := p.wholeFile(file, declared.MaxBytes)
	if err != nil {
		return events.Errorf(failure.ErrUsage, "the projection cannot be read: %w", err).Hint("tidemark projection init prints one to begin with.")
	}
	projection, _, err := declared.Parse(file, text)
	if err != nil {
		return p.mistaken(&projectionReport{File: file}, err)
	}
	def := projection.Definition()
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // the append is acknowledged
	if _, err := c.Region().Reader(def.Source); err != nil {
		return err
	}
	asking, cancel := p.bounded(ctx, 0)
	defer cancel()
	apply := func(now catalog.Catalog) (catalog.Decision, error) { return now.Apply(def, text) }
	var done catalog.Done
	if dryRun {
		if done.Catalog, err = catalog.Read(asking, c.Log()); err == nil {
			done.Decision, err = apply(done.Catalog)
		}
	} else {
		done, err = changeCatalog(asking, c, apply)
	}
	if err != nil {
		return err
	}
	result, err := changedBy(asking, c.Log(), done)
	if err != nil {
		return err
	}
	result.DryRun = dryRun
	if result.Changes, err = changesOf(asking, c.Log(), &done, def); err != nil {
		return err
	}
	if !wait {
		return p.print(&result, result.applied)
	}
	if p.output != outputJSON {
		if err := result.applied(p.out); err != nil {
			return err
		}
	}
	if result.Here, err = p.awaitLive(ctx, c, &done); err != nil {
		return err
	}
	return p.print(&result, result.live)
}

// changesOf says what a new version's documents and events are that the version before has not, or the other way round.
func changesOf(ctx context.Context, log events.Reader, done *catalog.Done, def *projections.Definition) ([]string, error) {
	before := done.Before
	if done.Verdict == catalog.Unchanged || before.Kind != catalog.File || before.Definition == 0 {
		return nil, nil
	}
	text, err := catalog.Text(ctx, log, before.Name, before.Definition)
	if err != nil {
		return nil, err
	}
	old, _, err := declared.Parse(before.Name, text)
	if err != nil {
		return []string{fmt.Sprintf("version %d cannot be read by this release, so what changed is not known", before.Version)}, nil //nolint:nilerr // that is the answer
	}
	return differences(old.Definition(), def), nil
}

func sourceName(s *projections.Source) string {
	if s == nil {
		return "the log"
	}
	return "the stream " + s.Stream
}

func differences(old, now *projections.Definition) (list []string) {
	kinds := make(map[string]projections.Kind, len(old.Fields))
	for _, f := range old.Fields {
		kinds[f.Name] = f.Kind
	}
	for _, f := range now.Fields {
		switch was, there := kinds[f.Name]; {
		case !there:
			list = append(list, fmt.Sprintf("new field %s (%s)", f.Name, f.Kind))
		case was != f.Kind:
			list = append(list, fmt.Sprintf("field %s is %s and was %s", f.Name, f.Kind, was))
		}
		delete(kinds, f.Name)
	}
	for _, f := range old.Fields {
		if _, left := kinds[f.Name]; left {
			list = append(list, "no field "+f.Name)
		}
	}
	for _, x := range now.Indexes {
		if !has(old.Indexes, x) {
			list = append(list, fmt.Sprintf("new index %s (%s)", x.Name, strings.Join(x.Fields, ", ")))
		}
	}
	for _, x := range old.Indexes {
		if !has(now.Indexes, x) {
			list = append(list, fmt.Sprintf("no index %s (%s)", x.Name, strings.Join(x.Fields, ", ")))
		}
	}
	if !projections.SameSource(old.Source, now.Source) {
		list = append(list, fmt.Sprintf("events are of %s, and were of %s", sourceName(now.Source), sourceName(old.Source)))
	}
	if old.Expires != now.Expires {
		list = append(list, fmt.Sprintf("documents expire by %q, and did by %q", now.Expires, old.Expires))
	}
	for _, h := range now.Handles {
		if !slices.Contains(old.Handles, h) {
			list = append(list, "new rule for "+handled(h))
		}
	}
	for _, h := range old.Handles {
		if !slices.Contains(now.Handles, h) {
			list = append(list, "no rule any more for "+handled(h))
		}
	}
	if len(list) == 0 && old.Meaning != now.Meaning {
		list = []string{"the same fields and events; what is done with them"}
	}
	return list
}

func has(list []projections.Index, x projections.Index) bool {
	return slices.ContainsFunc(list, func(y projections.Index) bool { return x.Name == y.Name && slices.Equal(x.Fields, y.Fields) })
}

// handled names the events of a rule.
func handled(h projections.Handles) string {
	s := h.EventType
	if h.EntityType != "" {
		s += " of " + h.EntityType
	}
	if !h.ByEntity {
		s += ", with a key of its own"
	}
	return s
}

// applied writes what apply did.
func (c *changed) applied(w io.Writer) error {
	would := ""
	if c.DryRun {
		would = "dry run: "
	}
	what := map[catalog.Verdict]string{
		catalog.Unchanged:  fmt.Sprintf("version %d is there already; nothing to do", c.Version),
		catalog.New:        fmt.Sprintf("new, version %d", c.Version),
		catalog.NewVersion: fmt.Sprintf("version %d, after version %d; it is built beside the live one", c.Version, c.Before),
		catalog.Restored:   fmt.Sprintf("version %d; it was removed, and is built anew", c.Version),
	}[c.Result]
	fmt.Fprintf(w, "%s%s: %s\n", would, c.Projection, what)
	for _, change := range c.Changes {
		fmt.Fprintf(w, "  %s\n", display.Text(change))
	}
	if c.State == catalog.Paused {
		fmt.Fprintf(w, "  it is paused: nothing is built before tidemark projection resume %s\n", c.Projection)
	}
	if !c.Definition.IsZero() && !c.DryRun {
		fmt.Fprintf(w, "  fingerprint %s, definition at %s\n", c.Fingerprint, c.Definition)
	}
	return nil
}

// live writes that the read model is there.
func (c *changed) live(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s: version %d is live, generation %d, %s at %s\n", c.Projection, c.Here.Version, c.Here.Generation,
		display.Count(c.Here.Documents, "document"), c.Here.Position)
	return err
}
