package events

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestStampReadsBack(t *testing.T) {
	h := Hash{0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xfe}
	for _, s := range []Stamp{
		{},
		{Time: 1, Hash: h},
		{Time: ^Timestamp(0), Hash: h, Tx: Tx{1, 2}},
		{Time: 5, Hash: h, Tx: Tx{MaxBatch, MaxBatch}, Observed: At(Point{"us", ours, 1, 7}), Key: "k=1"},
		{Time: 5, Observed: At(Point{"us", ours, 1, 7}, Point{"eu", ours, 4294967295, 18446744073709551615})},
	} {
		got, ok := parseStamp(s.text())
		if !ok || !reflect.DeepEqual(got, s) {
			t.Errorf("%q reads back as %+v, %v", s.text(), got, ok)
		}
	}
}

func TestWhatIsNoStampIsRefusedWhole(t *testing.T) {
	good := Stamp{Time: 0xabcdef, Hash: Hash{1}}.text()
	for _, text := range []string{
		"", "1", "1;", "2" + good[1:], good[:len(good)-1], good + "x", good + ";", good + ";;", good + ";t", good + ";t=", good + ";t=1", good + ";t=0/2", good + ";t=3/2", good + ";t=1/1001",
		good + ";t=01/2", good + ";t=+1/2", good + ";t=1/65537", good + ";o=x", good + ";o=us.7f3a@1:1,us.7f3a@1:2", good + ";t=1/2;o=x", " " + good,
		strings.Replace(good, "abcdef", "abcdeg", 1), strings.Replace(good, "abcdef", "ABCDEF", 1), strings.Replace(good, "0000000000abcdef", "+000000000abcdef", 1),
		strings.Replace(good, "A", "=", 1), strings.Replace(good, "A", "\n", 1), strings.Replace(good, "AAAA", "\n\n\n\n", 1), good + ";;t=1/2", good[:len(good)-1] + "B",
	} {
		if got, ok := parseStamp(text); ok || !reflect.DeepEqual(got, Stamp{}) {
			t.Errorf("%q is %+v, %v", text, got, ok)
		}
	}
}

func FuzzStamp(f *testing.F) {
	for _, s := range []Stamp{{}, {Time: 7, Hash: Hash{1}, Tx: Tx{1, 2}}, {Time: 7, Observed: At(Point{"us", ours, 1, 7}), Key: "k"}} {
		f.Add(s.text())
	}
	f.Add("1;0000000000000000;AAAAAAAAAAAAAAAAAAAAAA;t=1/1;z=;t=2/3")
	f.Fuzz(func(t *testing.T, text string) {
		s, ok := parseStamp(text)
		if !ok {
			if !reflect.DeepEqual(s, Stamp{}) {
				t.Fatalf("%q is refused but leaves %+v", text, s)
			}
			return
		}
		if s.Tx.Count > MaxBatch || s.Tx.Index > s.Tx.Count || !s.Observed.valid() {
			t.Fatalf("%q is %+v", text, s)
		}
		back, ok := parseStamp(s.text())
		if s.Tx.Alone() {
			s.Tx = Tx{} // 1/1 is printed as what it is
		}
		if !ok || !reflect.DeepEqual(back, s) {
			t.Fatalf("%q is %+v, printed as %q, and reads back as %+v, %v", text, s, s.text(), back, ok)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, r := range wireForms() {
		m := EncodeEvent("us", &r.Event, r.Stamp)
		f.Add(m.Subject, text(m), r.Event.Data)
	}
	f.Add("evt.us.airport.ORD", "ce-id: 1\nCe-Source: s\nce-specversion: 1.0\nce-type: T\nce-traceparent: x\ncontent-type: text/plain", []byte("x"))
	f.Add("ctl.us.mark", "tm: 1;", []byte("x"))
	f.Fuzz(func(t *testing.T, subject, head string, data []byte) {
		h := Header{}
		for line := range strings.SplitSeq(head, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			h[name] = append(h[name], value)
		}
		m := Message{Subject: subject, Header: h, Data: data}
		var r, again Record
		err := Decode(&r, "us", 7, time.Unix(1, 2), m)
		if err2 := Decode(&again, "us", 7, time.Unix(1, 2), m); (err == nil) != (err2 == nil) || err == nil && !reflect.DeepEqual(r, again) {
			t.Fatalf("%v, %+v\nthen %v, %+v", err, r, err2, again)
		}
		if err != nil {
			if code, _ := CodeOf(err); code != ErrDamaged && code != ErrForeignHistory {
				t.Fatal(err)
			}
			return
		}
		r.Fingerprint()
		if (r.Kind == KindMalformed) != (r.Reason != "") || r.Sequence != 7 || r.Subject != subject {
			t.Fatalf("%+v", r)
		}
		if r.Kind != KindEvent || !r.Stamp.Hash.IsZero() {
			return
		}
		// What another client stored is an event only if its attributes are valid, and then it is the same event when it is stored by us.
		if err := r.Event.validateAttributes(); err != nil {
			t.Fatalf("%+v: %v", r.Event, err)
		}
		if len(r.Event.Data) == 0 {
			r.Event.Data = nil
		}
		decoded(t, r.Event)
	})
}
