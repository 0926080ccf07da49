package events

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// nastyIDs are ids that break what takes them for more than bytes.
func nastyIDs() []string {
	return []string{
		"ORD", "*", ">", ".", "a.b", "a.>", " ", "a b", "\t", "\r\n", "\x00", "{}", "%", "%2E", "a/b", "\\", "\"", "$JS.API", "-", "_", "~", "é", "日本", "😀",
		"\u200b", "\ufeff", "\u007f", strings.Repeat("x", 40),
	}
}

func TestSubjectsAreGolden(t *testing.T) {
	var b strings.Builder
	for _, id := range nastyIDs() {
		fmt.Fprintf(&b, "%-44q %s\n", id, EventSubject("us", Entity{"airport", id}))
	}
	for _, name := range []string{ControlGenesis, ControlTerm, ControlImport + "." + EncodeToken("flights 2024.csv")} {
		fmt.Fprintf(&b, "%-44q %s\n", name, ControlSubject("us", name))
	}
	golden(t, "subjects.txt", b.String())
}

func TestPositionsAreGolden(t *testing.T) {
	var b strings.Builder
	for _, p := range []Position{
		{}, At(Point{"us", "7f3a", 1, 1042}), At(Point{"us", "7f3a09c1", 2, 0}, Point{"eu", "09c1", 1, 77}, Point{"ap-south", "00ff", 4294967295, 18446744073709551615}),
	} {
		fmt.Fprintf(&b, "%q\n", p.String())
	}
	golden(t, "positions.txt", b.String())
}

func TestAnEntityHasExactlyOneSubject(t *testing.T) {
	seen := map[string]string{}
	for _, id := range append(nastyIDs(), strings.Repeat("*", MaxIDBytes)) {
		e := Entity{"airport", id}
		subject := EventSubject("us", e)
		if other, twice := seen[subject]; twice {
			t.Errorf("%q and %q have the subject %s", id, other, subject)
		}
		seen[subject] = id
		if strings.ContainsAny(subject, "*> \t\r\n\x00") || strings.Count(subject, ".") != 3 || len(subject) > 3_300 {
			t.Errorf("%q has the subject %q", id, subject)
		}
		if got, ok := ParseEventSubject("us", subject); !ok || got != e {
			t.Errorf("%q reads back as %q, %v", subject, got, ok)
		}
	}
}

func TestTheLongestNamesHaveASubject(t *testing.T) {
	e := Entity{strings.Repeat("t", MaxTypeBytes), strings.Repeat("i", MaxIDBytes)}
	if got, ok := ParseEventSubject("us", EventSubject("us", e)); !ok || got != e {
		t.Errorf("%q, %v", got, ok)
	}
}

func TestOtherSubjectsNameNoEntity(t *testing.T) {
	for _, subject := range []string{
		"", "evt", "evt.", "evt.us", "evt.us.", "evt.us.airport", "evt.us.airport.", "evt.us..ORD", "evt.us.airport.ORD.", "evt.us.airport.ORD.x", "evt.eu.airport.ORD",
		"ctl.us.airport.ORD", "evt.us.air%70ort.ORD", "evt.us.airport.O%52D", "evt.us.airport.%2e", "evt.us.airport.%", "evt.us.airport.%2", "evt.us.airport.%G0",
		"evt.us.airport.%FF", "evt.us.airport.%C3", "evt.us.airport.*", "evt.us.airport.>", "evt.us.airport.é", "evt.us.airport.a b", "evt.us." + strings.Repeat("t", 65) + ".ORD",
		"evt.us.airport." + strings.Repeat("x", MaxIDBytes+1), "evt.us.airport.%00%", "EVT.us.airport.ORD",
	} {
		if e, ok := ParseEventSubject("us", subject); ok {
			t.Errorf("%q names %q", subject, e)
		}
	}
}

func TestControlSubjects(t *testing.T) {
	for name, valid := range map[string]bool{
		"a": true, "genesis": true, "import.flights": true, "a.b.c": true, "import.%20": true, "": false, ".": false, "a.": false, ".a": false, "a..b": false, "*": false, "a.>": false,
		"a b": false, "é": false, strings.Repeat("a", 200): true, strings.Repeat("a", 201): false,
	} {
		if got := ValidControlName(name); got != valid {
			t.Errorf("%q: %v", name, got)
		}
		if got, ok := ParseControlSubject("us", ControlSubject("us", name)); ok != valid || valid && got != name {
			t.Errorf("%q reads back as %q, %v", name, got, ok)
		}
	}
	if name, ok := ParseControlSubject("us", "ctl.eu.genesis"); ok {
		t.Errorf("another origin's control record is %q", name)
	}
}

func TestOriginNames(t *testing.T) {
	for name, valid := range map[string]bool{
		"us": true, "eu-west-1": true, "0": true, strings.Repeat("a", 32): true, "": false, "US": false, "a.b": false, "a_b": false, "*": false, "é": false, strings.Repeat("a", 33): false,
	} {
		if err := ValidateOrigin(name); (err == nil) != valid || err != nil && !errors.Is(err, ErrInvalidEvent) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Every name has its alphabet, tried byte by byte.
func TestAlphabets(t *testing.T) {
	const lower, upper, digits = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
	for name, c := range map[string]struct {
		alphabet string
		accepts  func(string) bool
	}{
		"entity type":  {lower + upper + digits + "_-", func(s string) bool { return Entity{s, "x"}.Validate() == nil }},
		"subject type": {lower + upper + digits + "_-", func(s string) bool { _, ok := ParseEventSubject("us", "evt.us."+s+".x"); return ok }},
		"event type":   {lower + upper + digits + "._-", validEventType},
		"extension":    {lower + digits, ValidExtensionName},
		"origin":       {lower + digits + "-", validOrigin},
		"lineage":      {"abcdef" + digits, func(s string) bool { return Lineage("abc" + s).Valid() }},
		"control name": {lower + upper + digits + "_-~%", ValidControlName},
		"plain token":  {lower + upper + digits + "_-~", func(s string) bool { _, ok := DecodeToken(s); return ok }},
		"header value": {lower + upper + digits + "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", func(s string) bool { return encodeValue(s) == s }},
	} {
		for b := range 256 {
			s := string([]byte{byte(b)})
			if got, want := c.accepts(s), strings.Contains(c.alphabet, s); got != want {
				t.Errorf("%s: %q: %v", name, s, got)
			}
		}
	}
}

func FuzzToken(f *testing.F) {
	for _, id := range append(nastyIDs(), "%C3%A9", "\xff", "%FF", "%41", "%2e") {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// Any id round-trips through exactly one token.
		token := EncodeToken(s)
		if strings.ContainsAny(token, ".*> \t\r\n\x00") || !utf8.ValidString(token) {
			t.Fatalf("%q is encoded as %q", s, token)
		}
		back, ok := DecodeToken(token)
		if valid := s != "" && utf8.ValidString(s); ok != valid || ok && back != s {
			t.Fatalf("%q is encoded as %q and decoded as %q, %v", s, token, back, ok)
		}
		// Any token that is accepted is the one that its id is encoded as.
		if id, ok := DecodeToken(s); ok && EncodeToken(id) != s {
			t.Fatalf("%q is accepted as %q, whose token is %q", s, id, EncodeToken(id))
		}
	})
}

func FuzzParseEventSubject(f *testing.F) {
	for _, id := range nastyIDs() {
		f.Add(EventSubject("us", Entity{"airport", id}))
	}
	f.Add("evt.us.airport.O%52D")
	f.Fuzz(func(t *testing.T, subject string) {
		e, ok := ParseEventSubject("us", subject)
		if !ok {
			return
		}
		if err := e.Validate(); err != nil {
			t.Fatalf("%q names %q: %v", subject, e, err)
		}
		if got := EventSubject("us", e); got != subject {
			t.Fatalf("%q names %q, whose subject is %q", subject, e, got)
		}
	})
}

func TestHeaderValuesFollowTheBinding(t *testing.T) {
	for value, header := range map[string]string{
		"Euro € 😀": "Euro%20%E2%82%AC%20%F0%9F%98%80", "": "", "abc": "abc", "a%b": "a%25b", `"a"`: "%22a%22", "a\x00b": "a%00b", "a/b?c=d&e#f": "a/b?c=d&e#f",
	} {
		if got := encodeValue(value); got != header {
			t.Errorf("%q is encoded as %q, want %q", value, got, header)
		}
		if got, ok := decodeValue(header); !ok || got != value {
			t.Errorf("%q is decoded as %q, %v", header, got, ok)
		}
	}
	// What other clients may send.
	for header, value := range map[string]string{
		`"a b"`: "a b", `"a\"b\\c"`: `a"b\c`, `"a\b"`: "ab", `"a%20b"`: "a b", "a b": "a b", "%c3%a9": "é", "é": "é", "%41": "A", `"`: `"`, `"a`: `"a`, `"a\`: `"a\`, `""`: "",
	} {
		if got, ok := decodeValue(header); !ok || got != value {
			t.Errorf("%q is decoded as %q, %v; want %q", header, got, ok, value)
		}
	}
	for _, header := range []string{"%", "%4", "a%zz", "%C0%A0", "%ff", "\xff", `"%ff"`, "a%2"} {
		if got, ok := decodeValue(header); ok || got != header {
			t.Errorf("%q is decoded as %q, %v", header, got, ok)
		}
	}
}

func FuzzHeaderValue(f *testing.F) {
	for _, s := range []string{"Euro € 😀", "%41", `"a\"b"`, "%C0%A0", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		header := encodeValue(s)
		for _, c := range []byte(header) {
			if c <= ' ' || c > '~' || c == '"' {
				t.Fatalf("%q is encoded as %q", s, header)
			}
		}
		if back, ok := decodeValue(header); ok != utf8.ValidString(s) || ok && back != s {
			t.Fatalf("%q is encoded as %q and decoded as %q, %v", s, header, back, ok)
		}
		if value, ok := decodeValue(s); ok && !utf8.ValidString(value) {
			t.Fatalf("%q is decoded as %q", s, value)
		}
	})
}
