package declared

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"go.yaml.in/yaml/v3"

	"tidemark.dev/projections"
)

func streamPlace() place {
	return place{name: "the stream", keys: []key{
		{name: "name", required: true, example: "ORDERS", help: "Name of the stream in the region's NATS."},
		{name: "origin", fallback: "made of the name", example: "orders", help: "What its history is called in positions: [a-z0-9-]{1,32}."},
		{name: "subjects", fallback: "all", example: `["orders.>"]`,
			help: "Subjects of the messages that are looked at, a text or a list; * is any one token, > all that follow. The others are passed over."},
		{name: "type", required: true, example: "subject[1]", help: "Type of the event: an expression over subject, headers and data, or {text: …}."},
		{name: "entity", required: true, example: "{type: {text: order}, id: data.order.id}", help: "What the event is about."},
		{name: "data", fallback: "all of it", example: "data.order", help: "Path of the part of the payload that the rules see as data."},
		{name: "time", fallback: "none", example: "data.at",
			help: "When it happened: a text of RFC 3339 (an empty one is no time), or {seconds: …} or {milliseconds: …} since 1970."},
		{name: "id", fallback: "the sequence", example: `headers["X-Id"]`, help: "The event's id."},
	}}
}

func entityPlace() place {
	return place{name: "an entity", keys: []key{
		{name: "type", required: true, example: "{text: order}", help: "Type of the entity: an expression over subject, headers and data, or {text: …}."},
		{name: "id", required: true, example: "data.order.id", help: "Id of the entity: an expression over subject, headers and data; an integer becomes its digits."},
	}}
}

func timePlace() place {
	return place{name: "a time", keys: []key{
		{name: "seconds", example: "data.at", help: "Seconds since 1970, an integer."},
		{name: "milliseconds", example: "data.at", help: "Milliseconds since 1970, an integer."},
	}}
}

// readStream reads what stands below stream; nil when there is nothing.
func (c *compiler) readStream(n *yaml.Node) (*mapping, *projections.Source) {
	if n == nil {
		return nil, nil
	}
	found := c.object(n, streamPlace())
	if found == nil {
		return &mapping{}, nil // there is a finding
	}
	x := &normalStream{Name: c.text(found["name"], "name")}
	c.normal.Stream = x
	m := &mapping{}
	switch x.Origin = projections.OriginOf(x.Name); {
	case x.Name != "" && !projections.ValidStream(x.Name):
		c.find(found["name"], ErrBadValue, "the stream's name %q has a blank, a dot, a star, a >, a slash, or more than 255 bytes", clip(x.Name))
	case found["origin"] != nil:
		x.Origin = c.text(found["origin"], "origin")
		if source := (&projections.Source{Stream: "x", Origin: x.Origin}); x.Origin != "" && source.Validate() != nil {
			c.find(found["origin"], ErrBadValue, "the origin %q is not [a-z0-9-]{1,32}", clip(x.Origin))
		}
	}
	m.subjects = c.subjects(found["subjects"])
	m.typ = c.mappedValue(found["type"], "type", &x.Type, kindString)
	if entity := found["entity"]; entity != nil {
		parts := c.object(entity, entityPlace())
		m.entityType = c.mappedValue(parts["type"], "entity: type", &x.Entity[0], kindString)
		m.entityID = c.mappedValue(parts["id"], "entity: id", &x.Entity[1], kindString, kindInt)
	}
	m.part = c.part(found["data"])
	m.at, m.perSecond = c.time(found["time"], &x.Time)
	m.id = c.mappedValue(found["id"], "id", &x.ID, kindString, kindInt)
	x.Subjects, x.Data, m.wanted = m.subjects, m.part.names, c.mapped
	return m, &projections.Source{Stream: x.Name, Origin: x.Origin}
}

// mappedValue reads a value over the message; nil when there is none.
func (c *compiler) mappedValue(n *yaml.Node, what string, normal *string, want ...kind) source {
	if n == nil {
		return nil
	}
	return c.value(c.stream, n, what, normal, want...)
}

func (c *compiler) subjects(n *yaml.Node) []string {
	var patterns []string
	c.texts(n, "subjects", func(n *yaml.Node, text string) {
		switch {
		case !validPattern(text):
			c.find(n, ErrBadValue, "%q is no subject: tokens joined by dots, * for any one of them, > for all that follow", clip(text))
		case slices.Contains(patterns, text):
			c.find(n, ErrDuplicateKey, "subjects names %s twice", clip(text))
		default:
			patterns = append(patterns, text)
		}
	})
	return patterns
}

// part reads a path of the payload.
func (c *compiler) part(n *yaml.Node) path {
	text := c.text(n, "data")
	if text == "" || strings.TrimSpace(text) == dataVariable {
		return path{}
	}
	from := c.expression(c.stream, n, 0, text, "data")
	p, ok := from.(path)
	if from != nil && !ok {
		c.find(n, ErrBadValue, "data must be a path of the payload, such as data.order")
	}
	return p
}

// time reads when an event happened.
func (c *compiler) time(n *yaml.Node, normal *[2]string) (source, int64) {
	if n == nil || n.Kind != yaml.MappingNode {
		return c.mappedValue(n, "time", &normal[1], kindString), 0
	}
	found := c.object(n, timePlace())
	if len(found) != 1 {
		if found != nil && len(n.Content) != 2 { // otherwise what is wrong with the one key was said
			c.find(n, ErrBadValue, "time must have either seconds or milliseconds")
		}
		return nil, 0
	}
	for unit, perSecond := range map[string]int64{"seconds": 1, "milliseconds": 1_000} {
		if v := found[unit]; v != nil {
			normal[0] = unit
			return c.mappedValue(v, "time: "+unit, &normal[1], kindInt), perSecond
		}
	}
	return nil, 0
}

// ofMessage returns the source of what needs no CEL: subject[1], headers["X-Id"].
func ofMessage(e ast.Expr) source {
	if e.Kind() == ast.SelectKind && !e.AsSelect().IsTestOnly() && isVariable(e.AsSelect().Operand(), headersVariable) {
		return header(e.AsSelect().FieldName())
	}
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != "_[_]" || len(e.AsCall().Args()) != 2 {
		return nil
	}
	of, at := e.AsCall().Args()[0], e.AsCall().Args()[1]
	if at.Kind() != ast.LiteralKind {
		return nil
	}
	switch i := at.AsLiteral().(type) {
	case types.Int:
		if isVariable(of, subjectVariable) && i >= 0 && i < maxTokens {
			return token(i)
		}
	case types.String:
		if isVariable(of, headersVariable) {
			return header(i)
		}
	}
	return nil
}

func isVariable(e ast.Expr, name string) bool {
	return e.Kind() == ast.IdentKind && e.AsIdent() == name
}

// maxTokens bounds the number of a token: servers take no subject of more bytes.
const maxTokens = 4_096
