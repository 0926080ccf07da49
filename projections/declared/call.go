package declared

import (
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// call is one event on its way through the rules. It is the activation of the expressions: it resolves their variables.
type call struct {
	projection *Projection
	record     *events.Record
	doc        []value // while a fold is under way
	folds      int     // that are still to come

	given   *events.Record // what was routed: the record, or the message that it was mapped from
	part    string         // of the message, which is the data; empty: the data is the event's
	subject []string       // its tokens, once somebody asked

	decoded bool
	data    node
	err     error // why there is no data
	root    inside

	one     [1]projections.Element // the elements of a single value
	walked  *list                  // the list of a document that was asked for last,
	walkers ref.Val                // and that as CEL has it
}

// begin makes the call one of another event. It keeps its memory.
func (c *call) begin(p *Projection, r *events.Record) {
	members := c.root.members
	*c = call{projection: p, record: r, given: r}
	c.root.members = members
}

// end forgets the event. Between batches nothing keeps the payloads of the last one in memory.
func (c *call) end() {
	const few = 64 // names of an object: more memory than for that is given back
	members := c.root.members
	clear(members)
	if *c = (call{}); cap(members) <= few {
		c.root.members = members[:0]
	}
}

// payload returns the data, decoded when it is first needed, and upcast.
func (c *call) payload() (*node, error) {
	if !c.decoded {
		c.decoded = true
		if c.err = c.decode(); c.err == nil {
			c.err = c.projection.upcast(c)
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	return &c.data, nil
}

func (c *call) decode() (err error) {
	text := c.part
	if text == "" {
		if text, err = dataText(&c.record.Event); err != nil {
			return err
		}
	}
	c.open(text, &c.projection.wanted)
	return nil
}

// open begins to read the data.
func (c *call) open(text string, w *wanted) {
	c.data = node{text: text}
	if first := text[0]; first == '{' || first == '[' {
		c.root = inside{members: c.root.members[:0]}
		c.root.read(text, w)
		c.data.in = &c.root
	}
}

// elements returns the elements of a list, or the one that a single value is.
func (c *call) elements(v value) (_ []projections.Element, err error) {
	if v.kind == kindList {
		return v.list.elements, nil
	}
	c.one[0], err = v.element()
	return c.one[:], err
}

// list returns a list as CEL has it. An expression may ask for it at every item of another.
func (c *call) list(l *list) ref.Val {
	if c.walked != l {
		all := make([]ref.Val, len(l.elements))
		for i, e := range l.elements {
			all[i] = c.celValue(ofElement(e))
		}
		c.walked, c.walkers = l, types.NewRefValList(types.DefaultTypeAdapter, all)
	}
	return c.walkers
}

// The variables of expressions.
const (
	dataVariable = "data"
	docPrefix    = "doc."
)

// attributes of the event that are values of ours. The time is none: it may be missing, and no field holds it.
func attributes() map[string]func(c *call) value {
	return map[string]func(c *call) value{
		"event.id":          func(c *call) value { return ofString(c.record.Event.ID) },
		"event.source":      func(c *call) value { return ofString(c.record.Event.Source) },
		"event.type":        func(c *call) value { return ofString(c.record.Event.Type) },
		"event.schema":      func(c *call) value { return ofString(c.record.Event.Schema) },
		"event.entity.type": func(c *call) value { return ofString(c.record.Event.Entity.Type) },
		"event.entity.id":   func(c *call) value { return ofString(c.record.Event.Entity.ID) },
		"event.sequence":    func(c *call) value { return ofInt(int64(c.record.Sequence)) }, //nolint:gosec // a stream has no 2^63 records
		"event.has_time":    func(c *call) value { return ofBool(!c.record.Event.Time.IsZero()) },
	}
}

// tokens returns the tokens of the subject.
func (c *call) tokens() []string {
	if c.subject == nil {
		c.subject = strings.Split(c.record.Subject, ".")
	}
	return c.subject
}

const timeVariable = "event.time"

// The variables of a mapping, beside data.
const (
	subjectVariable = "subject"
	headersVariable = "headers"
)

// ResolveName returns the value of a variable.
func (c *call) ResolveName(name string) (any, bool) {
	switch name {
	case dataVariable:
		n, err := c.payload()
		if err != nil {
			return types.WrapErr(err), true
		}
		return celOf(n, dataVariable), true
	case timeVariable:
		if c.record.Event.Time.IsZero() {
			return types.WrapErr(because("event.time is missing")), true
		}
		return types.Timestamp{Time: c.record.Event.Time.UTC()}, true
	case subjectVariable:
		return types.NewStringList(types.DefaultTypeAdapter, c.tokens()), true
	case headersVariable:
		return celOf(headersNode(c.record.Header), headersVariable), true
	}
	if get := c.projection.attributes[name]; get != nil {
		return c.celValue(get(c)), true
	}
	if i, ok := c.projection.variables[name]; ok && c.doc != nil {
		return c.celValue(c.doc[i]), true
	}
	return nil, false
}

// Parent returns nil: there is no other activation.
func (c *call) Parent() interpreter.Activation { return nil }
