package topology

import (
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// value is what the file, or a variable, sets a key to.
type value struct {
	node   *yaml.Node // nil: it is not set
	bad    bool       // a finding says why it cannot be used
	text   string
	texts  []item
	flag   bool
	number int
	secret Secret
}

// item is one text of a list.
type item struct {
	node *yaml.Node
	text string
}

// object is a region or an origin as it stands in the file.
type object struct {
	name   string
	at     *yaml.Node            // its name in the file
	groups map[string]*yaml.Node // the mappings in it: path -> key
	values map[string]value      // path -> value
}

// get returns what a key is set to, if it can be used.
func (o *object) get(path string) (value, bool) {
	v := o.values[path]
	return v, v.node != nil && !v.bad
}

// set reports whether a key is there, be it usable or not.
func (o *object) set(path string) bool { return o.values[path].node != nil }

// pairs calls each with the keys and values of a mapping; a key that is there twice is reported, and only its first value counts. What is not a
// mapping is reported at n; nothing at all is an empty mapping.
func (r *reader) pairs(at, n *yaml.Node, what string, each func(name string, k, v *yaml.Node)) {
	switch {
	case n == nil || isNull(n) && n != at:
		return
	case n.Kind == yaml.AliasNode:
		return
	case n.Kind != yaml.MappingNode:
		r.find(n, ErrWrongType, "%s must be a mapping of keys to values", what)
		return
	}
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind == yaml.AliasNode:
			continue
		case k.ShortTag() == "!!merge":
			r.find(k, ErrSyntax, "merge keys (<<) are not read: write the values out")
			continue
		case k.Kind != yaml.ScalarNode || isNull(k):
			r.find(k, ErrWrongType, "a key of %s is not a text", what)
			continue
		case first[k.Value] != nil:
			r.find(k, ErrDuplicateKey, "%s has the key %q twice; the other is on line %d", what, clip(k.Value), first[k.Value].Line)
			continue
		}
		first[k.Value] = k
		each(k.Value, k, v)
	}
}

// object reads a mapping with the keys of a table.
func (r *reader) object(place, name string, at, n *yaml.Node, keys []key) *object {
	o := &object{name: name, at: at, groups: map[string]*yaml.Node{"": at}, values: map[string]value{}}
	r.group(o, place, "", at, n, keys)
	for _, k := range keys {
		if k.required && !o.set(k.path) {
			r.missing(o, place, k)
		}
	}
	return o
}

func (r *reader) group(o *object, place, prefix string, at, n *yaml.Node, keys []key) {
	what := place
	if prefix != "" {
		what += "." + prefix
	}
	o.groups[prefix] = at
	if n.Kind != yaml.MappingNode && !isNull(n) {
		o.groups[prefix] = nil // it is reported below; what it lacks is of no interest
	}
	r.pairs(at, n, what, func(name string, k, v *yaml.Node) {
		path := strings.TrimPrefix(prefix+"."+name, ".")
		if i := slices.IndexFunc(keys, func(key key) bool { return key.path == path }); i >= 0 {
			o.values[path] = r.value(keys[i], place+"."+path, v)
			return
		}
		children := childrenOf(keys, path)
		if len(children) > 0 && !strings.Contains(name, ".") {
			r.group(o, place, path, k, v, keys)
			return
		}
		r.find(k, ErrUnknownKey, "%s has no key %q%s", what, clip(name), suggest(name, prefix, keys))
	})
}

// suggest returns what an unknown key may have been meant to be: a key of that place, or one of the same name elsewhere.
func suggest(name, prefix string, keys []key) string {
	if s := didYouMean(name, childrenOf(keys, prefix)); s != "" {
		return s
	}
	for _, k := range keys {
		if strings.HasSuffix("."+k.path, "."+name) {
			return "; did you mean " + k.path + "?"
		}
	}
	return "; it has " + strings.Join(childrenOf(keys, prefix), ", ")
}

// missing reports a key that must be there, at the innermost mapping around it.
func (r *reader) missing(o *object, place string, k key) {
	parent := k.path
	for {
		i := max(strings.LastIndexByte(parent, '.'), 0)
		parent = parent[:i]
		at, there := o.groups[parent]
		if there && at == nil {
			return
		}
		if there {
			r.find(at, ErrMissingKey, "%s lacks %s, for example %s: %s", place, k.path, lastOf(k.path), k.example)
			return
		}
	}
}

func lastOf(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// value reads a value of a key.
func (r *reader) value(k key, what string, n *yaml.Node) value {
	v := value{node: n}
	ok := false
	switch {
	case n.Kind == yaml.AliasNode: // reported already
	case isNull(n):
		r.find(n, ErrWrongType, "%s has no value; leave it out, or write one such as %s", what, k.example)
	case k.kind == kindSecret:
		v.secret, ok = r.secret(what, n)
	case k.kind == kindTexts:
		v.texts, ok = r.texts(k, what, n)
	case n.Kind != yaml.ScalarNode:
		r.find(n, ErrWrongType, "%s must be one value (%s), such as %s", what, k.kind, k.example)
	case k.kind == kindText:
		v.text, ok = r.text(what, n)
	case k.kind == kindFlag:
		v.flag, ok = r.flag(what, n)
	case k.kind == kindNumber:
		v.number, ok = r.number(what, n)
	}
	v.bad = !ok
	return v
}

func (r *reader) text(what string, n *yaml.Node) (string, bool) {
	switch {
	case n.ShortTag() != "!!str":
		r.find(n, ErrWrongType, "%s must be a text; put quotes around it", what)
	case n.Value == "":
		r.find(n, ErrBadValue, "%s is empty; leave it out, or write a text", what)
	case len(n.Value) > MaxText:
		r.find(n, ErrTooLarge, "%s has more than %d bytes, which is its bound", what, MaxText)
	case strings.ContainsFunc(n.Value, func(c rune) bool { return unicode.IsControl(c) || c == unicode.ReplacementChar }):
		r.find(n, ErrBadValue, "%s contains a line end or another control character", what)
	default:
		return n.Value, true
	}
	return "", false
}

func (r *reader) texts(k key, what string, n *yaml.Node) (items []item, ok bool) {
	switch {
	case n.Kind != yaml.SequenceNode:
		r.find(n, ErrWrongType, "%s must be a list, such as %s", what, k.example)
		return nil, false
	case len(n.Content) == 0:
		r.find(n, ErrBadValue, "%s is an empty list; name at least one", what)
		return nil, false
	case len(n.Content) > MaxServers:
		r.find(n, ErrTooLarge, "%s names more than %d, which is the bound", what, MaxServers)
		return nil, false
	}
	ok = true
	for _, child := range n.Content {
		switch {
		case child.Kind == yaml.AliasNode:
			ok = false
		case child.Kind != yaml.ScalarNode:
			r.find(child, ErrWrongType, "%s must be a list of texts, such as %s", what, k.example)
			ok = false
		default:
			text, good := r.text(what, child)
			items, ok = append(items, item{child, text}), ok && good
		}
	}
	return items, ok
}

func (r *reader) flag(what string, n *yaml.Node) (flag, ok bool) {
	if n.ShortTag() != "!!bool" {
		r.find(n, ErrWrongType, "%s must be true or false", what)
		return false, false
	}
	return strings.EqualFold(n.Value, "true"), true
}

func (r *reader) number(what string, n *yaml.Node) (int, bool) {
	number, err := strconv.Atoi(n.Value)
	if n.ShortTag() != "!!int" || err != nil {
		r.find(n, ErrWrongType, "%s must be a number", what)
		return 0, false
	}
	return number, true
}

// secret reads a reference to a secret. No value in it is ever repeated: it may be the secret, at the wrong place.
func (r *reader) secret(what string, n *yaml.Node) (s Secret, ok bool) {
	const reference = "write {env: NAME} or {file: PATH} in its place"
	if n.Kind != yaml.MappingNode {
		r.find(n, ErrLiteralSecret, "%s must not be written here, only where it is found: %s", what, reference)
		return s, false
	}
	ok = true
	before := len(r.findings)
	r.pairs(n, n, what, func(name string, k, v *yaml.Node) {
		var text string
		switch name {
		case "env", "file":
			if v.Kind != yaml.ScalarNode {
				r.find(v, ErrWrongType, "%s.%s must be a text", what, name)
				return
			}
			text, ok = r.text(what+"."+name, v)
		default:
			r.find(k, ErrUnknownKey, "%s has a key that is not known; %s", what, reference)
		}
		switch {
		case !ok:
		case name == "file":
			s.File = r.path(text)
		case name == "env" && !validVariable(text):
			r.find(v, ErrBadValue, "%s.env is not the name of a variable: 1 to %d of A-Z 0-9 _, not a digit first", what, maxVariable)
		case name == "env":
			s.Env = text
			r.names = append(r.names, text)
		}
	})
	switch {
	case len(r.findings) > before:
		return s, false
	case s.Env != "" && s.File != "":
		r.find(n, ErrContradiction, "%s names both env and file; keep one", what)
	case s.IsZero():
		r.find(n, ErrMissingKey, "%s names neither env nor file; %s", what, reference)
	default:
		return s, true
	}
	return s, false
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

const maxVariable = 200

func validVariable(name string) bool {
	return name != "" && len(name) <= maxVariable && (name[0] < '0' || name[0] > '9') &&
		strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}
