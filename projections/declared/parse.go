package declared

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"go.yaml.in/yaml/v3"

	"tidemark.dev/projections"
)

// Bounds. They are far above what a projection needs, and keep a file that somebody else wrote from costing more than its size.
const (
	// MaxBytes bounds the text of a file.
	MaxBytes = 256 << 10
	// MaxExpression bounds one text of it, in bytes.
	MaxExpression = 4 << 10
	// MaxFindings bounds what is reported at once.
	MaxFindings = 100
	// MaxCost bounds what evaluating one expression may cost, in steps as CEL counts them: a few milliseconds.
	MaxCost = 1_000_000
	// MaxText bounds a field of kind string, in bytes: a document that grows with every event would stop its partition.
	MaxText = 64 << 10

	maxDepth           = 32     // of mappings and lists in the file
	maxNodes           = 20_000 // keys and values of the file
	maxItems           = 200    // of a list
	maxExpressions     = 1_000  // of the file
	maxExpressionDepth = 32
	maxExpressionNodes = 1_000
	maxRegex           = 1_000 // instructions of a compiled pattern
	usualSize          = 100   // items of a list, characters of a text, for the bound of a cost before there is data
)

// Parse reads and compiles the text of a file, with the tests in it; README.md has the format. Name is the file's, for findings. The error is an
// *Invalid with every finding.
func Parse(name string, text []byte) (*Projection, []Case, error) {
	r := &reader{file: name}
	root := r.document(text)
	if root == nil {
		return nil, nil, r.invalid()
	}
	found := r.object(root, filePlace())
	p := &Projection{}
	p.definition.Name, p.definition.Version = r.name(found["projection"]), r.version(found["version"])
	p.fields = r.fields(found["fields"], expires(found["on"]))
	c, err := newCompiler(r, p.fields)
	if err != nil {
		r.find(root, ErrBadValue, "%s", err)
		return nil, nil, r.invalid()
	}
	p.mapping, p.definition.Source = c.readStream(found["stream"])
	if at := expires(found["on"]); at != nil && p.mapping != nil {
		r.find(at, ErrUnsupported, "documents made of a stream that is not ours cannot expire: it carries no marks")
	}
	p.definition.Indexes = c.readIndexes(found["indexes"])
	upcasts := c.readUpcasts(found["upcast"])
	rules := c.readRules(found["on"])
	cases := r.readCases(found["tests"], p)
	if err := r.invalid(); err != nil {
		return nil, nil, err
	}
	p.meaning, p.wanted = c.normal.hash(), c.wanted
	p.wanted.all = p.wanted.all || len(upcasts) > 0 // they rename what they find
	if err := p.seal(rules, upcasts); err != nil {
		r.find(root, ErrBadValue, "%s", err)
	}
	return p, cases, r.invalid()
}

func (r *reader) name(n *yaml.Node) string {
	name := r.text(n, "projection")
	if name != "" && !projections.ValidName(name) {
		r.find(n, ErrBadValue, "the name %q is not [a-z][a-z0-9-]{0,47}", clip(name))
	}
	return name
}

func (r *reader) version(n *yaml.Node) int {
	if n == nil {
		return 0
	}
	v, ok := r.integer(n, "version")
	if ok && (v < 1 || v > 1<<31-1) {
		r.find(n, ErrBadValue, "version is %d; it counts from 1", v)
	}
	return int(v)
}

// integer reads a number as the one number rule has it: decimal digits, 64 bits.
func (r *reader) integer(n *yaml.Node, what string) (int64, bool) {
	v, err := strconv.ParseInt(n.Value, 10, 64)
	switch {
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!float":
		r.find(n, ErrForbidden, "%s is a float: their sums depend on their order; count in a smaller unit", what)
	case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil:
		r.find(n, ErrWrongType, "%s must be an integer of 64 bits in decimal digits", what)
	default:
		return v, true
	}
	return 0, false
}

// readRules reads what stands below on.
func (c *compiler) readRules(n *yaml.Node) []*rule {
	var rules []*rule
	c.list(n, "on", func(item *yaml.Node) {
		found := c.object(item, rulePlace())
		if found == nil {
			return
		}
		x := &normalRule{}
		r := &rule{types: c.types(found["event"]), entity: c.entityType(found["entity"])}
		r.what = "on " + strings.Join(r.types, ", ")
		r.when = c.condition(c.event, found["when"], &x.When)
		r.key = c.key(found["key"], &x.Key)
		c.list(found["do"], "do", func(item *yaml.Node) {
			s, y := c.step(item)
			r.steps, x.Do = append(r.steps, s), append(x.Do, y)
		})
		x.Events, x.Entity = r.types, r.entity
		c.normal.On = append(c.normal.On, *x)
		rules = append(rules, r)
	})
	return rules
}

func (c *compiler) types(n *yaml.Node) []string {
	var types []string
	seen := map[string]bool{}
	c.texts(n, "event", func(n *yaml.Node, text string) {
		switch {
		case !validType(text):
			c.find(n, ErrBadValue, "%q is not a type: 1 to 128 characters of A-Z a-z 0-9 . _ -", clip(text))
		case seen[text]:
			c.find(n, ErrDuplicateKey, "event names %s twice", text)
		default:
			seen[text], types = true, append(types, text)
		}
	})
	return types
}

func (c *compiler) entityType(n *yaml.Node) string {
	typ := c.text(n, "entity")
	if typ != "" && !validType(typ) {
		c.find(n, ErrBadValue, "%q is not a type of entities: 1 to 128 characters of A-Z a-z 0-9 . _ -", clip(typ))
	}
	return typ
}

func validType(s string) bool {
	return len(s) <= 128 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// condition reads a condition; nil when there is none.
func (c *compiler) condition(env *cel.Env, n *yaml.Node, normal *string) source {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		*normal = strings.ToLower(n.Value)
		return constant{ofBool(*normal == "true")}
	}
	text := c.text(n, "when")
	*normal = strings.TrimSpace(text)
	return c.expression(env, n, 0, text, "when", kindBool)
}

// key reads a key template: texts, and expressions in braces. Two braces are one.
func (c *compiler) key(n *yaml.Node, normal *string) []part {
	text := c.text(n, "key")
	*normal = text
	if text == "" || strings.ReplaceAll(text, " ", "") == "{event.entity.id}" {
		*normal = ""
		return nil
	}
	var parts []part
	var plain strings.Builder
	for i := 0; i < len(text); i++ {
		switch rest := text[i:]; {
		case strings.HasPrefix(rest, "{{"), strings.HasPrefix(rest, "}}"):
			plain.WriteByte(text[i])
			i++
		case text[i] == '}':
			c.find(n, ErrBadValue, "the key has a } without its {; write }} for the character itself")
			return nil
		case text[i] == '{':
			end := strings.IndexByte(rest, '}')
			if end < 0 {
				c.find(n, ErrBadValue, "the key has a { without its }; write {{ for the character itself")
				return nil
			}
			from := c.expression(c.event, n, i+1, rest[1:end], "key", kindString, kindInt)
			parts = append(parts, part{plain.String(), from})
			plain.Reset()
			i += end
		default:
			plain.WriteByte(text[i])
		}
	}
	if plain.Len() > 0 {
		parts = append(parts, part{text: plain.String()})
	}
	return parts
}

// expression compiles a text, as long as the file has not too many of them.
func (c *compiler) expression(env *cel.Env, n *yaml.Node, offset int, text, what string, want ...kind) source {
	if text == "" {
		return nil
	}
	if c.expressions++; c.expressions > maxExpressions {
		if c.expressions == maxExpressions+1 {
			c.find(n, ErrTooLarge, "the file has more than %d expressions, which is the bound", maxExpressions)
		}
		return nil
	}
	return c.compile(env, n, offset, text, what, want...)
}

// value reads a value: an expression, or an integer, a boolean or {text: …} as it stands.
func (c *compiler) value(env *cel.Env, n *yaml.Node, what string, normal *string, want ...kind) source {
	var v value
	switch {
	case n.Kind == yaml.MappingNode:
		found := c.object(n, literalPlace())
		text := found["text"]
		if text == nil || text.Kind != yaml.ScalarNode || text.ShortTag() != "!!str" {
			if text != nil {
				c.find(text, ErrWrongType, "%s: text must be a text", what)
			}
			return nil
		}
		if len(text.Value) > MaxText {
			c.find(text, ErrTooLarge, "%s: the text has more than %d bytes, which is its bound", what, MaxText)
		}
		v = ofString(text.Value)
	case n.Kind != yaml.ScalarNode:
		c.find(n, ErrWrongType, "%s must be an expression, an integer, true or false, or {text: …}", what)
		return nil
	case n.ShortTag() == "!!bool":
		v = ofBool(strings.EqualFold(n.Value, "true"))
	case n.ShortTag() == "!!int", n.ShortTag() == "!!float":
		i, ok := c.integer(n, what)
		if !ok {
			return nil
		}
		v = ofInt(i)
	default:
		text := c.text(n, what)
		*normal = strings.TrimSpace(text)
		return c.expression(env, n, 0, text, what, want...)
	}
	*normal = fmt.Sprintf("%s %q", v.kind.word(), v)
	if len(want) > 0 && !slices.Contains(want, v.kind) {
		c.find(n, ErrWrongType, "%s is %s, and %s is wanted", what, v.kind, want[0])
	}
	return constant{v}
}
