package runner

import (
	"context"
	"fmt"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/projector"
)

// plan returns what is to be done about each projection, and which ones should be followed here. A projection whose definition cannot be read now is left out, and what is done about it goes
// on; the error says why.
func (r *Runner) plan(ctx context.Context, c catalog.Catalog) (plans map[string]plan, wanted []string, err error) {
	plans = make(map[string]plan, len(c.Entries)+len(r.own))
	left, err := r.leftBehind(ctx, c)
	for i := range c.Entries {
		e := &c.Entries[i]
		p, follows, failed := r.planOf(ctx, c, e, left)
		if failed != nil {
			err = failed
		} else if p.run != nil {
			plans[e.Name] = p
		}
		if follows {
			wanted = append(wanted, e.Name)
		}
	}
	for name, own := range r.own {
		if _, known := c.Find(name); !known { // not entered yet
			plans[name] = r.follow(own, nil)
			wanted = append(wanted, name)
		}
	}
	slices.Sort(wanted)
	r.texts.keep(c)
	return plans, wanted, err
}

// planOf returns the plan for one entry, and whether it should be followed here. A plan that does nothing: there is nothing to be done.
func (r *Runner) planOf(ctx context.Context, c catalog.Catalog, e *catalog.Entry, left map[string]bool) (p plan, follows bool, err error) {
	own := r.own[e.Name]
	r.compare(ctx, e, own)
	switch {
	case e.State == catalog.Removed && e.Kind != catalog.Go && own != nil && c.Admit(own.Definition()) == nil:
		return r.follow(own, nil), true, nil // the name is free, and is about to be entered
	case e.State == catalog.Removed && (r.slots[e.Name] != nil || left[e.Name]):
		return r.remove(e), false, nil
	case e.State == catalog.Removed:
		return plan{}, false, nil
	case e.State == catalog.Paused:
		return r.pause(e), false, nil
	case e.State != catalog.Active:
		return r.refuse(e, notKnown(e)), true, nil
	}
	var proj projections.Projection
	switch e.Kind {
	case catalog.Go:
		proj, err = r.compiled(c, e)
	case catalog.File:
		proj, err = r.texts.get(ctx, e.Name, e.Version, e.Fingerprint, e.Definition)
	default:
		err = notKnown(e)
	}
	if isFleeting(err) {
		return plan{}, true, err
	}
	if err != nil {
		return r.refuse(e, err), true, nil
	}
	if s := r.slots[e.Name]; s != nil && s.last == followKey(proj) {
		return r.follow(proj, nil), true, nil // it goes on
	}
	earlier, err := r.earlier(ctx, e)
	return r.follow(proj, earlier), true, err
}

// compiled returns the projection of this program that an entry is about.
func (r *Runner) compiled(c catalog.Catalog, e *catalog.Entry) (projections.Projection, error) {
	own := r.own[e.Name]
	if own == nil {
		return nil, events.Errorf(catalog.ErrNotInBuild, "%s is written in Go, and this program was built without it", e.Name).
			Hint("Run a program that has it; or, if there is none any more: tidemark projection remove %s.", e.Name)
	}
	return own, c.Admit(own.Definition())
}

// compare logs, once, that a projection of this program is not what the catalog has and what runs in spite of that.
func (r *Runner) compare(ctx context.Context, e *catalog.Entry, own projections.Projection) {
	said := ""
	switch {
	case own == nil || e.State == catalog.Removed:
	case e.Kind == catalog.File:
		said = "the catalog has a projection of that name from a file; the one of this program is not run"
	case own.Definition().Version < e.Version:
		said = fmt.Sprintf("the catalog has version %d; this program goes on with its own version until it is replaced", e.Version)
	}
	if r.compared[e.Name] == said {
		return
	}
	if r.compared[e.Name] = said; said != "" {
		r.logger.WarnContext(ctx, "a projection of this program is not what the catalog has", "projection", e.Name, "reason", said)
	}
}

func notKnown(e *catalog.Entry) error {
	return events.Errorf(catalog.ErrUnreadable, "%s is of the kind %q and in the state %q, which this release does not know", e.Name, e.Kind, e.State).
		Hint("Update this program.")
}

// earlier returns the versions before that are live or kept in this region, those whose definitions are in the log.
func (r *Runner) earlier(ctx context.Context, e *catalog.Entry) ([]projector.Version, error) {
	pointer, _, err := projections.ReadPointer(ctx, r.kv, e.Name)
	if err != nil {
		return nil, err
	}
	var found []projector.Version
	for _, before := range e.Earlier {
		if before.Fingerprint != pointer.Definition && (pointer.Previous == nil || before.Fingerprint != pointer.Previous.Definition) {
			continue
		}
		p, err := r.texts.get(ctx, e.Name, before.Version, before.Fingerprint, before.Definition)
		var log events.Reader
		if err == nil {
			log, err = r.reader(p.Definition().Source)
		}
		if isFleeting(err) {
			return nil, err
		}
		if err != nil {
			r.logger.WarnContext(ctx, "the version before cannot be followed while the new one is built; it answers from where it stands",
				"projection", e.Name, "version", before.Version, "reason", err.Error())
			continue
		}
		found = append(found, projector.Version{Projection: p, Log: log})
	}
	return found, nil
}

// leftBehind returns the removed projections of which this region still has something. Only those are looked for that nothing was done about yet.
func (r *Runner) leftBehind(ctx context.Context, c catalog.Catalog) (map[string]bool, error) {
	left := make(map[string]bool)
	if !slices.ContainsFunc(c.Entries, func(e catalog.Entry) bool { return e.State == catalog.Removed && r.slots[e.Name] == nil }) || r.looked == c.Sequence {
		return left, nil
	}
	for _, key := range [...]func(string) string{projections.PointerKey, projections.StatusKey, projections.ReplayKey} {
		prefix := key("")
		keys, err := r.kv.Keys(ctx, prefix)
		if err != nil {
			return left, err
		}
		for _, k := range keys {
			left[k[len(prefix):]] = true
		}
	}
	r.looked = c.Sequence
	return left, nil
}

func followKey(p projections.Projection) string {
	def := p.Definition()
	return fmt.Sprintf("follow %d %s", def.Version, def.Fingerprint())
}

// follow returns the plan to keep a projection's read model up to date.
func (r *Runner) follow(p projections.Projection, earlier []projector.Version) plan {
	def := p.Definition()
	return plan{key: followKey(p), what: fmt.Sprintf("version %d is followed", def.Version), run: func(ctx context.Context) {
		worker, err := r.projector(p, earlier)
		if err != nil {
			_ = projector.NewRefused(*def, err, r.kv, r.leases, r.options.Projector).Run(ctx) // returns nil at the end of ctx
			return
		}
		_ = worker.Run(ctx) // returns nil at the end of ctx
	}}
}

func definitionOf(e *catalog.Entry) projections.Definition {
	return projections.Definition{Name: e.Name, Version: e.Version}
}

// refuse returns the plan to say why a projection is not followed here.
func (r *Runner) refuse(e *catalog.Entry, reason error) plan {
	return plan{key: "refuse " + reason.Error(), what: reason.Error(), run: func(ctx context.Context) {
		_ = projector.NewRefused(definitionOf(e), reason, r.kv, r.leases, r.options.Projector).Run(ctx) // returns nil at the end of ctx
	}}
}

func (r *Runner) pause(e *catalog.Entry) plan {
	return plan{key: fmt.Sprintf("pause %d", e.Version), what: "it is paused", run: func(ctx context.Context) {
		_ = projector.NewPaused(definitionOf(e), r.kv, r.leases, r.options.Projector).Run(ctx) // returns nil at the end of ctx
	}}
}

func (r *Runner) remove(e *catalog.Entry) plan {
	return plan{key: "remove", what: "it is removed", run: func(ctx context.Context) {
		_ = projector.NewRemover(e.Name, r.store, r.kv, r.leases, r.options.Projector).Run(ctx) // returns nil when it is done, or at the end of ctx
	}}
}
