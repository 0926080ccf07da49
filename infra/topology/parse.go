package topology

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/events"
)

// Bounds of a topology file. They are far above what an installation needs, and keep a file that somebody else wrote from costing more than its size.
const (
	// MaxBytes bounds the text.
	MaxBytes = 256 << 10
	// MaxDepth bounds how deep mappings and lists are nested.
	MaxDepth = 16
	// MaxRegions bounds the regions.
	MaxRegions = 32
	// MaxServers bounds the servers of one kind in a region.
	MaxServers = 16
	// MaxText bounds one value, in bytes.
	MaxText = 1024
	// MaxFindings bounds what is reported at once.
	MaxFindings = 100

	// version of the format.
	version = 1
)

// Parse reads the text of a topology file; README.md has the format. Name is the file's, for findings; relative paths in it begin at its folder.
// Variables of env override single keys: see Variable. The error is an *Invalid with every finding.
func Parse(name string, text []byte, env Environment) (*Topology, error) {
	r := &reader{file: name, env: env, from: map[*yaml.Node]string{}}
	t := r.topology(text)
	if len(r.findings) > 0 {
		return nil, r.invalid()
	}
	return t, nil
}

// reader reads one file. It goes on after a mistake and remembers it.
type reader struct {
	file     string
	env      Environment
	findings []Finding
	from     map[*yaml.Node]string // the variable that a node was made of
	names    []string              // variables that secrets refer to
}

func (r *reader) topology(text []byte) *Topology {
	root := r.document(text)
	if root == nil {
		return nil
	}
	r.refuseAliases(root)
	known := r.override(root)
	t := &Topology{Version: version}
	var regions, origins, stated *yaml.Node
	at := map[string]*yaml.Node{}
	r.pairs(root, root, "the file", func(name string, k, v *yaml.Node) {
		at[name] = k
		switch name {
		case "version":
			stated = v
		case "regions":
			regions = v
		case "origins":
			origins = v
		default:
			r.find(k, ErrUnknownKey, "the file has no key %q%s", clip(name), didYouMean(name, []string{"version", "regions", "origins"}))
		}
	})
	for _, name := range []string{"version", "regions", "origins"} {
		if at[name] == nil && root.Kind == yaml.MappingNode {
			r.find(root, ErrMissingKey, "the file lacks the key %s", name)
		}
	}
	r.version(stated)
	places := r.regions(t, at["regions"], regions)
	r.origins(t, at["origins"], origins, places)
	r.compare(places)
	r.unknownVariables(known)
	return t
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
		r.find(start, ErrSyntax, "the file is empty; tidemark config init prints an example")
		return nil
	case err != nil:
		r.syntax(err)
		return nil
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		r.find(&second, ErrSyntax, "the file holds more than one YAML document")
		return nil
	case !errors.Is(err, io.EOF):
		r.syntax(err)
		return nil
	}
	root := document.Content[0]
	if deep := deepest(root, MaxDepth); deep != nil {
		r.find(deep, ErrTooLarge, "mappings and lists are nested deeper than %d", MaxDepth)
		return nil
	}
	return root
}

// syntax reports what the YAML parser said. It quotes no part of the text but the name of an alias, which may be a password that begins with a star.
func (r *reader) syntax(err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	at := &yaml.Node{}
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		if number, text, found := strings.Cut(rest, ": "); found {
			if line, err := strconv.Atoi(number); err == nil {
				at.Line, at.Column, message = line, 1, text
			}
		}
	}
	if strings.Contains(message, "anchor") {
		message = "a value begins with *, which is an alias of no anchor; put quotes around a text that begins so"
	}
	r.find(at, ErrSyntax, "the file is not YAML: %s", message)
}

// deepest returns a node that is nested deeper than the bound, or nil. The parser bounds the recursion.
func deepest(n *yaml.Node, bound int) *yaml.Node {
	if bound < 0 {
		return n
	}
	for _, child := range n.Content {
		if deep := deepest(child, bound-1); deep != nil {
			return deep
		}
	}
	return nil
}

// refuseAliases reports anchors and aliases: with them a small file could become a large one, and a line could mean what stands elsewhere.
func (r *reader) refuseAliases(n *yaml.Node) {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		r.find(n, ErrSyntax, "anchors and aliases are not read: write the value out")
	}
	for _, child := range n.Content {
		r.refuseAliases(child)
	}
}

func (r *reader) version(n *yaml.Node) {
	if n == nil {
		return
	}
	number, err := strconv.Atoi(n.Value)
	switch {
	case n.Kind == yaml.AliasNode:
	case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil:
		r.find(n, ErrWrongType, "version must be a number, which is %d", version)
	case number != version:
		r.find(n, ErrUnsupported, "version %d of the format is not known here; this program reads version %d", number, version)
	}
}

// find remembers a finding at a node.
func (r *reader) find(n *yaml.Node, code events.Code, format string, args ...any) {
	f := Finding{File: r.file, Line: n.Line, Column: n.Column, Code: code, Message: fmt.Sprintf(format, args...)}
	if variable := r.from[n]; variable != "" {
		f.File, f.Line, f.Column, f.Variable = "", 0, 0, variable
	}
	r.findings = append(r.findings, f)
}

// invalid returns the findings as an error.
func (r *reader) invalid() *Invalid {
	slices.SortStableFunc(r.findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Variable, b.Variable), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	fs := slices.Compact(r.findings)
	e := &Invalid{File: r.file, Findings: fs}
	if len(fs) > MaxFindings {
		e.Findings, e.Omitted = fs[:MaxFindings], len(fs)-MaxFindings
	}
	return e
}

// where names the place of a node.
func (r *reader) where(n *yaml.Node) string {
	if variable := r.from[n]; variable != "" {
		return "$" + variable
	}
	return fmt.Sprintf("%s:%d:%d", r.file, n.Line, n.Column)
}

// path returns a path of the file as this process would open it.
func (r *reader) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(r.file), name)
}

// clip keeps a name from the file short enough for a message.
func clip(s string) string {
	const longest = 60
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}
