package redisstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"tidemark.dev/projections"
)

func TestRepliesOfBothProtocolsAreCut(t *testing.T) {
	for raw, want := range map[string][]string{
		"*0\r\n": {}, "%0\r\n": {}, "*-1\r\n": {}, "_\r\n": {},
		"*2\r\n$1\r\na\r\n$0\r\n\r\n":                {"a", ""},
		"%1\r\n$1\r\na\r\n$4\r\n\r\n\x00$\r\n":       {"a", "\r\n\x00$"},
		"~1\r\n+OK\r\n":                              {"OK"},
		"*3\r\n:1\r\n,1.5\r\n$3\r\n\xff\xfe\x00\r\n": {"1", "1.5", "\xff\xfe\x00"},
	} {
		got, err := parseStrings([]string{}, []byte(raw))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q was cut into %q, %v; want %q", raw, got, err, want)
		}
	}
	var answer replyError
	if _, err := parseStrings(nil, []byte("-WRONGTYPE Operation\r\n")); !errors.As(err, &answer) || answer != "WRONGTYPE Operation" {
		t.Errorf("an error was read as %v", err)
	}
	for _, raw := range []string{"", "*", "*1\r\n", "*1\r\n$5\r\nab\r\n", "*x\r\n", "$1\r\na\r\n", "*1\r\n$-1\r\n", "*1\r\n*0\r\n", ":1\r\n"} {
		if got, err := parseStrings(nil, []byte(raw)); !errors.Is(err, errReply) {
			t.Errorf("%q was read as %q, %v", raw, got, err)
		}
	}
}

func TestScoresOfBothProtocolsAreRead(t *testing.T) {
	for raw, want := range map[string][]bool{
		"*0\r\n": {}, "*2\r\n$1\r\n0\r\n$-1\r\n": {true, false}, "*3\r\n_\r\n,0\r\n,1.5\r\n": {false, true, true},
	} {
		got, err := parseScores([]byte(raw), len(want))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q was read as %v, %v; want %v", raw, got, err, want)
		}
		if got, err = parseScores([]byte(raw), len(want)+1); !errors.Is(err, errReply) {
			t.Errorf("%q, of which one more was expected, was read as %v, %v", raw, got, err)
		}
	}
	var answer replyError
	if _, err := parseScores([]byte("-WRONGTYPE Operation\r\n"), 1); !errors.As(err, &answer) {
		t.Errorf("an error was read as %v", err)
	}
	for _, raw := range []string{"", "*1\r\n", ":1\r\n", "*1\r\n$-1", "*1\r\n*0\r\n", "_\r\n"} {
		if got, err := parseScores([]byte(raw), 1); !errors.Is(err, errReply) {
			t.Errorf("%q was read as %v, %v", raw, got, err)
		}
	}
}

func TestTheFirstReplyOfSeveralIsCut(t *testing.T) {
	const rest = "+more\r\n"
	for _, raw := range []string{
		"+OK\r\n", "-ERR no\r\n", ":12\r\n", "_\r\n", ",1.5\r\n", "#t\r\n", "$0\r\n\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "%0\r\n", "$4\r\n\x00$\r\n\r\n", "=5\r\ntxt:a\r\n",
		"*3\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n_\r\n", "%1\r\n$1\r\na\r\n*0\r\n", "~2\r\n+a\r\n+b\r\n",
	} {
		if n := replyLength(raw+rest, maxNested); n != len(raw) {
			t.Errorf("of %q there are %d, want %d", raw, n, len(raw))
		}
		for cut := range len(raw) {
			if n := replyLength(raw[:cut], maxNested); n != 0 {
				t.Errorf("%q is said to be whole, of %d", raw[:cut], n)
			}
		}
	}
	for _, raw := range []string{"?1\r\n", "*x\r\n", "$-2\r\n", strings.Repeat("*1\r\n", 100) + ":1\r\n", "*9999999999\r\n:1\r\n"} {
		if n := replyLength(raw, maxNested); n != 0 {
			t.Errorf("%q is said to be a reply of %d", raw, n)
		}
	}
}

// Whatever a server sends, reading it ends, and what was sent as it should comes back.
func FuzzParseStrings(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\na\r\n$0\r\n\r\n"), "a")
	f.Add([]byte("%99999999999\r\n"), "\r\n")
	f.Add([]byte("*4294967295\r\n$1\r\n"), "")
	f.Fuzz(func(t *testing.T, raw []byte, v string) {
		_, _ = parseStrings(nil, raw)
		whole := fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(v), v, len(v), v)
		got, err := parseStrings(nil, []byte(whole))
		if err != nil || !slices.Equal(got, []string{v, v}) {
			t.Fatalf("%q came back as %q, %v", v, got, err)
		}
	})
}

// A header that can be read means the same when it is written again.
func FuzzHeader(f *testing.F) {
	zero := appendHeader(nil, &projections.Header{State: projections.Live})
	f.Add(zero[0], zero[1], zero[2], zero[3], "2026-03-01T12:00:00.5Z", zero[6], zero[10])
	f.Add("building", "18446744073709551615", "us.7f3a@1:1042,eu.09c1@1:77", "Yt0FAIMWQx2ldb0vPcZQ5g", "", "1", strings.Repeat("f", 32))
	f.Fuzz(func(t *testing.T, state, owner, at, seen, applied, docs, digest string) {
		values := []string{state, owner, at, seen, applied, at, docs, docs, docs, state, digest, digest}
		h, err := parseHeader(3, pairsOf(values))
		if err != nil {
			return
		}
		again, err := parseHeader(3, pairsOf(appendHeader(nil, &h)))
		if err != nil || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", h) {
			t.Fatalf("%+v came back as %+v, %v", h, again, err)
		}
	})
}

func pairsOf(values []string) []string {
	var pairs []string
	for i, name := range headerNames() {
		pairs = append(pairs, name, values[i])
	}
	return pairs
}

func TestNamesAreCutAsTheyWereMade(t *testing.T) {
	g := projections.Generation{Projection: "flights", Number: 12, Partitions: 256}
	names := newNames("tm:").of(g)
	for i := range g.Partitions {
		for _, key := range []string{"a", "}{", "", ":doc:"} {
			partition, suffix, ok := cutName(names.tag, names.at(i).doc+key)
			if !ok || partition != i || suffix != docInfix+key {
				t.Fatalf("%q was cut into %d, %q, %v", names.at(i).doc+key, partition, suffix, ok)
			}
		}
	}
	for _, other := range []string{"tm:{flights.1.00}:head", "tm:{flights.12.x}:head", "tm:{flights.12.-1}:head", "tm:{flights.12.256}:head", "tm:{flights.12.00"} {
		if _, _, ok := cutName(names.tag, other); ok {
			t.Errorf("%q was taken for a name of the generation", other)
		}
	}
	if got := globEscape(`tm*?[a]\:`); got != `tm\*\?\[a\]\\:` {
		t.Errorf("the escaped pattern is %s", got)
	}
}
