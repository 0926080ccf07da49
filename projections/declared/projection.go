package declared

import (
	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// slot is what a fold needs of the routing before it.
type slot struct {
	call *call
	rule *rule
	own  call // that of an event whose first operation has this slot
}

// Projection is a projection that was read from a file. It never changes and may be used by several goroutines.
type Projection struct {
	definition projections.Definition
	meaning    string
	fields     []field
	rules      map[string][]*rule // by event type, in the order of the file
	upcasts    map[string][]*upcast
	attributes map[string]func(c *call) value
	variables  map[string]int // doc.name -> field
	wanted     wanted
	mapping    *mapping // nil: records are events already
}

// Definition describes it as it describes one in Go: name, version, fields, indexes, which events it handles, and when documents expire.
func (p *Projection) Definition() *projections.Definition { return &p.definition }

// Meaning is the fingerprint of what the file says: 16 hexadecimal digits of a SHA-256. Comments, layout, version and tests are not in it; the text
// of expressions is. Two files of one name and version with different meanings must not be run.
func (p *Projection) Meaning() string { return p.meaning }

// NewState returns the document that does not exist yet.
func (p *Projection) NewState() projections.State { return newDocument(p.fields) }

// Route appends an operation for each rule that the event meets. A condition or a key that cannot be computed is an operation with an error.
func (p *Projection) Route(r *events.Record, at int, ops *projections.Ops) {
	var c *call
	if p.mapping != nil {
		if c = p.message(r, at, ops); c == nil {
			return
		}
		r = c.record
	}
	for _, rule := range p.rules[r.Event.Type] {
		if !rule.about(&r.Event) {
			continue
		}
		s, ok := ops.Spare().(*slot)
		if !ok {
			s = &slot{}
		}
		if c == nil {
			c = &s.own
			c.begin(p, r)
		}
		key, concerned, err := rule.route(c)
		if !concerned {
			continue
		}
		op := ops.Next()
		op.At, op.Key, op.Err, op.Payload = at, key, err, s
		s.call, s.rule = c, rule
		if err == nil {
			c.folds++
		}
	}
}

// KeyOf returns the entity's id, unless a rule that is about the event has a condition, or computes its key.
func (p *Projection) KeyOf(r *events.Record) (key string, ok bool) {
	if p.mapping != nil {
		return "", false
	}
	for _, rule := range p.rules[r.Event.Type] {
		switch {
		case !rule.about(&r.Event):
		case rule.when != nil || rule.key != nil:
			return "", false
		default:
			key = r.Event.Entity.ID
		}
	}
	return key, true
}

// message returns the event that a message is; nil when no rule is about it. One that cannot be mapped is an operation with the error.
func (p *Projection) message(r *events.Record, at int, ops *projections.Ops) *call {
	s, ok := ops.Spare().(*slot)
	if !ok {
		s = &slot{}
	}
	c := &s.own
	c.begin(p, r)
	concerned, err := p.mapping.apply(c)
	if err != nil {
		op := ops.Next()
		op.At, op.Err, op.Payload = at, err, s
	}
	if !concerned {
		c.end()
		return nil
	}
	return c
}

// Fold applies an operation of Route. It fails with the reason why the document is to be parked, and leaves the state as it was.
func (p *Projection) Fold(s projections.State, r *events.Record, op *projections.Op) error {
	d, from := s.(*document), op.Payload.(*slot)
	c := from.call
	if c.given != r { // it was folded already
		c.begin(p, r)
		if p.mapping != nil {
			_, _ = p.mapping.apply(c) // as before, when there was no error
		}
	}
	copy(d.scratch, d.values)
	c.doc = d.scratch
	err := from.rule.fold(c, p.fields)
	c.doc = nil
	if c.folds--; c.folds <= 0 {
		c.end()
	}
	if err != nil {
		return err
	}
	d.values, d.scratch = d.scratch, d.values
	return nil
}

// seal fills in what follows from the parts.
func (p *Projection) seal(rules []*rule, upcasts []*upcast) error {
	p.rules, p.upcasts, p.variables = map[string][]*rule{}, map[string][]*upcast{}, map[string]int{}
	p.attributes = attributes()
	for i, f := range p.fields {
		p.definition.Fields = append(p.definition.Fields, projections.Field{Name: f.name, Kind: f.kind})
		p.variables[docPrefix+f.name] = i
		if f.expires {
			p.definition.Expires = f.name
		}
	}
	for _, r := range rules {
		for _, typ := range r.types {
			p.rules[typ] = append(p.rules[typ], r)
			p.definition.Handles = append(p.definition.Handles, projections.Handles{EntityType: r.entity, EventType: typ, ByEntity: r.key == nil && p.mapping == nil})
		}
	}
	for _, u := range upcasts {
		for _, typ := range u.types {
			p.upcasts[typ] = append(p.upcasts[typ], u)
		}
	}
	p.definition.Meaning = p.meaning
	return p.definition.Validate()
}
