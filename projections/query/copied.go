package query

import (
	"context"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// copied returns the copy of a name, as the pointer had it when the model was looked up.
func (m *model) copied(name string) (model, bool) {
	for i := range m.copies {
		c := &m.copies[i]
		if c.Name != name {
			continue
		}
		return model{
			gen: projections.Generation{Projection: m.gen.Projection, Number: c.Generation, Partitions: c.Partitions}, copy: c,
			def: projections.Definition{Name: m.def.Name, Version: c.Version, Fields: c.Fields, Indexes: c.Indexes, Source: c.Source},
		}, true
	}
	return model{}, false
}

// readCopy asks a copy, once: what it does not have it never will.
func (r *Reader) readCopy(ctx context.Context, q *question, o Options, wait time.Duration) (model, projections.Header, error) {
	m, err := r.models.get(ctx, q.projection, q.at, false)
	if err != nil {
		return model{}, projections.Header{}, err
	}
	if o.Strong {
		return m, projections.Header{}, events.Errorf(projections.ErrInvalidQuery, "a strong read was asked for, and a copy does not move: %s is at %s", m.said(), m.copy.Position).
			Hint("Read it without a consistency, or read %s without naming a copy.", q.projection)
	}
	wanted, err := o.wanted(ctx, r.headsOf(&m), wait)
	if err != nil {
		return m, projections.Header{}, err
	}
	m, h, err := r.look(ctx, q)
	if err == nil {
		err = r.judge(ctx, &m, h, wanted)
	}
	return m, h, err
}

// standing is where an answer of the model stands, but for its lag and its tag.
func (m *model) standing(at events.Position) Standing {
	s := Standing{Position: at, Generation: m.gen.Number}
	if m.copy != nil {
		s.At = m.copy.Name
	}
	return s
}

// said names the model for people.
func (m *model) said() string {
	if m.copy != nil {
		return copyOf(m.copy.Name, m.def.Name)
	}
	return m.def.Name
}

func copyOf(name, projection string) string { return "the copy " + name + " of " + projection }

// missing is the error of a copy that the pointer names and that cannot be read.
func (m *model) missing() error {
	return events.Errorf(projections.ErrUnavailable, "%s is named in this region, and the store does not have all of it", m.said()).
		Hint("The store lost it, and a copy is not built again by itself. tidemark replay list %s shows what there is; drop it, and make it anew.", m.def.Name)
}

// never is ErrNotReached of a copy.
func (m *model) never(at, wanted events.Position) error {
	return &Behind{Position: at, Err: events.Errorf(projections.ErrNotReached, "%s is at %s and never comes to %s: a copy does not move", m.said(), at, wanted).
		Hint("Read it without a position, or a later copy, or the live read model.")}
}

// pin names what a listing goes on in.
type pin struct {
	generation uint32 // 0: anything will do
	position   string // of a copy: in another region, another one may have its name and number
}

// pin returns what a listing of the model goes on in.
func (m *model) pin() pin {
	p := pin{generation: m.gen.Number}
	if m.copy != nil {
		p.position = m.copy.Position
	}
	return p
}

// notPinned is the error of a listing that goes on in something else than the model.
func (m *model) notPinned(p pin) error {
	if m.copy == nil {
		return replaced(m.def.Name, p.generation, m.gen.Number)
	}
	return events.Errorf(projections.ErrResync, "%s is another one: this goes on in the one at %s, generation %d, and the one here is at %s, generation %d",
		m.said(), p.position, p.generation, m.copy.Position, m.gen.Number).Hint("Begin anew: list it without a cursor.")
}

// clip bounds a text of somebody else's in a message.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
