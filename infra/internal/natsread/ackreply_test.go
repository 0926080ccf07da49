package natsread

import "testing"

func TestAckReply(t *testing.T) {
	for reply, want := range map[string]ackReply{
		"$JS.ACK.EVT_us.tm-x.1.1042.17.1700000000123456789.5":                     {stream: 1042, time: 1700000000123456789, pending: 5},
		"$JS.ACK.us-east.ACCHASH.EVT_us.tm-x.1.1042.17.1700000000123456789.0":     {stream: 1042, time: 1700000000123456789},
		"$JS.ACK.us-east.ACCHASH.EVT_us.tm-x.1.1042.17.1700000000123456789.3.xyz": {stream: 1042, time: 1700000000123456789, pending: 3},
		"$JS.ACK._.ACCHASH.EVT_us.tm-x.1.18446744073709551615.17.1.3.random.more": {stream: 18446744073709551615, time: 1, pending: 3},
		"$JS.ACK.EVT_us.tm-x.1.1042.17.1700000000123456789":                       {},
		"$JS.ACK.EVT_us.tm-x.1.x.17.1700000000123456789.5":                        {},
		"$JS.ACK.EVT_us.tm-x.1..17.1700000000123456789.5":                         {},
		"$JS.ACK.":          {},
		"_INBOX.x":          {},
		"":                  {},
		"$JS.ACK.a.b.c.d.e": {},
	} {
		var got ackReply
		ok := got.parse(reply)
		if ok != (want.stream > 0) || ok && (got.stream != want.stream || got.time != want.time || got.pending != want.pending) {
			t.Errorf("%s: %+v, %t", reply, got, ok)
		}
		if ok && !got.parse(reply) {
			t.Errorf("%s: not read again with what was learned", reply)
		}
	}
}

func FuzzAckReply(f *testing.F) {
	f.Add("$JS.ACK.EVT_us.tm-x.1.1042.17.1700000000123456789.5")
	f.Add("$JS.ACK.us-east.ACCHASH.EVT_us.tm-x.1.1042.17.1700000000123456789.3.xyz")
	f.Fuzz(func(t *testing.T, reply string) {
		var fresh, known ackReply
		known.parse("$JS.ACK.EVT_us.tm-x.1.1042.17.1700000000123456789.5")
		a, b := fresh.parse(reply), known.parse(reply)
		if a != b || a && (fresh.stream != known.stream || fresh.time != known.time || fresh.pending != known.pending) {
			t.Errorf("%q: %+v %t, with a prefix known %+v %t", reply, fresh, a, known, b)
		}
	})
}
