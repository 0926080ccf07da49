package topology

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the table of keys in README.md anew")

// node is what we read of a JSON Schema.
type node struct {
	Ref           string           `json:"$ref"`
	Description   string           `json:"description"`
	Type          string           `json:"type"`
	Const         any              `json:"const"`
	Enum          []any            `json:"enum"`
	Minimum       any              `json:"minimum"`
	Default       any              `json:"default"`
	Pattern       string           `json:"pattern"`
	MaxLength     int              `json:"maxLength"`
	MaxItems      int              `json:"maxItems"`
	MaxProperties int              `json:"maxProperties"`
	Items         *node            `json:"items"`
	Required      []string         `json:"required"`
	Properties    map[string]*node `json:"properties"`
	PropertyNames *node            `json:"propertyNames"`
	Additional    json.RawMessage  `json:"additionalProperties"`
	Defs          map[string]*node `json:"$defs"`
}

func readSchema(t *testing.T) *node {
	t.Helper()
	var s node
	if err := json.Unmarshal([]byte(Schema()), &s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// leaves returns the keys below an object of the schema, with their nodes, and which of them are required.
func leaves(t *testing.T, prefix string, n *node, required bool, into map[string]*node, must map[string]bool) {
	t.Helper()
	if string(n.Additional) != "false" {
		t.Errorf("the schema lets unknown keys pass in %q", prefix)
	}
	for name, child := range n.Properties {
		path := strings.TrimPrefix(prefix+"."+name, ".")
		needed := required && slices.Contains(n.Required, name)
		if child.Type == "object" {
			leaves(t, path, child, needed, into, must)
			continue
		}
		into[path], must[path] = child, needed
	}
	for _, name := range n.Required {
		if n.Properties[name] == nil {
			t.Errorf("the schema wants %s in %q, and does not know it", name, prefix)
		}
	}
}

func TestTheSchemaAgreesWithTheKeys(t *testing.T) {
	s := readSchema(t)
	for _, c := range []struct {
		def  string
		keys []key
	}{{"region", regionKeys()}, {"origin", originKeys()}} {
		found, must := map[string]*node{}, map[string]bool{}
		leaves(t, "", s.Defs[c.def], true, found, must)
		for _, k := range c.keys {
			n := found[k.path]
			if n == nil {
				t.Errorf("the schema has no %s", k.path)
				continue
			}
			delete(found, k.path)
			want := map[kind]string{kindText: "string", kindTexts: "array", kindFlag: "boolean", kindNumber: "integer", kindSecret: ""}[k.kind]
			if n.Type != want || (k.kind == kindSecret) != (n.Ref == "#/$defs/secret") || n.Description != k.help || must[k.path] != k.required {
				t.Errorf("%s is %+v in the schema, and %+v in the table", k.path, n, k)
			}
			if n.Default != nil && fmt.Sprint(n.Default) != k.fallback {
				t.Errorf("the default of %s is %v in the schema, and %s in the table", k.path, n.Default, k.fallback)
			}
			matchExample(t, k, n)
		}
		for path := range found {
			t.Errorf("the schema has %s, which the table has not", path)
		}
	}
	regions, origins := s.Properties["regions"], s.Properties["origins"]
	if s.Properties["version"].Const != float64(version) || regions.MaxProperties != MaxRegions || origins.MaxProperties != 1 ||
		len(s.Properties) != 3 || len(s.Required) != 3 || string(s.Additional) != "false" {
		t.Errorf("the schema is %+v", s)
	}
	secret := s.Defs["secret"]
	if names(secret.Properties)[0] != "env" || names(secret.Properties)[1] != "file" || len(secret.Properties) != 2 || secret.MaxProperties != 1 {
		t.Errorf("a secret is %+v", secret)
	}
}

// matchExample checks that the schema lets the table's example pass, and has our bounds.
func matchExample(t *testing.T, k key, n *node) {
	t.Helper()
	var example any
	if err := yaml.Unmarshal([]byte(k.example), &example); err != nil {
		t.Fatal(err)
	}
	switch k.kind {
	case kindTexts:
		if n.MaxItems != MaxServers || n.Items.MaxLength != MaxText {
			t.Errorf("the bounds of %s are %+v", k.path, n)
		}
		for _, text := range example.([]any) {
			if !regexp.MustCompile(n.Items.Pattern).MatchString(text.(string)) {
				t.Errorf("the schema refuses %v as %s", text, k.path)
			}
		}
	case kindText:
		if n.Pattern != "" && !regexp.MustCompile(n.Pattern).MatchString(example.(string)) || n.Pattern == "" && n.MaxLength != MaxText {
			t.Errorf("the schema refuses %v as %s, or has no bound", example, k.path)
		}
	case kindNumber:
		if k.path == "nats.log_from" {
			if n.Minimum != 1.0 || n.Enum != nil {
				t.Errorf("the schema lets %s be from %v, or %v", k.path, n.Minimum, n.Enum)
			}
			break
		}
		if !reflect.DeepEqual(n.Enum, []any{1.0, 3.0, 5.0}) {
			t.Errorf("the schema lets %s be %v", k.path, n.Enum)
		}
	}
}

// TestPatternsOfTheSchemaRefuseWhatTheReaderRefuses, as far as a pattern can.
func TestPatternsOfTheSchemaRefuseWhatTheReaderRefuses(t *testing.T) {
	s := readSchema(t)
	region := s.Defs["region"].Properties
	urls := regexp.MustCompile(region["nats"].Properties["urls"].Items.Pattern)
	addresses := regexp.MustCompile(region["redis"].Properties["addresses"].Items.Pattern)
	domain := regexp.MustCompile(region["nats"].Properties["domain"].Pattern)
	prefix := regexp.MustCompile(region["redis"].Properties["prefix"].Pattern)
	for _, text := range []string{"nats://a:1", "tls://a", "http://a", "nats://u:p@a", "nats://", "a:4222", "nats://a?x=1"} {
		if _, c := natsAddress(text); (c == nil) != urls.MatchString(text) {
			t.Errorf("schema and reader disagree about %q", text)
		}
	}
	for _, text := range []string{"redis://a:1/0", "rediss://a", "unix:///run/x", "unix://run", "redis://:p@a", "a:6379", "redis://a?db=1"} {
		if _, c := redisAddress(text); (c == nil) != addresses.MatchString(text) {
			t.Errorf("schema and reader disagree about %q", text)
		}
	}
	if !domain.MatchString(strings.Repeat("a", maxDomain)) || domain.MatchString(strings.Repeat("a", maxDomain+1)) ||
		!prefix.MatchString(strings.Repeat(":", maxPrefix)) || prefix.MatchString(strings.Repeat(":", maxPrefix+1)) {
		t.Error("the schema has other bounds")
	}
	name := regexp.MustCompile(s.Properties["regions"].PropertyNames.Pattern)
	if !name.MatchString("us-1") || name.MatchString("US") || name.MatchString(strings.Repeat("a", 33)) {
		t.Error("the schema has other names of regions")
	}
}

// TestTheTypesAgreeWithTheKeys: what can be written is what comes out, under the same name.
func TestTheTypesAgreeWithTheKeys(t *testing.T) {
	var paths []string
	var walk func(prefix string, typ reflect.Type)
	walk = func(prefix string, typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			path := strings.TrimPrefix(prefix+"."+name, ".")
			if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[Secret]() {
				walk(path, f.Type)
				continue
			}
			paths = append(paths, path)
		}
	}
	walk("", reflect.TypeFor[Region]())
	var want []string
	for _, k := range regionKeys() {
		want = append(want, k.path)
	}
	slices.Sort(want)
	paths = slices.DeleteFunc(paths, func(p string) bool { return p == "name" })
	slices.Sort(paths)
	if !slices.Equal(paths, want) {
		t.Errorf("the types have\n%v\nand the table\n%v", paths, want)
	}
}

// TestEveryKeyIsRead: each alone, as its example has it, changes the region that comes out.
func TestEveryKeyIsRead(t *testing.T) {
	set := map[string]string{"nats.fsync": "true", "redis.cluster": "true", "redis.prefix": `"other:"`}
	base := func(add map[string]string) (Region, error) {
		tree := map[string]any{}
		put := func(path, value string) {
			at := tree
			parts := strings.Split(path, ".")
			for _, p := range parts[:len(parts)-1] {
				if at[p] == nil {
					at[p] = map[string]any{}
				}
				at = at[p].(map[string]any)
			}
			var v any
			if err := yaml.Unmarshal([]byte(value), &v); err != nil {
				t.Fatal(err)
			}
			at[parts[len(parts)-1]] = v
		}
		put("nats.urls", "[nats://a]")
		put("redis.addresses", "[rediss://a]")
		for path, value := range add {
			put(path, value)
		}
		text, err := yaml.Marshal(map[string]any{"version": 1, "regions": map[string]any{"us": tree}, "origins": map[string]any{"us": map[string]any{"leader": "us"}}})
		if err != nil {
			t.Fatal(err)
		}
		topo, err := Parse("f", text, nil)
		if err != nil {
			return Region{}, err
		}
		return topo.Regions[0], nil
	}
	plain, err := base(nil)
	if err != nil {
		t.Fatal(err)
	}
	partners := map[string]string{"nats.user": "nats.password", "nats.password": "nats.user", "nats.tls.cert": "nats.tls.key", "nats.tls.key": "nats.tls.cert",
		"redis.user": "redis.password", "redis.tls.cert": "redis.tls.key", "redis.tls.key": "redis.tls.cert"}
	for _, k := range regionKeys() {
		value := k.example
		if other := set[k.path]; other != "" {
			value = other
		}
		add := map[string]string{k.path: value}
		for _, p := range regionKeys() {
			if p.path == partners[k.path] {
				add[p.path] = p.example
			}
		}
		got, err := base(add)
		if k.path == "nats.domain" { // it can only say what is so anyway
			if _, err := base(map[string]string{k.path: "other"}); err == nil {
				t.Error("a domain that is not the region's name is accepted")
			}
			continue
		}
		if k.path == "nats.log_from" { // the base has one region, which leads
			if err == nil || !strings.Contains(err.Error(), "contradiction") {
				t.Errorf("a leader that begins later: %v", err)
			}
			continue
		}
		if err != nil || reflect.DeepEqual(got, plain) {
			t.Errorf("%s: %s changes nothing (%v)", k.path, value, err)
		}
	}
}

func TestTheREADMEListsEveryKey(t *testing.T) {
	const begin, end = "<!-- keys: written by go test ./topology -run README -update -->\n", "<!-- end of keys -->"
	var table strings.Builder
	table.WriteString("| key | holds | default | example | |\n|---|---|---|---|---|\n")
	for _, k := range append(regionKeys(), originKeys()...) {
		fallback := k.fallback
		if k.required {
			fallback = "required"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | `%s` | %s |\n", k.path, k.kind, fallback, k.example, k.help)
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("README.md has no place for the table")
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(before+begin+table.String()+end+after), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
		return
	}
	if old != table.String() {
		t.Error("the table of keys in README.md is not the code's: write it anew with -update")
	}
	for _, code := range Codes() {
		if strings.HasPrefix(string(code), "config-") && code != ErrInvalid && code != ErrNoFile && !strings.Contains(string(text), string(code)) {
			t.Errorf("README.md does not name %s", code)
		}
	}
	example := text[strings.Index(string(text), "version: 1"):]
	if _, err := Parse("README.md", example[:strings.Index(string(example), "```")], nil); err != nil {
		t.Errorf("the example in README.md is not valid: %v", err)
	}
}
