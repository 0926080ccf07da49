package runner

import (
	"context"
	"errors"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/declared"
)

// texts reads definitions from the log, and remembers what became of them.
type texts struct {
	log    events.Reader
	parsed map[text]parsed
}

// text names a definition: where it is, and what it should be. A log that was recreated has another at its place.
type text struct {
	sequence uint64
	name     string
	finger   string
}

type parsed struct {
	projection projections.Projection
	err        error
}

// get returns the projection of a definition: the text at a sequence, which must be what the catalog says. It returns why this program cannot run it:
// projections.ErrInvalidProjection, projections.ErrDefinitionChanged, catalog.ErrUnreadable, or the error of the log.
func (t *texts) get(ctx context.Context, name string, version int, finger string, seq uint64) (projections.Projection, error) {
	key := text{seq, name, finger}
	if known, ok := t.parsed[key]; ok {
		return known.projection, known.err
	}
	content, err := catalog.Text(ctx, t.log, name, seq)
	if err != nil {
		return nil, err
	}
	p, err := parse(name, version, finger, content)
	t.parsed[key] = parsed{p, err}
	return p, err
}

func parse(name string, version int, finger string, content []byte) (projections.Projection, error) {
	p, _, err := declared.Parse(name+".yaml", content)
	if err != nil {
		return nil, events.Errorf(projections.ErrInvalidProjection, "the definition of %s version %d cannot be used by this release: %w", name, version, err).
			Hint("Update this program, or apply a version that it can read.")
	}
	def := p.Definition()
	if now := def.Fingerprint(); def.Name != name || def.Version != version || now != finger {
		return nil, events.Errorf(projections.ErrDefinitionChanged, "the definition of %s version %d is %s in the catalog, and %s version %d %s as this release reads it",
			name, version, finger, def.Name, def.Version, now).Hint("Run the same release in all regions, or apply the file again with a higher version.")
	}
	return p, nil
}

// keep forgets the definitions that the catalog does not name any more.
func (t *texts) keep(c catalog.Catalog) {
	named := make(map[uint64]bool, len(c.Entries))
	for i := range c.Entries {
		named[c.Entries[i].Definition] = true
		for _, e := range c.Entries[i].Earlier {
			named[e.Definition] = true
		}
	}
	for key := range t.parsed {
		if !named[key.sequence] {
			delete(t.parsed, key)
		}
	}
}

// isFleeting reports whether an error may be gone at the next look, so that nothing follows from it.
func isFleeting(err error) bool {
	if err == nil {
		return false
	}
	for _, code := range [...]events.Code{events.ErrUnreachable, events.ErrUnauthorized, events.ErrNoLog, events.ErrClosed} {
		if errors.Is(err, code) {
			return true
		}
	}
	_, coded := events.CodeOf(err)
	return !coded // the end of a context
}
