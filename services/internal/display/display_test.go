package display

import (
	"bytes"
	"math"
	"testing"
	"time"
)

func TestNumbersHaveCommas(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234", -12: "-12"} {
		if got := Number(n); got != want {
			t.Errorf("%d is shown as %s, want %s", n, got, want)
		}
	}
	if got := Number(uint64(math.MaxUint64)); got != "18,446,744,073,709,551,615" {
		t.Errorf("the largest number is shown as %s", got)
	}
	if Count(1, "event") != "1 event" || Count(2000, "event") != "2,000 events" {
		t.Error("a count has the wrong noun")
	}
}

func TestWhatATerminalWouldObeyIsQuoted(t *testing.T) {
	for s, want := range map[string]string{
		"ORD": "ORD", "São Paulo": "São Paulo", "a/b c": "a/b c", "": `""`, "a\x1b[2J": `"a\x1b[2J"`, "a\nb": `"a\nb"`, "a\u202eb": `"a\u202eb"`, "a\xff": `"a\xff"`, "a\u200bb": `"a\u200bb"`,
	} {
		if got := Name(s); got != want {
			t.Errorf("%q is shown as %s, want %s", s, got, want)
		}
	}
	if got := Text("one\ntwo\x1b[2J \xff ü \"quoted\""); got != "one\ntwo\\x1b[2J \\xff ü \"quoted\"" {
		t.Errorf("the text is shown as %s", got)
	}
}

func TestDurationsAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{1234 * time.Nanosecond: "1µs", 12345 * time.Microsecond: "12ms", 1234 * time.Millisecond: "1.2s", 75500 * time.Millisecond: "1m16s"} {
		if got := Duration(d); got != want {
			t.Errorf("%d is shown as %s, want %s", d, got, want)
		}
	}
}

func TestWithoutATerminalProgressIsALineNowAndThen(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(&out, "replay", "events")
	at := p.begun
	p.now = func() time.Time { return at }
	p.Set(10, 100)
	at = at.Add(4 * time.Second)
	p.Set(1000, 5000)
	at = at.Add(time.Second)
	p.Set(2000, 5000)
	at = at.Add(3 * time.Second)
	p.Set(2000, 0)
	p.End()
	want := "replay: 1,000 of 5,000 events (20 %), 250/s, 16.0s left\nreplay: 2,000 events, 250/s\n"
	if out.String() != want {
		t.Errorf("the lines are\n%s, want\n%s", out.String(), want)
	}
}
