package declared

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/events"
)

// reader reads one file. It goes on after a mistake and remembers it.
type reader struct {
	file     string
	findings []Finding
}

// document returns the root of the only YAML document in text, or nil after a finding.
func (r *reader) document(text []byte) *yaml.Node {
	start := &yaml.Node{Line: 1, Column: 1}
	if len(text) > MaxBytes {
		r.find(start, ErrTooLarge, "the file has more than %d bytes, which is its bound", MaxBytes)
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		r.find(start, ErrSyntax, "the file is empty; tidemark projection init prints an example")
		return nil
	case err != nil:
		r.syntax(err)
		return nil
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		r.find(&second, ErrSyntax, "the file holds more than one YAML document; write one projection in one file")
		return nil
	case !errors.Is(err, io.EOF):
		r.syntax(err)
		return nil
	}
	nodes := 0
	if !r.plain(document.Content[0], 0, &nodes) {
		return nil
	}
	return document.Content[0]
}

// syntax reports what the YAML parser said.
func (r *reader) syntax(err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	at := &yaml.Node{Line: 1, Column: 1}
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		if number, text, found := strings.Cut(rest, ": "); found {
			if line, err := strconv.Atoi(number); err == nil {
				at.Line, message = line, text
			}
		}
	}
	r.find(at, ErrSyntax, "the file is not YAML: %s", message)
}

// plain reports whether the tree is within bounds and has no anchors: with them a small file could become a large one.
func (r *reader) plain(n *yaml.Node, depth int, nodes *int) bool {
	if *nodes++; *nodes > maxNodes {
		r.find(n, ErrTooLarge, "the file has more than %d keys and values, which is the bound", maxNodes)
		return false
	}
	switch {
	case depth > maxDepth:
		r.find(n, ErrTooLarge, "mappings and lists are nested deeper than %d", maxDepth)
		return false
	case n.Anchor != "" || n.Kind == yaml.AliasNode || n.ShortTag() == "!!merge":
		r.find(n, ErrSyntax, "anchors, aliases and merge keys are not read: write the value out")
		return false
	}
	for _, child := range n.Content {
		if !r.plain(child, depth+1, nodes) {
			return false
		}
	}
	return true
}

// find remembers a finding at a node.
func (r *reader) find(n *yaml.Node, code events.Code, format string, args ...any) {
	r.findings = append(r.findings, Finding{
		File: r.file, Line: max(n.Line, 1), Column: max(n.Column, 1), Code: code, Message: fmt.Sprintf(format, args...),
	})
}

// invalid returns the findings as an error; nil when there are none.
func (r *reader) invalid() error {
	if len(r.findings) == 0 {
		return nil
	}
	slices.SortStableFunc(r.findings, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
	fs := slices.Compact(r.findings)
	e := &Invalid{File: r.file, Findings: fs}
	if len(fs) > MaxFindings {
		e.Findings, e.Omitted = fs[:MaxFindings], len(fs)-MaxFindings
	}
	return e
}

// pairs calls each with the keys and values of a mapping, in their order. Of a key that is there twice, the first counts.
func (r *reader) pairs(n *yaml.Node, what string, each func(k, v *yaml.Node)) bool {
	if n.Kind != yaml.MappingNode {
		r.find(n, ErrWrongType, "%s must be a mapping of keys to values", what)
		return false
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		line, twice := first[k.Value]
		switch {
		case k.Kind != yaml.ScalarNode || isNull(k):
			r.find(k, ErrWrongType, "a key of %s is not a text", what)
		case twice:
			r.find(k, ErrDuplicateKey, "%s has the key %q twice; the other is on line %d", what, clip(k.Value), line)
		default:
			first[k.Value] = k.Line
			each(k, v)
		}
	}
	return true
}

// object reads a mapping with the keys of a place. It returns the values by key, and nil when n is no mapping.
func (r *reader) object(n *yaml.Node, p place) map[string]*yaml.Node {
	found := map[string]*yaml.Node{}
	bad := map[string]bool{}
	ok := r.pairs(n, p.name, func(k, v *yaml.Node) {
		i := slices.IndexFunc(p.keys, func(key key) bool { return key.name == k.Value })
		switch {
		case i >= 0 && isNull(v):
			bad[k.Value] = true
			r.find(v, ErrWrongType, "%s has no value; leave it out, or write one such as %s", k.Value, p.keys[i].example)
		case i >= 0:
			found[k.Value] = v
		default:
			r.find(k, ErrUnknownKey, "%s has no key %q; it has %s", p.name, clip(k.Value), strings.Join(p.names(), ", "))
		}
	})
	if !ok {
		return nil
	}
	for _, k := range p.keys {
		if k.required && found[k.name] == nil && !bad[k.name] {
			r.find(n, ErrMissingKey, "%s lacks %s, for example %s: %s", p.name, k.name, k.name, k.example)
		}
	}
	return found
}

// text reads a text; empty after a finding.
func (r *reader) text(n *yaml.Node, what string) string {
	switch {
	case n == nil:
	case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str":
		r.find(n, ErrWrongType, "%s must be a text; put quotes around it", what)
	case n.Value == "":
		r.find(n, ErrBadValue, "%s is empty", what)
	case len(n.Value) > MaxExpression:
		r.find(n, ErrTooLarge, "%s has more than %d bytes, which is its bound", what, MaxExpression)
	default:
		return n.Value
	}
	return ""
}

// texts reads a text or a list of texts.
func (r *reader) texts(n *yaml.Node, what string, each func(n *yaml.Node, text string)) {
	switch {
	case n == nil:
	case n.Kind != yaml.SequenceNode:
		if text := r.text(n, what); text != "" {
			each(n, text)
		}
	default:
		r.list(n, what, func(child *yaml.Node) {
			if text := r.text(child, what); text != "" {
				each(child, text)
			}
		})
	}
}

// list calls each with the items of a list of 1 to maxItems.
func (r *reader) list(n *yaml.Node, what string, each func(n *yaml.Node)) {
	switch {
	case n == nil:
	case n.Kind != yaml.SequenceNode:
		r.find(n, ErrWrongType, "%s must be a list", what)
	case len(n.Content) == 0:
		r.find(n, ErrBadValue, "%s is an empty list", what)
	case len(n.Content) > maxItems:
		r.find(n, ErrTooLarge, "%s has more than %d items, which is the bound", what, maxItems)
	default:
		for _, child := range n.Content {
			each(child)
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// clip keeps a name from the file short enough for a message.
func clip(s string) string {
	const longest = 60
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}
