package topology

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/events"
)

// Prefixes of the variables that override keys of the file.
const (
	regionPrefix = "TIDEMARK_REGIONS_"
	originPrefix = "TIDEMARK_ORIGINS_"
	fileSuffix   = "_FILE"
)

// RegionVariable returns the variable that overrides a key of a region: TIDEMARK_REGIONS_, the region, and the way to the key, in capitals,
// with _ for - and for dots. RegionVariable("us-east", "nats.urls") is TIDEMARK_REGIONS_US_EAST_NATS_URLS.
//
// A list is written with commas. The variable of a secret holds the secret itself; the same name with _FILE behind it holds the path of a file
// with the secret. A variable can set what the file leaves out, but it cannot make a region or an origin.
func RegionVariable(region, key string) string { return regionPrefix + capitals(region+"."+key) }

// OriginVariable returns the variable that overrides a key of an origin: OriginVariable("us", "leader") is TIDEMARK_ORIGINS_US_LEADER.
func OriginVariable(origin, key string) string { return originPrefix + capitals(origin+"."+key) }

func capitals(s string) string {
	return strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(s))
}

// override puts what variables say into the tree of the file, and returns the variables that could say something. No name has two meanings:
// a key below a region begins with NATS, REDIS or HTTP, and no key has one of these words in second place.
func (r *reader) override(root *yaml.Node) []string {
	var known []string
	apply := func(n *yaml.Node, variable string, k key) {
		known = append(known, variable)
		value, set := r.env.Lookup(variable)
		if k.kind == kindSecret {
			known = append(known, variable+fileSuffix)
			file, also := r.env.Lookup(variable + fileSuffix)
			r.overrideSecret(n, k, variable, set, file, also)
			return
		}
		if set {
			r.put(n, k.path, r.made(variable, k, value), variable)
		}
	}
	for _, place := range []struct {
		name     string
		keys     []key
		variable func(name, key string) string
	}{{"regions", regionKeys(), RegionVariable}, {"origins", originKeys(), OriginVariable}} {
		for name, n := range children(child(root, place.name)) {
			if events.ValidateOrigin(name) != nil {
				continue
			}
			for _, k := range place.keys {
				apply(n, place.variable(name, k.path), k)
			}
		}
	}
	return known
}

func (r *reader) overrideSecret(n *yaml.Node, k key, variable string, set bool, file string, also bool) {
	switch {
	case set && also:
		at := r.mark(&yaml.Node{}, variable)
		r.find(at, ErrContradiction, "$%s and $%s are both set; unset one", variable, variable+fileSuffix)
	case set:
		r.put(n, k.path, r.reference("env", variable, variable), variable)
	case also:
		r.put(n, k.path, r.reference("file", file, variable+fileSuffix), variable+fileSuffix)
	}
}

// reference makes the node {name: text}.
func (r *reader) reference(name, text, variable string) *yaml.Node {
	return r.mark(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{r.plain(name, variable), r.plain(text, variable)}}, variable)
}

// made makes the node that a variable's value stands for.
func (r *reader) made(variable string, k key, value string) *yaml.Node {
	switch k.kind {
	case kindTexts:
		list := r.mark(&yaml.Node{Kind: yaml.SequenceNode}, variable)
		for part := range strings.SplitSeq(value, ",") {
			list.Content = append(list.Content, r.plain(strings.TrimSpace(part), variable))
		}
		return list
	case kindFlag, kindNumber:
		return r.mark(&yaml.Node{Kind: yaml.ScalarNode, Value: strings.TrimSpace(value)}, variable) // its tag is found out from what it says
	}
	return r.plain(value, variable)
}

func (r *reader) plain(text, variable string) *yaml.Node {
	return r.mark(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}, variable)
}

func (r *reader) mark(n *yaml.Node, variable string) *yaml.Node {
	r.from[n] = variable
	return n
}

// put sets the key at a path below n. What the file has on the way and is no mapping is left: it is reported for what it is.
func (r *reader) put(n *yaml.Node, path string, v *yaml.Node, variable string) {
	name, rest, deeper := strings.Cut(path, ".")
	if isNull(n) {
		*n = yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	next := child(n, name)
	switch {
	case !deeper && next == nil:
		n.Content = append(n.Content, r.plain(name, variable), v)
	case !deeper:
		n.Content[slices.Index(n.Content, next)] = v
	case next == nil:
		next = r.mark(&yaml.Node{Kind: yaml.MappingNode}, variable)
		n.Content = append(n.Content, r.plain(name, variable), next)
		fallthrough
	default:
		r.put(next, rest, v, variable)
	}
}

// unknownVariables reports variables that look like overrides and are none: a typing mistake must not be silent.
func (r *reader) unknownVariables(known []string) {
	for _, entry := range slices.Sorted(slices.Values(r.env)) {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, regionPrefix) && !strings.HasPrefix(name, originPrefix) ||
			slices.Contains(known, name) || slices.Contains(r.names, name) {
			continue
		}
		at := r.mark(&yaml.Node{}, name)
		r.find(at, ErrUnknownVariable, "the variable overrides nothing that there is%s",
			cmp.Or(didYouMean(name, known), "; tidemark config check --explain lists those that do"))
	}
}

// child returns the value of a mapping's key, or nil.
func child(n *yaml.Node, name string) *yaml.Node { return children(n)[name] }

// children returns the values of a mapping; of a key that is there twice, the first.
func children(n *yaml.Node) map[string]*yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	values := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Kind == yaml.ScalarNode && values[k.Value] == nil {
			values[k.Value] = n.Content[i+1]
		}
	}
	return values
}

// names returns the names in a set, sorted.
func names[V any](set map[string]V) []string { return slices.Sorted(maps.Keys(set)) }
