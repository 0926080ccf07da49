package query

import (
	"context"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
)

// Listing is the projections of the installation, as this region's copy of the log has them.
type Listing struct {
	Region string `json:"region"`
	// Position of the catalog; empty when there is none yet.
	Position    events.Position `json:"position"`
	Projections []Listed        `json:"projections"`
}

// Listed is one projection of the installation, and how it does in this region.
type Listed struct {
	Name        string        `json:"name"`
	Version     int           `json:"version"`
	Kind        catalog.Kind  `json:"kind"`
	State       catalog.State `json:"state"`
	Fingerprint string        `json:"fingerprint"`
	// Definition is where its text is in the log; empty when it is written in Go.
	Definition events.Position `json:"definition,omitzero"`
	// Here is how the region's read model does; nil when there is none yet, and nothing is said about it.
	Here *ModelStatus `json:"here"`
}

// Definition is what a projection is.
type Definition struct {
	Listed
	Region string `json:"region"`
	// Text is the file as it was applied; empty when it is written in Go.
	Text string `json:"text,omitempty"`
	// Fields and Indexes of the documents that this region serves now; none when there is no read model yet.
	Fields  []projections.Field `json:"fields"`
	Indexes []projections.Index `json:"indexes,omitempty"`
}

// Catalog returns the projections of the installation that are not removed. Errors: those of catalog.Read and Overview.
func (r *Reader) Catalog(ctx context.Context) (Listing, error) {
	l := Listing{Region: r.region, Projections: []Listed{}}
	c, info, err := r.catalog(ctx)
	if err != nil || c.Sequence == 0 {
		return l, err
	}
	l.Position = info.Position(c.Sequence)
	o, err := r.Overview(ctx)
	if err != nil {
		return l, err
	}
	here := make(map[string]*ModelStatus, len(o.Projections))
	for i := range o.Projections {
		here[o.Projections[i].Name] = &o.Projections[i]
	}
	for i := range c.Entries {
		if e := &c.Entries[i]; e.State != catalog.Removed {
			l.Projections = append(l.Projections, listed(e, info, here[e.Name]))
		}
	}
	return l, nil
}

// Definition returns what a projection is. Errors: those of Catalog, catalog.Text, and projections.ErrUnknownProjection.
func (r *Reader) Definition(ctx context.Context, name string) (Definition, error) {
	d := Definition{Region: r.region, Fields: []projections.Field{}}
	c, info, err := r.catalog(ctx)
	if err != nil {
		return d, err
	}
	e, err := c.Get(name)
	if err != nil {
		return d, err
	}
	s, there, err := r.model(ctx, name)
	if err != nil {
		return d, err
	}
	d.Listed = listed(&e, info, nil)
	if there {
		d.Here = &s
	}
	if e.Kind == catalog.File {
		text, err := catalog.Text(ctx, r.heads.log, name, e.Definition)
		if err != nil {
			return d, err
		}
		d.Text = string(text)
	}
	pointer, _, err := projections.ReadPointer(ctx, r.kv, name)
	if err == nil && pointer.Generation != 0 {
		d.Fields, d.Indexes = pointer.Fields, pointer.Indexes
	}
	return d, err
}

func (r *Reader) catalog(ctx context.Context) (catalog.Catalog, events.Info, error) {
	c, err := catalog.Read(ctx, r.heads.log)
	if err != nil {
		return c, events.Info{}, err
	}
	info, err := r.heads.Info(ctx)
	return c, info, err
}

func listed(e *catalog.Entry, info events.Info, here *ModelStatus) Listed {
	l := Listed{Name: e.Name, Version: e.Version, Kind: e.Kind, State: e.State, Fingerprint: e.Fingerprint, Here: here}
	if e.Kind == catalog.File {
		l.Definition = info.Position(e.Definition)
	}
	return l
}
