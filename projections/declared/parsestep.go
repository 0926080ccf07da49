package declared

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/projections"
)

// step reads an item of do. Its actions are in the order of the file.
func (c *compiler) step(n *yaml.Node) (s step, x normalStep) {
	found := c.object(n, stepPlace())
	if found == nil {
		return s, x
	}
	s.when = c.condition(c.doc, found["when"], &x.When)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Value == "when" || found[k.Value] != v {
			continue
		}
		c.actions(verb(k.Value), k, v, func(a action, from string) {
			a.what = string(a.verb)
			name := ""
			if a.verb != verbDelete && a.verb != verbExpire {
				name = c.fields[a.field].name
				a.what += " " + name
			}
			s.actions = append(s.actions, a)
			x.Actions = append(x.Actions, [3]string{string(a.verb), name, from})
		})
	}
	deletes := slices.ContainsFunc(s.actions, func(a action) bool { return a.verb == verbDelete })
	switch {
	case deletes && len(s.actions) > 1:
		c.find(n, ErrBadValue, "a step that deletes the document does nothing else; make two steps of it")
	case len(found) == 0 || len(found) == 1 && found["when"] != nil:
		c.find(n, ErrMissingKey, "a step lacks what to do: %s", strings.Join(stepPlace().names()[1:], ", "))
	}
	return s, x
}

// actions reads what stands behind a verb.
func (c *compiler) actions(v verb, k, n *yaml.Node, add func(a action, from string)) {
	what := string(v)
	switch v {
	case verbDelete:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || !strings.EqualFold(n.Value, "true") {
			c.find(n, ErrWrongType, "delete must be true; say with when which document is removed")
			return
		}
		add(action{verb: v}, "")
	case verbExpire:
		c.expire(n, add)
	case verbUnset, verbCount:
		c.texts(n, what, func(n *yaml.Node, name string) {
			if i, ok := c.field(n, v, name); ok {
				add(action{verb: v, field: i}, "")
			}
		})
	default:
		before := len(c.findings)
		c.pairs(n, what, func(k, n *yaml.Node) {
			i, ok := c.field(k, v, k.Value)
			if !ok {
				return
			}
			var normal string
			from := c.value(c.doc, n, what+" "+k.Value, &normal, v.wants(&c.fields[i])...)
			if from == nil {
				return
			}
			add(action{verb: v, field: i, from: from}, normal)
		})
		if len(n.Content) == 0 && len(c.findings) == before {
			c.find(k, ErrBadValue, "%s is empty: name a field and a value", what)
		}
	}
}

// fieldNamed finds a field. what is for the finding.
func (c *compiler) fieldNamed(n *yaml.Node, what, name string) (int, bool) {
	i := slices.IndexFunc(c.fields, func(f field) bool { return f.name == name })
	if i < 0 {
		names := make([]string, len(c.fields))
		for i, f := range c.fields {
			names[i] = f.name
		}
		c.find(n, ErrUnknownKey, "%s names %q, which is no field; there are %s", what, clip(name), strings.Join(names, ", "))
	}
	return i, i >= 0
}

// field finds a field that a verb can change.
func (c *compiler) field(n *yaml.Node, v verb, name string) (int, bool) {
	i, ok := c.fieldNamed(n, string(v), name)
	if !ok {
		return 0, false
	}
	f := &c.fields[i]
	switch {
	case f.expires && v != verbUnset:
		c.find(n, ErrBadValue, "%s cannot be used on %s: expire and unset change it", v, name)
	case !v.fits(f.kind):
		c.find(n, ErrWrongType, "%s cannot be used on %s, which holds %s", v, name, f.article())
	case v == verbAppend && f.keep == 0:
		c.find(n, ErrMissingKey, "append to %s needs a bound: say in its field how many elements it keeps, such as {kind: list, keep: 20}", name)
	default:
		return i, true
	}
	return 0, false
}

// never is what stands behind expire for a document that is to stay.
const never = "never"

// expire reads when a document expires.
func (c *compiler) expire(n *yaml.Node, add func(a action, from string)) {
	i := slices.IndexFunc(c.fields, func(f field) bool { return f.expires })
	if i < 0 {
		return // there are too many fields
	}
	text := c.text(n, "expire")
	normal := strings.TrimSpace(text)
	if normal == never {
		add(action{verb: verbExpire, field: i}, normal)
	} else if from := c.expression(c.doc, n, 0, text, "expire", kindTime); from != nil {
		add(action{verb: verbExpire, field: i, from: from}, normal)
	}
}

// fits reports whether a verb can be used on fields of a kind. Of a kind that is not known something has been said already.
func (v verb) fits(k projections.Kind) bool {
	switch v {
	case verbAdd, verbCount:
		return k == projections.KindInt || k == ""
	case verbMax, verbMin:
		return k == projections.KindInt || k == projections.KindString || k == ""
	case verbAppend:
		return k == projections.KindList || k == ""
	case verbCollect:
		return k == projections.KindSet || k == ""
	case verbRemove:
		return k == projections.KindList || k == projections.KindSet || k == ""
	default:
		return true
	}
}

// wants returns what a verb may be given for a field.
func (v verb) wants(f *field) []kind {
	if v == verbAppend || v == verbCollect || v == verbRemove {
		return []kind{kindInt, kindString, kindBool, kindList}
	}
	if f.kind == "" {
		return nil
	}
	return []kind{f.initial.kind}
}

// readUpcasts reads what stands below upcast.
func (c *compiler) readUpcasts(n *yaml.Node) []*upcast {
	var all []*upcast
	c.list(n, "upcast", func(item *yaml.Node) {
		found := c.object(item, upcastPlace())
		if found == nil {
			return
		}
		u, x := &upcast{types: c.types(found["event"])}, normalUpcast{}
		u.what = "upcast of " + strings.Join(u.types, ", ")
		u.when = c.condition(c.event, found["when"], &x.When)
		if renames := found["rename"]; renames != nil {
			c.pairs(renames, "rename", func(k, v *yaml.Node) {
				u.renames = append(u.renames, [2]string{k.Value, c.text(v, "the new name of "+clip(k.Value))})
			})
		}
		u.defaults = c.assignments(found["default"], "default", &x.Default)
		u.sets = c.assignments(found["set"], "set", &x.Set)
		if found["rename"] == nil && found["default"] == nil && found["set"] == nil {
			c.find(item, ErrMissingKey, "an upcast lacks what to do: rename, default or set")
		}
		x.Events, x.Rename = u.types, u.renames
		c.normal.Upcast = append(c.normal.Upcast, x)
		all = append(all, u)
	})
	return all
}

func (c *compiler) assignments(n *yaml.Node, what string, normal *[][2]string) []assignment {
	var list []assignment
	if n == nil {
		return nil
	}
	c.pairs(n, what, func(k, v *yaml.Node) {
		var text string
		if from := c.value(c.event, v, what+" "+clip(k.Value), &text); from != nil {
			list = append(list, assignment{k.Value, from})
			*normal = append(*normal, [2]string{k.Value, text})
		}
	})
	return list
}
