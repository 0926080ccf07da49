package runner

import (
	"context"
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/projector"
)

// Versions finds what the live read models of a region were folded with. It is not safe for concurrent use.
type Versions struct {
	own    []projections.Projection
	log    events.Reader
	kv     projections.KV
	reader func(*projections.Source) (events.Reader, error)
	texts  texts
}

// NewVersions returns the Versions of a region: of the projections that are compiled into the program, and of those in the catalog. reader returns what a projection with a source is folded
// from; nil: such ones are not found.
func NewVersions(own []projections.Projection, log events.Reader, kv projections.KV, reader func(*projections.Source) (events.Reader, error)) *Versions {
	return &Versions{own: own, log: log, kv: kv, reader: reader, texts: texts{log: log, parsed: make(map[text]parsed)}}
}

// Names returns the names of the projections that the region has a read model of, sorted.
func (v *Versions) Names(ctx context.Context) ([]string, error) {
	prefix := projections.PointerKey("")
	keys, err := v.kv.Keys(ctx, prefix)
	for i := range keys {
		keys[i] = keys[i][len(prefix):]
	}
	return keys, err
}

// Live returns the version of a projection that is live in the region, and its log. It returns projections.ErrUnknownProjection, catalog.ErrNotInBuild when this program does not have what it was folded
// with, and the errors of the log and of KV.
func (v *Versions) Live(ctx context.Context, name string) (projector.Version, error) {
	pointer, _, err := projections.ReadPointer(ctx, v.kv, name)
	if err != nil {
		return projector.Version{}, err
	}
	if pointer.Generation == 0 {
		return projector.Version{}, projections.UnknownProjection(name)
	}
	for _, p := range v.own {
		if def := p.Definition(); def.Name == name && def.Fingerprint() == pointer.Definition {
			return v.of(p)
		}
	}
	c, err := catalog.Read(ctx, v.log)
	if err != nil {
		return projector.Version{}, err
	}
	e, _ := c.Find(name)
	if e.Kind == catalog.File && e.Fingerprint == pointer.Definition {
		p, err := v.texts.get(ctx, name, e.Version, e.Fingerprint, e.Definition)
		if err != nil {
			return projector.Version{}, err
		}
		return v.of(p)
	}
	for i := range e.Earlier {
		if before := &e.Earlier[i]; before.Fingerprint == pointer.Definition {
			p, err := v.texts.get(ctx, name, before.Version, before.Fingerprint, before.Definition)
			if err != nil {
				return projector.Version{}, err
			}
			return v.of(p)
		}
	}
	return projector.Version{}, events.Errorf(catalog.ErrNotInBuild, "version %d of %s is live, and this program does not have it", pointer.Version, name).
		Hint("Use a program that was built with it.")
}

// Current returns the version of a projection that a replay in the region builds: the one that the catalog has, or the one that is compiled into this program; and its log. It returns
// projections.ErrUnknownProjection, catalog.ErrPaused, catalog.ErrNotInBuild, catalog.ErrUnreadable, why a definition cannot be used here, and the errors of the log.
func (v *Versions) Current(ctx context.Context, name string) (projector.Version, error) {
	c, err := catalog.Read(ctx, v.log)
	if err != nil {
		return projector.Version{}, err
	}
	i := slices.IndexFunc(v.own, func(p projections.Projection) bool { return p.Definition().Name == name })
	e, known := c.Find(name)
	switch {
	case known && e.State == catalog.Paused:
		return projector.Version{}, events.Errorf(catalog.ErrPaused, "%s is paused, so nobody would replay it; nothing was started", name).Hint("tidemark projection resume %s", name)
	case known && e.State == catalog.Removed && (e.Kind == catalog.Go || i < 0), !known && i < 0:
		return projector.Version{}, projections.UnknownProjection(name)
	case known && e.State == catalog.Active && e.Kind == catalog.File:
		p, err := v.texts.get(ctx, name, e.Version, e.Fingerprint, e.Definition)
		if err != nil {
			return projector.Version{}, err
		}
		return v.of(p)
	case known && e.State != catalog.Active && e.State != catalog.Removed, known && e.Kind != catalog.File && e.Kind != catalog.Go:
		return projector.Version{}, notKnown(&e)
	case i < 0:
		return projector.Version{}, events.Errorf(catalog.ErrNotInBuild, "%s is written in Go, and this program was built without it, so what a replay of it would do is not known here; nothing was started", name).
			Hint("Use a program that was built with it.")
	}
	return v.of(v.own[i])
}

func (v *Versions) of(p projections.Projection) (projector.Version, error) {
	source := p.Definition().Source
	switch {
	case source == nil:
		return projector.Version{Projection: p, Log: v.log}, nil
	case v.reader == nil:
		return projector.Version{}, events.Errorf(projections.ErrInvalidProjection, "the stream %s cannot be read here", source.Stream)
	}
	log, err := v.reader(source)
	return projector.Version{Projection: p, Log: log}, err
}
