package natsread

import "strings"

// ackReply is what a delivered message's reply subject says, in the server's forms of version 1 and 2:
//
//	$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>
//	$JS.ACK.<domain>.<account>.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>[.<more>…]
//
// Everything up to the consumer is the same for all messages of a consumer, so it is looked for once.
type ackReply struct {
	prefix  string // up to and with the dot behind the consumer
	more    bool   // something may follow the numbers
	stream  uint64 // the stream sequence
	time    int64  // nanoseconds since 1970
	pending uint64 // messages behind this one, when it was sent
}

const ackPrefix = "$JS.ACK."

// parse reads reply without allocating. It returns false for anything else.
func (a *ackReply) parse(reply string) bool {
	if a.prefix != "" && strings.HasPrefix(reply, a.prefix) && a.numbers(reply[len(a.prefix):]) {
		return true
	}
	return a.learn(reply) && a.numbers(reply[len(a.prefix):])
}

func (a *ackReply) numbers(rest string) bool {
	var fields [5]uint64
	for i := range fields {
		n := 0
		var v uint64
		for n < len(rest) && rest[n] != '.' {
			c := rest[n]
			if c < '0' || c > '9' || n == 20 {
				return false
			}
			v = v*10 + uint64(c-'0')
			n++
		}
		last := i == len(fields)-1
		switch {
		case n == 0, n == len(rest) && !last, n < len(rest) && last && !a.more:
			return false
		case n < len(rest):
			n++
		}
		fields[i], rest = v, rest[n:]
	}
	a.stream, a.time, a.pending = fields[1], int64(fields[3]), fields[4] //nolint:gosec // a time of this century
	return true
}

// learn finds where the numbers begin.
func (a *ackReply) learn(reply string) bool {
	if !strings.HasPrefix(reply, ackPrefix) {
		return false
	}
	const tokensV1, tokensV2, numbersV1, numbersV2 = 9, 11, 4, 6 // tokens in all; tokens before the numbers
	tokens, before := strings.Count(reply, ".")+1, numbersV1
	switch {
	case tokens >= tokensV2:
		before = numbersV2
	case tokens != tokensV1:
		return false
	}
	at := 0
	for range before {
		at += strings.IndexByte(reply[at:], '.') + 1
	}
	a.prefix, a.more = reply[:at], before == numbersV2
	return true
}
