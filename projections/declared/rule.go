package declared

import (
	"strings"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// rule says what some events do to which document.
type rule struct {
	types  []string
	entity string // empty: any
	when   source // nil: always
	key    []part // nil: the entity's id
	steps  []step
	what   string // for reasons
}

// part of a key: a text or a source.
type part struct {
	text string
	from source
}

// route returns the key of the document that an event changes, and whether it changes any. A key beside an error is that of the document to park.
func (r *rule) route(c *call) (key string, concerned bool, err error) {
	met, err := condition(r.when, c)
	switch {
	case err != nil:
		key, _ = r.keyOf(c) // what cannot be computed either is unrouted, for the first reason
		return key, true, because("%s: its condition: %s", r.what, err)
	case !met:
		return "", false, nil
	}
	key, err = r.keyOf(c)
	return key, true, err
}

func (r *rule) keyOf(c *call) (string, error) {
	if r.key == nil {
		return c.record.Event.Entity.ID, nil
	}
	var b strings.Builder
	for _, p := range r.key {
		b.WriteString(p.text)
		if p.from == nil {
			continue
		}
		v, err := p.from.eval(c)
		if err != nil {
			return "", because("%s: its key: %s", r.what, err)
		}
		if v.kind != kindString && v.kind != kindInt {
			return "", because("%s: its key: %s cannot be part of it", r.what, v.kind)
		}
		b.WriteString(v.String())
	}
	key := b.String()
	if err := projections.ValidateKey(key); err != nil {
		return "", because("%s: %s", r.what, what(err))
	}
	return key, nil
}

// about reports whether a rule is about the entity of an event.
func (r *rule) about(e *events.Event) bool { return r.entity == "" || r.entity == e.Entity.Type }
