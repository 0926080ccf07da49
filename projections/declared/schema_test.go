package declared

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/projections"
)

var update = flag.Bool("update", false, "write the tables of keys in README.md anew")

// schemaNode is what we read of a JSON Schema.
type schemaNode struct {
	Ref           string                 `json:"$ref"`
	Description   string                 `json:"description"`
	Enum          []string               `json:"enum"`
	Pattern       string                 `json:"pattern"`
	MaxLength     int                    `json:"maxLength"`
	MaxItems      int                    `json:"maxItems"`
	MaxProperties int                    `json:"maxProperties"`
	Maximum       int                    `json:"maximum"`
	OneOf         []*schemaNode          `json:"oneOf"`
	Required      []string               `json:"required"`
	Properties    map[string]*schemaNode `json:"properties"`
	PropertyNames *schemaNode            `json:"propertyNames"`
	Additional    json.RawMessage        `json:"additionalProperties"`
	Defs          map[string]*schemaNode `json:"$defs"`
}

func readSchema(t *testing.T) *schemaNode {
	t.Helper()
	var s schemaNode
	if err := json.Unmarshal([]byte(Schema()), &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

func TestTheSchemaAgreesWithTheKeys(t *testing.T) {
	s := readSchema(t)
	for name, p := range places() {
		n := s.Defs[name]
		if name == "file" {
			n = s
		}
		if n == nil || string(n.Additional) != "false" || len(n.Properties) != len(p.keys) {
			t.Errorf("the schema of %s is %+v", p.name, n)
			continue
		}
		for _, k := range p.keys {
			if found := n.Properties[k.name]; found == nil || found.Description != k.help || slices.Contains(n.Required, k.name) != k.required {
				t.Errorf("%s of %s is %+v in the schema, and %+v in the table", k.name, p.name, found, k)
			}
		}
	}
	for name := range s.Defs {
		if _, ok := places()[name]; !ok && !slices.Contains([]string{"kind", "condition", "value", "element"}, name) {
			t.Errorf("the schema has %s, which the tables have not", name)
		}
	}
}

func TestTheBoundsOfTheSchemaAreThoseOfTheReader(t *testing.T) {
	s := readSchema(t)
	kinds := []string{string(projections.KindInt), string(projections.KindString), string(projections.KindBool), string(projections.KindList), string(projections.KindSet)}
	fields, rule := s.Properties["fields"], s.Defs["rule"].Properties
	if !slices.Equal(s.Defs["kind"].Enum, kinds) || s.Properties["on"].MaxItems != maxItems || rule["do"].MaxItems != maxItems || rule["key"].MaxLength != MaxExpression ||
		fields.MaxProperties != 64 || s.Defs["condition"].MaxLength != MaxExpression {
		t.Error("the schema has other bounds")
	}
	indexes, keep := s.Properties["indexes"], s.Defs["field"].Properties["keep"]
	if indexes.MaxProperties != projections.MaxIndexes || keep.Maximum != projections.MaxElements || s.Defs["field"].Properties["default"].MaxItems != projections.MaxElements {
		t.Error("the schema has other bounds of indexes or lists")
	}
	index := regexp.MustCompile(indexes.PropertyNames.Pattern)
	name, field := regexp.MustCompile(s.Properties["projection"].Pattern), regexp.MustCompile(fields.PropertyNames.Pattern)
	typ := regexp.MustCompile(rule["event"].OneOf[0].Pattern)
	for _, text := range []string{"a", "a-1", "A", "1a", "", strings.Repeat("a", 48), strings.Repeat("a", 49), "a_b", "a.b", strings.Repeat("a", 129)} {
		if name.MatchString(text) != projections.ValidName(text) {
			t.Errorf("schema and reader disagree about the name %q", text)
		}
		d := projections.Definition{Name: "p", Version: 1, Fields: []projections.Field{{Name: text}}, Handles: []projections.Handles{{}}}
		if field.MatchString(text) != (d.Validate() == nil) {
			t.Errorf("schema and reader disagree about the field %q", text)
		}
		d = projections.Definition{Name: "p", Version: 1, Fields: []projections.Field{{Name: "f", Kind: projections.KindInt}}, Handles: []projections.Handles{{}}}
		if d.Indexes = []projections.Index{{Name: text, Fields: []string{"f"}}}; index.MatchString(text) != (d.Validate() == nil) {
			t.Errorf("schema and reader disagree about the index %q", text)
		}
		if typ.MatchString(text) != (text != "" && validType(text)) {
			t.Errorf("schema and reader disagree about the type %q", text)
		}
	}
}

func TestTheExampleIsReadAndItsTestsPass(t *testing.T) {
	p, cases, err := Parse("example.yaml", []byte(Example()))
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 3 {
		t.Errorf("it has %d tests", len(cases))
	}
	for _, c := range cases {
		if differences := c.Run(p); len(differences) > 0 {
			t.Errorf("%s: %v", c.Name, differences)
		}
	}
}

// The example names every key of a rule, of a step and of a field that a beginner needs to see.
func TestTheExampleUsesOnlyKeysOfTheSchema(t *testing.T) {
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(Example()), &root); err != nil {
		t.Fatal(err)
	}
	s := readSchema(t)
	top := root.Content[0]
	for i := 0; i < len(top.Content); i += 2 {
		if s.Properties[top.Content[i].Value] == nil {
			t.Errorf("the schema has no %s", top.Content[i].Value)
		}
	}
}

func TestTheREADMEListsEveryKeyAndCode(t *testing.T) {
	const begin, end = "<!-- keys: written by go test ./declared -run README -update -->\n", "<!-- end of keys -->"
	var table strings.Builder
	for _, p := range []place{filePlace(), fieldPlace(), rulePlace(), stepPlace(), streamPlace(), entityPlace(), timePlace(), upcastPlace(), casePlace(), eventPlace(), markPlace(), messagePlace()} {
		title := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(p.name, "the "), "an "), "a ")
		fmt.Fprintf(&table, "\n### The keys of %s\n\n| key | default | example | |\n|---|---|---|---|\n", map[bool]string{true: "the file", false: "each " + title}[title == "file"])
		for _, k := range p.keys {
			fallback := k.fallback
			if k.required {
				fallback = "required"
			}
			fmt.Fprintf(&table, "| `%s` | %s | `%s` | %s |\n", k.name, fallback, k.example, k.help)
		}
	}
	table.WriteString("\n")
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("README.md has no place for the tables")
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(before+begin+table.String()+end+after), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
		return
	}
	if old != table.String() {
		t.Error("the tables of keys in README.md are not the code's: write them anew with -update")
	}
	for _, code := range Codes() {
		if !strings.Contains(string(text), "`"+string(code)+"`") {
			t.Errorf("README.md does not name %s", code)
		}
	}
}
