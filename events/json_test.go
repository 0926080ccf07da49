package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheckJSONAcceptsOneValueThatEveryReaderUnderstandsAlike(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `""`, `0`, `-0`, `-0.0e-0`, `true`, ` null `, "\t{\r\n}\n", `{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}`,
		`"\u00e9\n\ud83d\ude00 é 😀 ￿"`, `1e308`, `-1.7976931348623157e308`, `1e-400`, `0.` + strings.Repeat("0", 400) + `1`,
		strings.Repeat("9", 308), `"` + "\x7f" + `"`, `{"":1,"a":2," ":3}`, `{"a\u0062":1,"ab ":2}`,
		strings.Repeat("[", MaxJSONDepth) + strings.Repeat("]", MaxJSONDepth),
		strings.Repeat(`{"a":`, MaxJSONDepth) + "1" + strings.Repeat("}", MaxJSONDepth),
		manyKeys(1_000, ""),
	} {
		if err := CheckJSON([]byte(text)); err != nil {
			t.Errorf("%.60s: %v", text, err)
		}
	}
}

func TestCheckJSONSaysWhatIsWrongAndWhere(t *testing.T) {
	for _, c := range []struct {
		text string
		at   int
		want jsonFault
	}{
		{``, 0, "the text ends where a value should begin"},
		{` `, 1, "the text ends where a value should begin"},
		{`{} {}`, 3, "something follows the value"},
		{"\xef\xbb\xbf{}", 0, "no value begins with this character"},
		{`{a:1}`, 1, "a key in double quotes should stand here"},
		{`{"a":1,}`, 7, "a key in double quotes should stand here"},
		{`{"a" 1}`, 5, "a colon should follow the key"},
		{`{"a":1`, 6, "the text ends inside an object"},
		{`{"a":1 "b":2}`, 7, "a comma or } should follow the object's value"},
		{`[1,]`, 3, "no value begins with this character"},
		{`[1 2]`, 3, "a comma or ] should follow the array's value"},
		{`[1`, 2, "the text ends inside an array"},
		{`nul`, 0, "not a value; true, false and null are the only words"},
		{`[trux]`, 1, "not a value; true, false and null are the only words"},
		{`[`, 1, "the text ends where a value should begin"},
		{`{`, 1, "a key in double quotes should stand here"},
		{`NaN`, 0, "no value begins with this character"},
		{`-`, 0 + 1, "a digit should follow the minus sign"},
		{`01`, 1, "something follows the value"},
		{`1.`, 2, "a digit should follow the decimal point"},
		{`1e+`, 3, "a digit should follow the exponent's sign"},
		{`"abc`, 4, "the text ends inside a string"},
		{`"abc\`, 4, "the text ends inside a string"},
		{`"\n`, 3, "the text ends inside a string"},
		{`"\u00e9`, 7, "the text ends inside a string"},
		{`"\u00e`, 1, "four hexadecimal digits should follow \\u"},
		{"\"a\nb\"", 2, "a control character in a string must be escaped"},
		{`"0123456789\x"`, 11, "no such escape in a string"},
		{`"\u12g4"`, 1, "four hexadecimal digits should follow \\u"},
		{`{"a":1,"b":2,"a":3}`, 13, faultRepeated},
		{`{"a":1,"\u0061":2}`, 7, faultRepeated},
		{`{"\ud83d\ude00":1,"😀":2}`, 18, faultRepeated},
		{`{"\"\\\/\b\f\n\r\t":1,"\u0022\u005c\u002f\u0008\u000c\u000a\u000d\u0009":2}`, 22, faultRepeated},
		{manyKeys(40, "key7"), len(manyKeys(40, "")) - 1 + 1, faultRepeated},
		{`[1e400]`, 1, faultNumber},
		{`-1.8e308`, 0, faultNumber},
		{strings.Repeat("9", 310), 0, faultNumber},
		{`0.1e99999999999999999999`, 0, faultNumber},
		{"\"0123456789\xff\"", 11, faultUTF8},
		{"\"\xed\xa0\x80\"", 1, faultUTF8},
		{"\"\xc0\x80\"", 1, faultUTF8},
		{`"\ud800"`, 1, faultSurrogate},
		{`"\udc00\ud800"`, 1, faultSurrogate},
		{`"\ud800\ud800"`, 1, faultSurrogate},
		{strings.Repeat("[", MaxJSONDepth+1), MaxJSONDepth, faultDepth},
		{strings.Repeat(`{"a":`, MaxJSONDepth+1), 5 * MaxJSONDepth, faultDepth},
		{strings.Repeat("[", 1_000_000), MaxJSONDepth, faultDepth},
	} {
		at, fault := scanJSON([]byte(c.text))
		if at != c.at || fault != c.want {
			t.Errorf("%.60q: byte %d: %q, want byte %d: %q", c.text, at, fault, c.at, c.want)
		}
		err := CheckJSON([]byte(c.text))
		if !errors.Is(err, ErrInvalidData) || !strings.Contains(err.Error(), fmt.Sprintf("byte %d: %s", c.at, c.want)) {
			t.Errorf("%.60q: %v", c.text, err)
		}
	}
	if !strings.Contains(string(faultDepth), strconv.Itoa(MaxJSONDepth)) {
		t.Errorf("%q does not name the bound %d", faultDepth, MaxJSONDepth)
	}
}

// manyKeys returns an object with n distinct keys key0, key1, …, and last as one more when it is not empty.
func manyKeys(n int, last string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"key%d":%d`, i, i)
	}
	if last != "" {
		fmt.Fprintf(&b, `,%q:0`, last)
	}
	b.WriteByte('}')
	return b.String()
}

// grammatical reports whether JSON's own grammar allows what a fault refuses.
func grammatical(f jsonFault) bool {
	return slices.Contains([]jsonFault{"", faultDepth, faultRepeated, faultNumber, faultUTF8, faultSurrogate}, f)
}

// FuzzCheckJSON compares the scanner with encoding/json: on the grammar with json.Valid, on the rest with a slow walk over its tokens.
func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"b":[true,false,null,-1.5e+10,"x"],"c":{"a":"\u00e9\ud83d\ude00"}}`, `{"a":1,"\u0061":2}`, `[1e400,1e308]`, `"\ud800"`,
		"\"\xff\"", `{"a":{"b":{"a":1}}}`, "[[[[]]]]", `"01234567\"`, `-0.0E-0`, manyKeys(40, "key3"), manyKeys(33, "x"), "", "\x00", `[1,2`, `{"a":`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		at, fault := scanJSON(data)
		if at < 0 || at > len(data) {
			t.Fatalf("byte %d of %d", at, len(data))
		}
		valid := json.Valid(data)
		if fault == "" && !valid {
			t.Fatal("accepted, but json.Valid refuses it")
		}
		if !grammatical(fault) && valid {
			t.Fatalf("refused with %q at byte %d, but json.Valid accepts it", fault, at)
		}
		if valid && (fault == "") != plainJSON(t, data) {
			t.Fatalf("scanJSON says %q at byte %d, the slow walk over the tokens the opposite", fault, at)
		}
	})
}

// plainJSON is the slow oracle: whether valid JSON keeps the rules beyond the grammar.
func plainJSON(t *testing.T, data []byte) bool {
	if !utf8.Valid(data) || halfSurrogate(data) {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	type level struct {
		keys  map[string]bool // nil for an array
		isKey bool
	}
	var open []level
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			t.Fatalf("json.Valid accepts what the decoder does not: %v", err)
		}
		switch v := token.(type) {
		case json.Delim:
			if v == '}' || v == ']' {
				open = open[:len(open)-1]
				break
			}
			if len(open) == MaxJSONDepth {
				return false
			}
			next := level{}
			if v == '{' {
				next = level{keys: map[string]bool{}, isKey: true}
			}
			open = append(open, next)
			continue
		case json.Number:
			if x, _ := v.Float64(); math.IsInf(x, 0) {
				return false
			}
		case string:
			if top := len(open) - 1; top >= 0 && open[top].isKey {
				if open[top].keys[v] {
					return false
				}
				open[top].keys[v], open[top].isKey = true, false
				continue
			}
		}
		if top := len(open) - 1; top >= 0 && open[top].keys != nil {
			open[top].isKey = true
		}
	}
}

// halfSurrogate reports whether valid JSON has the escape of half a surrogate pair.
func halfSurrogate(data []byte) bool {
	high := false
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			if high {
				return true
			}
			continue
		}
		i++
		if data[i] != 'u' {
			if high {
				return true
			}
			continue
		}
		n, err := strconv.ParseUint(string(data[i+1:i+5]), 16, 16)
		if err != nil {
			return true
		}
		i += 4
		isHigh, isLow := n >= 0xd800 && n < 0xdc00, n >= 0xdc00 && n < 0xe000
		if high != isLow {
			return true
		}
		high = isHigh
	}
	return high
}

func TestCheckJSONAllocatesNothingForSmallObjects(t *testing.T) {
	data := []byte(flightJSON)
	if n := testing.AllocsPerRun(100, func() {
		if err := CheckJSON(data); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d bytes", n, len(data))
	}
}

// flightJSON is the flat object of 300 bytes that the benchmarks use.
const flightJSON = `{"flight":"UA1482","carrier":"UA","origin":"ORD","destination":"SFO","scheduled":"2024-03-09T14:05:00Z",` +
	`"actual":"2024-03-09T14:22:41Z","delay_minutes":17,"distance_miles":1846,"tail":"N37290","cancelled":false,"diverted":false,` +
	`"gate":"C18","load":0.874,"reason":"late aircraft"}`

func BenchmarkCheckJSON(b *testing.B) {
	nested := `{"items":[` + strings.Repeat(flightJSON+",", 20) + flightJSON + `]}`
	for _, c := range []struct{ name, text string }{
		{"flat", flightJSON}, {"nested", nested}, {"keys=1000", manyKeys(1_000, "")}, {"keys=64000", manyKeys(64_000, "")},
		{"utf8", `{"name":"` + strings.Repeat("Zürich, Genève, København ", 11) + `"}`},
	} {
		data := []byte(c.text)
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := CheckJSON(data); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/encoding-json-valid", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if !json.Valid(data) {
					b.Fatal("not valid")
				}
			}
		})
	}
}
