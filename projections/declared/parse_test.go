package declared_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tidemark.dev/projections"
	"tidemark.dev/projections/declared"
)

const good = `projection: p
version: 1
fields:
  n: int
  s: string
  b: bool
on:
  - event: E
    do:
      - count: n
`

func TestAFileWithAMistakeIsRefusedWithItsPlace(t *testing.T) {
	rule := func(text string) string { return good + text }
	step := func(text string) string { return strings.Replace(good, "count: n", text, 1) }
	listed := func(text string) string {
		return strings.NewReplacer("  n: int\n", "  n: int\n", "  b: bool", "  b: bool\n  l: list\n  k: {kind: list, keep: 5}\n  t: set", "count: n", text).Replace(good)
	}
	fields := func(n int) (text string) {
		for i := range n {
			text += fmt.Sprintf("  f%d: int\n", i)
		}
		return text
	}
	for _, c := range []struct{ name, text, says string }{
		{"empty", "", "1:1: projection-syntax: the file is empty"},
		{"not YAML", "projection: [", "projection-syntax: the file is not YAML"},
		{"a list", "- a\n", "1:1: projection-wrong-type: the file must be a mapping"},
		{"two documents", good + "---\na: b\n", "projection-syntax: the file holds more than one"},
		{"too large", good + "#" + strings.Repeat("x", declared.MaxBytes), "1:1: projection-too-large"},
		{"too deep", good + "tests: " + strings.Repeat("[", 50) + strings.Repeat("]", 50), "projection-too-large: mappings and lists are nested"},
		{"too many values", good + "tests: [" + strings.Repeat("1,", 20_000) + "1]", "projection-too-large: the file has more than"},
		{"a bomb", "a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nprojection: *b\n", "1:4: projection-syntax: anchors"},
		{"a merge key", "a: {<<: {b: 1}}\n", "1:5: projection-syntax: anchors"},
		{"an unknown key", good + "colour: red\n", "11:1: projection-unknown-key: the file has no key \"colour\""},
		{"a key twice", good + "version: 2\n", "11:1: projection-duplicate-key: the file has the key \"version\" twice; the other is on line 2"},
		{"indexes that are a list", good + "indexes: []\n", "11:10: projection-wrong-type: indexes must be a mapping"},
		{"no indexes", good + "indexes: {}\n", "11:10: projection-bad-value: indexes is empty"},
		{"a bad index name", good + "indexes:\n  _parked: n\n", "12:3: projection-bad-value: the index name \"_parked\""},
		{"a long index name", good + "indexes:\n  " + strings.Repeat("i", 49) + ": n\n", "12:3: projection-bad-value: the index name"},
		{"an index twice", good + "indexes:\n  a: n\n  a: s\n", "13:3: projection-duplicate-key"},
		{"an index of an unknown field", good + "indexes: {a: [n, x]}\n", "11:18: projection-unknown-key: the index a names \"x\", which is no field; there are n, s, b"},
		{"an index of a list", strings.Replace(good, "  b: bool", "  b: list", 1) + "indexes: {a: b}\n", "11:14: projection-wrong-type: the index a cannot be of b, which holds a list"},
		{"a field twice in an index", good + "indexes: {a: [n, n]}\n", "11:18: projection-duplicate-key: the index a names n twice"},
		{"an index of five fields", strings.Replace(good, "  b: bool", "  b: bool\n"+fields(2), 1) + "indexes: {a: [n, s, b, f0, f1]}\n", "projection-too-large: the index a has more than 4 fields"},
		{"an index of nothing", good + "indexes: {a: []}\n", "11:14: projection-bad-value: the index a is an empty list"},
		{"an index of a number", good + "indexes: {a: 1}\n", "11:14: projection-wrong-type: the index a must be a text"},
		{"17 indexes", good + "indexes:\n" + strings.ReplaceAll(fields(17), "int", "n"), "28:3: projection-too-large: there are more than 16 indexes"},
		{"a null", strings.Replace(good, "version: 1", "version:", 1), "2:9: projection-wrong-type: version has no value"},
		{"no name", strings.Replace(good, "projection: p\n", "", 1), "1:1: projection-missing-key: the file lacks projection"},
		{"a bad name", strings.Replace(good, "projection: p", "projection: P 1", 1), "1:13: projection-bad-value: the name"},
		{"a number as name", strings.Replace(good, "projection: p", "projection: 1", 1), "1:13: projection-wrong-type: projection must be a text"},
		{"version 0", strings.Replace(good, "version: 1", "version: 0", 1), "2:10: projection-bad-value: version is 0"},
		{"a float version", strings.Replace(good, "version: 1", "version: 1.5", 1), "2:10: projection-not-deterministic: version is a float"},
		{"a bad field name", strings.Replace(good, "  n: int", "  N: int", 1), "4:3: projection-bad-value: the field name"},
		{"a field that is a word", strings.Replace(good, "  n: int", "  null: int", 1), "4:3: projection-"},
		{"a large literal", step("set: {s: {text: '" + strings.Repeat("x", declared.MaxText+1) + "'}}"), "10:25: projection-too-large"},
		{"an unknown kind", strings.Replace(good, "  n: int", "  n: integer", 1), "4:6: projection-bad-value: there is no kind \"integer\""},
		{"a float field", strings.Replace(good, "  n: int", "  n: float", 1), "4:6: projection-not-deterministic: there is no kind float"},
		{"a default of another kind", strings.Replace(good, "  n: int", "  n: {kind: int, default: x}", 1), "4:27: projection-wrong-type: default must be"},
		{"a large default", strings.Replace(good, "  n: int", "  n: {kind: int, default: 9223372036854775808}", 1), "4:27: projection-wrong-type"},
		{"an octal number", strings.Replace(good, "  n: int", "  n: {kind: int, default: 0x10}", 1), "4:27: projection-wrong-type"},
		{"no fields", strings.Replace(good, "fields:\n  n: int\n  s: string\n  b: bool", "fields: {}", 1), "projection-bad-value: fields is empty"},
		{"a rule without event", rule("  - do: [{count: n}]\n"), "11:5: projection-missing-key: a rule lacks event"},
		{"a rule without steps", rule("  - event: E\n    do: []\n"), "12:9: projection-bad-value: do is an empty list"},
		{"a bad event type", rule("  - event: a b\n    do: [{count: n}]\n"), "11:12: projection-bad-value: \"a b\" is not a type"},
		{"an event twice", rule("  - event: [A, A]\n    do: [{count: n}]\n"), "11:16: projection-duplicate-key"},
		{"doc in a rule's condition", rule("  - event: E\n    when: doc.n > 1\n    do: [{count: n}]\n"), "12:11: projection-bad-expression: when: undeclared reference to 'doc'"},
		{"a number as condition", rule("  - event: E\n    when: event.sequence\n    do: [{count: n}]\n"), "12:11: projection-wrong-type: when gives an integer"},
		{"an open key", rule("  - event: E\n    key: 'a{b'\n    do: [{count: n}]\n"), "12:10: projection-bad-value: the key has a {"},
		{"a closing brace", rule("  - event: E\n    key: 'a}'\n    do: [{count: n}]\n"), "12:10: projection-bad-value: the key has a }"},
		{"an unknown name in a key", rule("  - event: E\n    key: 'a{dat.a}'\n    do: [{count: n}]\n"), "12:13: projection-bad-expression: key: undeclared reference to 'dat'"},
		{"an unknown field", step("count: x"), "10:16: projection-unknown-key: count names \"x\", which is no field; there are n, s, b"},
		{"an empty step", step("when: true"), "10:9: projection-missing-key: a step lacks what to do"},
		{"append without a bound", listed("append: {l: data.x}"), "13:18: projection-missing-key: append to l needs a bound"},
		{"append to a set", listed("append: {t: data.x}"), "13:18: projection-wrong-type: append cannot be used on t, which holds a set"},
		{"append to a string", listed("append: {s: data.x}"), "13:18: projection-wrong-type: append cannot be used on s, which holds a string"},
		{"collect into a list", listed("collect: {k: data.x}"), "13:19: projection-wrong-type: collect cannot be used on k, which holds a list"},
		{"collect into an integer", listed("collect: {n: data.x}"), "13:19: projection-wrong-type: collect cannot be used on n, which holds an integer"},
		{"remove from a string", listed("remove: {s: data.x}"), "13:18: projection-wrong-type: remove cannot be used on s"},
		{"collect a time", listed("collect: {t: event.time}"), "13:22: projection-wrong-type: collect t gives google.protobuf.Timestamp, which no field can hold"},
		{"add to a list", listed("add: {k: 1}"), "13:15: projection-wrong-type: add cannot be used on k, which holds a list"},
		{"max of sets", listed("max: {t: data.x}"), "13:15: projection-wrong-type: max cannot be used on t, which holds a set"},
		{"count of a set", listed("count: t"), "13:16: projection-wrong-type: count cannot be used on t, which holds a set"},
		{"a single value for a list", listed("set: {k: 'size(doc.k)'}"), "13:18: projection-wrong-type: set k gives an integer, and a list is wanted"},
		{"an integer for a list", listed("set: {k: 1}"), "13:18: projection-wrong-type: set k is an integer, and a list is wanted"},
		{"a YAML list for a list", listed("set: {k: [1]}"), "13:18: projection-wrong-type: set k must be an expression"},
		{"a list for a string", listed("set: {s: doc.t}"), "13:18: projection-wrong-type: set s gives a list, and a string is wanted"},
		{"a field of a list", listed("set: {n: doc.t.x}"), "projection-bad-expression: set n: "},
		{"a walk through too many lists", listed(`set: {b: "doc.k.all(a, doc.k.all(b, doc.k.all(c, doc.k.all(d, true))))"}`), "13:18: projection-too-dear: set b"},
		{"keep of a set", strings.Replace(good, "n: int", "n: {kind: set, keep: 3}", 1), "4:24: projection-wrong-type: keep is of lists"},
		{"keep of nothing", strings.Replace(good, "n: int", "n: {kind: list, keep: 0}", 1), "4:25: projection-bad-value: keep is 0"},
		{"keep of too many", strings.Replace(good, "n: int", "n: {kind: list, keep: 1001}", 1), "4:25: projection-bad-value: keep is 1001"},
		{"keep of a text", strings.Replace(good, "n: int", "n: {kind: list, keep: x}", 1), "4:25: projection-wrong-type: keep must be an integer"},
		{"a default that is no list", strings.Replace(good, "n: int", "n: {kind: list, default: 1}", 1), "4:28: projection-wrong-type: default must be a list"},
		{"a default over keep", strings.Replace(good, "n: int", "n: {kind: list, keep: 1, default: [1, 2]}", 1), "4:37: projection-too-large: default has 2 elements"},
		{"a float in a default", strings.Replace(good, "n: int", "n: {kind: set, default: [1, 1.5]}", 1), "4:31: projection-wrong-type: an element of default"},
		{"a list in a default", strings.Replace(good, "n: int", "n: {kind: set, default: [[1]]}", 1), "4:28: projection-wrong-type: an element of default"},
		{"a long default", strings.Replace(good, "n: int", "n: {kind: list, default: ['"+strings.Repeat("x", 65_536)+"']}", 1), "4:28: projection-too-large: default: it has"},
		{"expire of no time", step("expire: event.sequence"), "10:17: projection-wrong-type: expire gives an integer, and a time is wanted"},
		{"expire of a duration", step(`expire: duration("24h")`), "10:17: projection-wrong-type: expire gives google.protobuf.Duration, which no field can hold"},
		{"expire of a mapping", step("expire: {s: data.x}"), "10:17: projection-wrong-type: expire must be a text"},
		{"expire of a time in YAML", step("expire: 2001-01-01T00:00:00Z"), "10:17: projection-wrong-type: expire must be a text"},
		{"a bad duration", step(`expire: event.time + duration("24 hours")`), "10:39: projection-bad-expression: expire: invalid duration argument"},
		{"a bad time", step(`expire: timestamp("tomorrow")`), "10:27: projection-bad-expression: expire: invalid timestamp argument"},
		{"a field that expire makes", strings.Replace(step("expire: event.time"), "  n: int", "  expires: string\n  n: int", 1), "4:3: projection-bad-value: the field expires is there already: the step expire on line 11"},
		{"set of the expiry", step("expire: never\n      - set: {expires: event.id}"), "11:15: projection-bad-value: set cannot be used on expires"},
		{"expire beside 64 fields", strings.Replace(step("expire: never"), "  b: bool\n", fields(62), 1), "71:17: projection-too-large: there are 64 fields already"},
		{"a bad mark", good + "tests: [{name: a, given: [{mark: soon}]}]\n", "11:34: projection-bad-value: mark must be a time"},
		{"a mark with an event", good + "tests: [{name: a, given: [{mark: 2001-01-01T00:00:00Z, event: E}]}]\n", "projection-unknown-key: a mark has no key \"event\""},
		{"a bad expected expiry", step("expire: never") + "tests: [{name: a, given: [{mark: 2001-01-01T00:00:00Z}], expect: {k: {expires: soon}}}]\n", "projection-bad-value: expires must be never, or a time"},
		{"add to a string", step("add: {s: 1}"), "10:15: projection-wrong-type: add cannot be used on s"},
		{"max of booleans", step("max: {b: true}"), "10:15: projection-wrong-type: max cannot be used on b"},
		{"a string for an integer", step("set: {n: '\"x\"'}"), "10:18: projection-wrong-type: set n gives a string, and an integer is wanted"},
		{"a literal text for an integer", step("set: {n: {text: x}}"), "10:18: projection-wrong-type: set n is a string"},
		{"a list for a value", step("set: {n: [1]}"), "10:18: projection-wrong-type: set n must be an expression"},
		{"an empty set", step("set: {}"), "10:9: projection-bad-value: set is empty"},
		{"a float", step("set: {n: 1.5}"), "10:18: projection-not-deterministic: set n is a float"},
		{"a float in an expression", step("set: {n: int(data.n * 1.5)}"), "10:31: projection-not-deterministic: set n: floats"},
		{"a conversion to float", step("set: {n: int(double(data.n))}"), "projection-not-deterministic: set n: floats"},
		{"an unsigned number", step("set: {n: int(1u)}"), "10:22: projection-not-deterministic: set n: unsigned"},
		{"a map", step(`set: {b: '{"a":1}.exists(k, true)'}`), "projection-not-deterministic: set b: maps cannot be written"},
		{"a map in a list", step(`set: {b: '[1, {"a":1}][1].exists(k, true)'}`), "projection-not-deterministic: set b: maps cannot be written"},
		{"now", step("set: {s: string(now())}"), "10:28: projection-bad-expression: set s: undeclared reference to 'now'"},
		{"a named zone", step(`set: {n: "event.time.getHours('Europe/Berlin')"}`), "projection-not-deterministic: set n: a zone must be"},
		{"a zone of the data", step(`set: {n: "event.time.getHours(data.zone)"}`), "projection-not-deterministic: set n: a zone must be"},
		{"a pattern of the data", step("set: {b: data.s.matches(data.p)}"), "projection-not-deterministic: set b: the pattern"},
		{"a bad pattern", step("set: {b: \"data.s.matches('(')\"}"), "projection-bad-expression: set b: the pattern of matches"},
		{"dyn", step("set: {n: dyn(1)}"), "projection-not-deterministic: set n: the function dyn is not allowed"},
		{"half an expression", step("set: {n: data.n +}"), "10:26: projection-bad-expression: set n: "},
		{"an unknown field of the document", step("set: {n: doc.x}"), "projection-bad-expression: set n: undeclared reference to 'doc.x'"},
		{"a list as the result", step("set: {s: '[1]'}"), "10:18: projection-wrong-type: set s gives a list, and a string is wanted"},
		{"default of no path", step("set: {n: 'default(1, 2)'}"), "projection-bad-expression: set n: default wants a path"},
		{"a dear expression", step(`set: {b: "data.l.all(a, data.l.all(b, data.l.all(c, data.l.all(d, true))))"}`), "10:18: projection-too-dear: set b"},
		{"a long expression", step("set: {n: '" + strings.Repeat("1+", 3_000) + "1'}"), "10:18: projection-too-large: set n has more than"},
		{"a deep expression", step("set: {n: '" + strings.Repeat("(", 1_000) + "1" + strings.Repeat(")", 1_000) + "'}"), "projection-bad-expression: set n: "},
		{"delete beside another verb", step("delete: true\n        count: n"), "10:9: projection-bad-value: a step that deletes"},
		{"delete of a name", step("delete: n"), "10:17: projection-wrong-type: delete must be true"},
		{"an upcast that does nothing", good + "upcast: [{event: E}]\n", "11:10: projection-missing-key: an upcast lacks"},
		{"an expression on another line", step("set:\n          b: |\n            true ||\n              dat.a\n"), "13:1: projection-bad-expression: set b: undeclared reference to 'dat'"},
		{"a test of an unknown field", good + "tests: [{name: a, given: [{event: E, entity: x/k}], expect: {k: {x: 1}}}]\n", "projection-unknown-key: expect names \"x\""},
		{"a test of a bad entity", good + "tests: [{name: a, given: [{event: E, entity: k}]}]\n", "11:46: projection-bad-value: entity"},
		{"a test of the wrong kind", good + "tests: [{name: a, given: [{event: E, entity: x/k}], expect: {k: {n: x}}}]\n", "projection-wrong-type: n must be an integer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := declared.Parse("f.yaml", []byte(c.text))
			var invalid *declared.Invalid
			if !errors.Is(err, projections.ErrInvalidProjection) || !errors.As(err, &invalid) || len(invalid.Findings) == 0 {
				t.Fatalf("the error is %v", err)
			}
			if !strings.HasPrefix(invalid.Findings[0].String(), "f.yaml:"+c.says) && !strings.Contains(invalid.Findings[0].String(), c.says) {
				t.Errorf("the finding is\n%s, want\n%s", invalid.Findings[0], c.says)
			}
		})
	}
}

func TestEveryMistakeIsReportedAtOnceInTheOrderOfTheFile(t *testing.T) {
	text := strings.NewReplacer("version: 1", "version: 0", "event: E", "evnt: E", "count: n", "count: x", "b: bool", "b: boolean").Replace(good)
	_, _, err := declared.Parse("f.yaml", []byte(text))
	var invalid *declared.Invalid
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	var lines []int
	for _, f := range invalid.Findings {
		lines = append(lines, f.Line)
	}
	if fmt.Sprint(lines) != "[2 6 8 8 10]" {
		t.Errorf("the findings are %v", invalid.Findings)
	}
}

func TestFindingsAreBounded(t *testing.T) {
	_, _, err := declared.Parse("f.yaml", []byte(good+strings.Repeat("x: 1\n", 300)))
	var invalid *declared.Invalid
	if !errors.As(err, &invalid) || len(invalid.Findings) != declared.MaxFindings || invalid.Omitted != 200 || !strings.Contains(err.Error(), "and 200 more") {
		t.Errorf("the error is %v", err)
	}
}

func TestTheMeaningIsThatOfTheFileAndNotOfItsLayout(t *testing.T) {
	base := parse(t, good).Meaning()
	same := "# a comment\nversion: 2\nprojection: other\nfields: {n: int, s: {kind: string}, b: bool}\non: [{event: [E], do: [{count: [n]}], key: '{event.entity.id}'}]\ntests: [{name: a, given: [{event: Z, entity: x/k}]}]\n"
	if got := parse(t, same).Meaning(); got != base {
		t.Error("layout, comments, version or tests are part of the meaning")
	}
	seen := map[string]string{base: "the file itself"}
	for _, c := range [][2]string{
		{"n: int", "n: {kind: int, default: 1}"}, {"  n: int\n  s: string", "  s: string\n  n: int"}, {"s: string", "s: bool"}, {"event: E", "event: F"},
		{"event: E", "event: E\n    entity: x"}, {"event: E", "event: E\n    when: data.a"}, {"event: E", "event: E\n    key: 'k'"}, {"count: n", "count: [n, n]"},
		{"count: n", "add: {n: 1}"}, {"count: n", "add: {n: 2}"}, {"count: n", "add: {n: data.a}"}, {"count: n", "count: n\n        when: doc.n < 3"},
		{"count: n", "set: {s: {text: data.a}}"}, {"count: n", "set: {s: data.a}"},
		{"n: int", "l: list\n  n: int"}, {"n: int", "l: set\n  n: int"}, {"n: int", "l: {kind: list, keep: 1}\n  n: int"}, {"n: int", "l: {kind: list, keep: 2}\n  n: int"},
		{"n: int", "l: {kind: list, default: [1]}\n  n: int"}, {"n: int", "l: {kind: list, default: ['1']}\n  n: int"},
		{"b: bool", "b: {kind: list, keep: 3}\n  c: set"}, {"count: n", "expire: never"}, {"count: n", "expire: event.time"},
		{"\non:", "\nindexes: {a: n}\non:"}, {"\non:", "\nindexes: {b: n}\non:"}, {"\non:", "\nindexes: {a: [n, s]}\non:"}, {"\non:", "\nindexes: {a: [s, n]}\non:"},
		{"\non:", "\nindexes: {a: n, b: s}\non:"},
		{"\non:", "\nupcast: [{event: E, rename: {a: b}}]\non:"},
		{"\non:", "\nupcast: [{event: E, default: {a: 1}}]\non:"}, {"\non:", "\nupcast: [{event: E, set: {a: 1}}]\non:"},
	} {
		got := parse(t, strings.Replace(good, c[0], c[1], 1)).Meaning()
		if other, twice := seen[got]; twice {
			t.Errorf("%q means the same as %q", c[1], other)
		}
		seen[got] = c[1]
	}
	if base != "07c19a0c0dd53d30" {
		t.Errorf("the meaning of a file that is read today changed: %s", base)
	}
}

func FuzzAnyFileIsReadOrRefused(f *testing.F) {
	f.Add(good, `{"a":1}`)
	f.Add(declared.Example(), `{"delay":1.5,"date":"x"}`)
	f.Add(steps(`      [{set: {b: "data.l.exists(x, x.a == data.b[0])"}}, {max: {n: "default(data.a.b, 9)"}}]`+"\n"), `{"l":[{"a":1}],"b":[1]}`)
	f.Fuzz(func(t *testing.T, text, data string) {
		p, cases, err := declared.Parse("f", []byte(text))
		if err != nil {
			if !errors.Is(err, projections.ErrInvalidProjection) {
				t.Fatalf("the error has another code: %v", err)
			}
			return
		}
		for _, c := range cases {
			c.Run(p)
		}
		e := said(data)
		e.Type, e.Entity.Type = p.Definition().Handles[0].EventType, p.Definition().Handles[0].EntityType
		first, second := declared.Fold(p, one(e)), declared.Fold(p, one(e))
		if show(first) != show(second) {
			t.Fatalf("%s and then %s", show(first), show(second))
		}
	})
}

func FuzzAnyExpressionGivesTheSameTwice(f *testing.F) {
	for _, text := range []string{"data.a.b + 1", "default(data.a, 'x') + string(doc.n)", "data.l.exists(x, x.a == data.b[0]) || !(has(data.a))", "data.l.map(x, x * 2).filter(y, y > 1).size()",
		"event.time.getHours('+01:00') % 3 == 0 ? 'a' : event.type", "data.s.matches('^a+$') && data.s.startsWith('a')", "int('7') - int(timestamp('2001-01-01T00:00:00Z'))", "[1, 'a', [data]][0]"} {
		f.Add(text, `{"a":{"b":1},"l":[{"a":1},2],"b":[1],"s":"aa"}`)
	}
	f.Fuzz(func(t *testing.T, text, data string) {
		text = fmt.Sprintf("%q", text) // as YAML quotes it, but for what YAML does not know
		p, _, err := declared.Parse("f", []byte(steps("      [{set: {b: "+text+"}}, {set: {n: 1}}]\n  - {event: E, key: other, do: [{set: {s: "+text+"}}]}\n")))
		if err != nil {
			p, _, err = declared.Parse("f", []byte(steps("      [{set: {n: "+text+"}}]\n")))
		}
		if err != nil {
			if !errors.Is(err, projections.ErrInvalidProjection) {
				t.Fatalf("the error has another code: %v", err)
			}
			return
		}
		first := show(declared.Fold(p, one(said(data))))
		for range 3 {
			if second := show(declared.Fold(p, one(said(data)))); second != first {
				t.Fatalf("%s and then %s", first, second)
			}
		}
	})
}
