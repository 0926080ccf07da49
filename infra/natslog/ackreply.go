package natslog

import "strings"

// ackReply is what a delivered message's reply subject says, in the server's forms of version 1 and 2:
//
//	$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>
//	$JS.ACK.<domain>.<account>.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>[.<more>…]
//
// Everything up to the consumer is the same for all messages of a consumer, so it is looked for once.
type ackReply struct {
	prefix  string // up to and with the dot behind the consumer
	stream  uint64 // the stream sequence
	time    int64  // nanoseconds since 1970
	pending uint64 // messages behind this one, when it was sent
}

const ackPrefix = "$JS.ACK."

// parse reads reply without allocating. It returns false for anything else.
func (a *ackReply) parse(reply string) bool {
	if a.prefix == "" || !strings.HasPrefix(reply, a.prefix) {
		if !a.learn(reply) {
			return false
		}
	}
	rest := reply[len(a.prefix):]
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
		if n == 0 || n == len(rest) && i < len(fields)-1 {
			return false
		}
		fields[i] = v
		if n < len(rest) {
			rest = rest[n+1:]
		}
	}
	a.stream, a.time, a.pending = fields[1], int64(fields[3]), fields[4] //nolint:gosec // a time of this century
	return true
}

// learn finds where the numbers begin.
func (a *ackReply) learn(reply string) bool {
	if !strings.HasPrefix(reply, ackPrefix) {
		return false
	}
	const tokensV1, numbersV1, numbersV2 = 9, 4, 6 // tokens in all; tokens before the numbers
	before := numbersV2
	if strings.Count(reply, ".")+1 == tokensV1 {
		before = numbersV1
	}
	at := 0
	for range before {
		i := strings.IndexByte(reply[at:], '.')
		if i < 0 {
			return false
		}
		at += i + 1
	}
	a.prefix = reply[:at]
	return true
}
