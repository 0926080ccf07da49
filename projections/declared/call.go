package declared

import (
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

	"tidemark.dev/events"
)

// call is one event on its way through the rules. It is the activation of the expressions: it resolves their variables.
type call struct {
	projection *Projection
	record     *events.Record
	doc        []value  // while a fold is under way
	given      *node    // the data of what was mapped from a message
	subject    []string // the tokens of the subject, once somebody asked

	decoded bool
	data    node
	err     error // why there is no data
}

// payload returns the data, decoded when it is first needed, and upcast.
func (c *call) payload() (*node, error) {
	if !c.decoded {
		c.decoded = true
		if c.given != nil {
			c.data = *c.given
		} else {
			c.data, c.err = parseData(&c.record.Event)
		}
		if c.err == nil {
			c.err = c.projection.upcast(c)
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	return &c.data, nil
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
		return celValue(get(c)), true
	}
	if i, ok := c.projection.variables[name]; ok && c.doc != nil {
		return celValue(c.doc[i]), true
	}
	return nil, false
}

// Parent returns nil: there is no other activation.
func (c *call) Parent() interpreter.Activation { return nil }
