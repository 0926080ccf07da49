package declared

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/projections"
)

// expiryField is the field that a document has when a step of the file says when it expires.
const expiryField = "expires"

// expires returns the first step that says when a document expires; nil when none does.
func expires(rules *yaml.Node) *yaml.Node {
	for _, rule := range below(rules) {
		for _, step := range below(valueOfKey(rule, "do")) {
			if verb := valueOfKey(step, string(verbExpire)); verb != nil {
				return verb
			}
		}
	}
	return nil
}

// below returns the items of a list.
func below(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// valueOfKey returns the value of a key of a mapping, nil when it is not there.
func valueOfKey(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// fields reads the fields of a document. expire is the step, if any, that gives it one more.
func (r *reader) fields(n, expire *yaml.Node) []field {
	const most = 64 // of a definition
	var fields []field
	if n == nil {
		return nil
	}
	r.pairs(n, "fields", func(k, v *yaml.Node) {
		probe := projections.Definition{Name: "x", Version: 1, Fields: []projections.Field{{Name: k.Value}}, Handles: []projections.Handles{{}}}
		switch {
		case probe.Validate() != nil:
			r.find(k, ErrBadValue, "the field name %q is not [a-z][a-z0-9_]{0,63}", clip(k.Value))
		case slices.Contains([]string{"in", "true", "false", "null"}, k.Value):
			r.find(k, ErrBadValue, "a field cannot have the name %s, which is a word of expressions", k.Value)
		case expire != nil && k.Value == expiryField:
			r.find(k, ErrBadValue, "the field %s is there already: the step expire on line %d makes it", k.Value, expire.Line)
		case len(fields) == most:
			r.find(k, ErrTooLarge, "there are more than %d fields, which is the bound", most)
		default:
			f := r.field(v)
			f.name = k.Value
			fields = append(fields, f)
		}
	})
	switch {
	case n.Kind == yaml.MappingNode && len(n.Content) == 0:
		r.find(n, ErrBadValue, "fields is empty: a document has at least one")
	case expire != nil && len(fields) == most:
		r.find(expire, ErrTooLarge, "there are %d fields already, which is the bound, and expire makes one more", most)
	case expire != nil:
		fields = append(fields, field{name: expiryField, kind: projections.KindString, initial: ofString(""), expires: true})
	}
	return fields
}

func (r *reader) field(n *yaml.Node) (f field) {
	kind, found := n, map[string]*yaml.Node{}
	if n.Kind == yaml.MappingNode {
		found = r.object(n, fieldPlace())
		kind = found["kind"]
	}
	switch text := r.text(kind, "a field's kind"); text {
	case "int", "string", "bool", "list", "set":
		f.kind = projections.Kind(text)
		if f.initial.kind = held(f.kind); f.initial.kind == kindList {
			f.initial.list = &list{}
		}
	case "":
		return f
	case "float", "double", "decimal", "number":
		r.find(kind, ErrForbidden, "there is no kind %s: sums of floats depend on their order; use int and count in a smaller unit", text)
		return f
	default:
		r.find(kind, ErrBadValue, "there is no kind %q; it must be int, string, bool, list or set", clip(text))
		return f
	}
	if keep := found["keep"]; keep != nil {
		f.keep = r.keep(keep, f.kind)
	}
	if first := found["default"]; first != nil {
		f.initial = r.literal(first, &f, "default")
	}
	return f
}

func (r *reader) keep(n *yaml.Node, kind projections.Kind) int {
	keep, ok := r.integer(n, "keep")
	switch {
	case !ok:
	case kind != projections.KindList:
		r.find(n, ErrWrongType, "keep is of lists: the oldest elements leave them; a %s has none", kind)
	case keep < 1 || keep > projections.MaxElements:
		r.find(n, ErrBadValue, "keep is %d; it must be 1 to %d", keep, projections.MaxElements)
	default:
		return int(keep)
	}
	return 0
}

// literal reads a value of a field as it stands, without expressions.
func (r *reader) literal(n *yaml.Node, f *field, what string) value {
	switch {
	case f.kind == projections.KindInt:
		v, _ := r.integer(n, what)
		return ofInt(v)
	case f.kind == projections.KindBool && n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool":
		return ofBool(strings.EqualFold(n.Value, "true"))
	case f.expires:
		return r.expiry(n, what)
	case f.kind == projections.KindString && n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && len(n.Value) <= MaxText:
		return ofString(n.Value)
	case f.initial.kind == kindList && n.Kind == yaml.SequenceNode:
		return ofList(r.elements(n, f, what))
	}
	r.find(n, ErrWrongType, "%s must be %s", what, f.initial.kind)
	return f.initial
}

// elements reads a list of elements as they stand.
func (r *reader) elements(n *yaml.Node, f *field, what string) *list {
	var all []projections.Element
	for _, item := range n.Content {
		number, err := strconv.ParseInt(item.Value, 10, 64)
		switch tag := item.ShortTag(); {
		case item.Kind != yaml.ScalarNode:
			r.find(item, ErrWrongType, "an element of %s must be an integer, a text, true or false", what)
		case tag == "!!bool":
			all = append(all, projections.BoolElement(strings.EqualFold(item.Value, "true")))
		case tag == "!!str":
			all = append(all, projections.StringElement(item.Value))
		case tag == "!!int" && err == nil:
			all = append(all, projections.IntElement(number))
		default:
			r.find(item, ErrWrongType, "an element of %s must be an integer of 64 bits, a text (put quotes around it), true or false", what)
		}
	}
	if f.keep > 0 && len(all) > f.keep {
		r.find(n, ErrTooLarge, "%s has %d elements, and the field keeps %d", what, len(all), f.keep)
	}
	l, err := stored(f, all)
	if err != nil {
		r.find(n, ErrTooLarge, "%s: %s", what, err)
		return &list{}
	}
	return l
}

// expiry reads a time, or never, as the field of expiry holds it.
func (r *reader) expiry(n *yaml.Node, what string) value {
	if n.Kind == yaml.ScalarNode && (n.Value == never || n.Value == "") {
		return ofString("")
	}
	if at, err := time.Parse(time.RFC3339Nano, n.Value); err == nil {
		if v, err := ofTime(at); err == nil {
			return ofString(v.s)
		}
	}
	r.find(n, ErrBadValue, "%s must be never, or a time of RFC 3339 such as 2001-01-31T09:15:00Z", what)
	return ofString("")
}

// normal is the field in the normal form of the file.
func (f *field) normal() [3]string {
	kind := string(f.kind)
	if f.keep > 0 {
		kind += " keep " + strconv.Itoa(f.keep)
	}
	return [3]string{f.name, kind, f.initial.String()}
}
