package importer

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/events"
)

// ParseMap reads a map:
//
//	name: flights                # names the import: [A-Za-z0-9._-]{1,60}
//	source: urn:example:flights  # the events' source
//	events:                      # what each line becomes, in this order
//	  - type: FlightDeparted
//	    entity: airport/{origin}
//	    id: "{flight.number}"    # optional; default <name>-<line>-<index>
//	    time: {field: date, layout: "2006/01/02 15:04"}  # optional; a layout of Go's time package
//	    data: {date: date, late: delay}                  # optional; default the whole line
//
// Values in braces are fields of the line; dots lead into objects. It returns ErrInvalidMap with the line where the mistake is.
func ParseMap(text []byte) (*Map, error) {
	if len(text) > MaxMapBytes {
		return nil, events.Errorf(ErrInvalidMap, "the map has %d bytes, over the bound of %d", len(text), MaxMapBytes)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, events.Errorf(ErrInvalidMap, "the map is empty")
	case err != nil:
		return nil, events.Errorf(ErrInvalidMap, "the map is not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, events.Errorf(ErrInvalidMap, "the map is more than one YAML document")
	}
	m := &Map{}
	err := object(document.Content[0], "the map", map[string]func(*yaml.Node) error{
		"name":   m.readName,
		"source": func(n *yaml.Node) error { return scalar(n, "source", &m.source) },
		"events": m.readRules,
	}, "name", "source", "events")
	if err != nil {
		return nil, err
	}
	m.seal()
	return m, m.try(document.Content[0])
}

// badMap returns an ErrInvalidMap at a node. A mistake is where the node is, not where it is used: an alias is none of ours.
func badMap(n *yaml.Node, format string, args ...any) error {
	return events.Errorf(ErrInvalidMap, "line %d: "+format, append([]any{n.Line}, args...)...).
		Hint("Mend the map; nothing was imported.")
}

// object reads a mapping whose keys are all known, none twice, and of which the required ones are there. Aliases are refused, so a small map
// cannot become a large one.
func object(n *yaml.Node, what string, fields map[string]func(*yaml.Node) error, required ...string) error {
	if n.Kind != yaml.MappingNode {
		return badMap(n, "%s must be a mapping of keys to values", what)
	}
	var seen []string
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read, known := fields[key.Value]
		switch {
		case !known || key.Kind != yaml.ScalarNode:
			return badMap(key, "%s has no key %q", what, key.Value)
		case slices.Contains(seen, key.Value):
			return badMap(key, "%s has the key %s twice", what, key.Value)
		}
		seen = append(seen, key.Value)
		if err := read(value); err != nil {
			return err
		}
	}
	for _, key := range required {
		if !slices.Contains(seen, key) {
			return badMap(n, "%s lacks the key %s", what, key)
		}
	}
	return nil
}

func scalar(n *yaml.Node, what string, into *string) error {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return badMap(n, "anchors and aliases are not read: write the value of %s out", what)
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Value == "":
		return badMap(n, "%s must be a text", what)
	}
	*into = n.Value
	return nil
}

func (m *Map) readName(n *yaml.Node) error {
	if err := scalar(n, "name", &m.name); err != nil {
		return err
	}
	if !validName(m.name) {
		return badMap(n, "the name %q is not 1 to %d characters of A-Z a-z 0-9 . _ -", m.name, maxName)
	}
	return nil
}

func (m *Map) readRules(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 || len(n.Content) > MaxRules {
		return badMap(n, "events must be a list of 1 to %d events", MaxRules)
	}
	for _, item := range n.Content {
		var r rule
		err := object(item, "an event", map[string]func(*yaml.Node) error{
			"type":   func(n *yaml.Node) error { return readTemplate(n, "type", &r.typ) },
			"entity": func(n *yaml.Node) error { return readTemplate(n, "entity", &r.entity) },
			"id": func(n *yaml.Node) error {
				r.id = new(template)
				return readTemplate(n, "id", r.id)
			},
			"time": r.readTime,
			"data": r.readData,
		}, "type", "entity")
		if err != nil {
			return err
		}
		m.rules = append(m.rules, r)
	}
	return nil
}

func readTemplate(n *yaml.Node, what string, into *template) error {
	var text string
	if err := scalar(n, what, &text); err != nil {
		return err
	}
	t, err := parseTemplate(text)
	if err != nil {
		return badMap(n, "%s: %s", what, err)
	}
	*into = t
	return nil
}

func readPath(n *yaml.Node, what string, into *path) error {
	var text string
	if err := scalar(n, what, &text); err != nil {
		return err
	}
	p, err := parsePath(text)
	if err != nil {
		return badMap(n, "%s: %s", what, err)
	}
	*into = p
	return nil
}

func (r *rule) readTime(n *yaml.Node) error {
	r.time = &timeRule{}
	return object(n, "time", map[string]func(*yaml.Node) error{
		"field":  func(n *yaml.Node) error { return readPath(n, "field", &r.time.field) },
		"layout": func(n *yaml.Node) error { return scalar(n, "layout", &r.time.layout) },
	}, "field", "layout")
}

func (r *rule) readData(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 || len(n.Content) > 2*maxData {
		return badMap(n, "data must be a mapping of 1 to %d new names to fields of the line", maxData)
	}
	names := make(map[string]func(*yaml.Node) error, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		name := n.Content[i].Value
		names[name] = func(n *yaml.Node) error {
			f := field{name: name}
			err := readPath(n, "data."+name, &f.from)
			r.data = append(r.data, f)
			return err
		}
	}
	return object(n, "data", names)
}

// try checks what can be checked without a line: the source, and whatever takes nothing from a line.
func (m *Map) try(n *yaml.Node) error {
	for i := range m.rules {
		r := &m.rules[i]
		e := events.Event{ID: "id", Source: m.source, Type: "Type", Entity: events.Entity{Type: "type", ID: "id"}}
		if typ, ok := r.typ.constant(); ok {
			e.Type = typ
		}
		if entity, ok := r.entity.constant(); ok {
			var err error
			if e.Entity, err = events.ParseEntity(entity); err != nil {
				return badMap(n, "event %d: %s", i+1, what(err))
			}
		}
		if err := e.Validate(); err != nil {
			return badMap(n, "event %d: %s", i+1, what(err))
		}
	}
	return nil
}
