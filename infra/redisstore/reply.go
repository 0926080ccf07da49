package redisstore

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Documents are read as raw replies and cut here: the client's own decoding allocates every name and value by itself, which makes loads
// of thousands of documents slower by a sixth.

// replyError is an error that the server answered.
type replyError string

func (e replyError) Error() string { return string(e) }

// RedisError marks it for the client's error functions, like its own type.
func (replyError) RedisError() {}

// protocolError is a reply that is not what the command answers.
type protocolError string

func (e protocolError) Error() string { return string(e) }

const errReply = protocolError("the server sent a reply that cannot be read")

// parseStrings appends the elements of a raw reply to out: of an array, or the names and values of a map in turn. A null is no element.
func parseStrings(out []string, raw []byte) ([]string, error) { return cutStrings(out, string(raw)) }

// cutStrings is parseStrings for a reply that is a text already. What it appends is cut from that.
func cutStrings(out []string, s string) ([]string, error) {
	kind, line, s, ok := cutLine(s)
	if !ok {
		return out, errReply
	}
	if kind == '-' {
		return out, replyError(line)
	}
	if kind == '_' {
		return out, nil
	}
	n, err := strconv.Atoi(line)
	if err != nil {
		return out, errReply
	}
	switch kind {
	case '*', '~':
	case '%':
		n *= 2
	default:
		return out, errReply
	}
	if room := min(n, len(s)/minElement); room > 0 {
		out = slices.Grow(out, room)
	}
	for range n {
		var v string
		if v, s, ok = cutString(s); !ok {
			return out, errReply
		}
		out = append(out, v)
	}
	return out, nil
}

// minElement is how many bytes an element of a reply has at least.
const minElement = len("$0\r\n\r\n")

// oneText returns raw replies one behind the other: that is one allocation instead of one for each.
func oneText(cmds []*redis.RawCmd) string {
	size := 0
	for _, c := range cmds {
		size += len(c.Val())
	}
	var all strings.Builder
	all.Grow(size)
	for _, c := range cmds {
		all.Write(c.Val())
	}
	return all.String()
}

// cutLine takes the first line apart: its kind, and what follows the kind.
func cutLine(s string) (kind byte, line, rest string, ok bool) {
	line, rest, ok = strings.Cut(s, "\r\n")
	if !ok || line == "" {
		return 0, "", "", false
	}
	return line[0], line[1:], rest, true
}

// cutString takes the first value. It is called for every name and value that is read, so it counts digits by itself.
func cutString(s string) (v, rest string, ok bool) {
	if s == "" || s[0] != '$' {
		kind, line, rest, ok := cutLine(s)
		return line, rest, ok && (kind == '+' || kind == ':' || kind == ',')
	}
	n, i := 0, 1
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9' && n < len(s); i++ {
		n = 10*n + int(s[i]-'0')
	}
	if i == 1 || len(s)-i < n+4 || s[i] != '\r' { // two line ends
		return "", "", false
	}
	i += 2
	return s[i : i+n], s[i+n+2:], true
}

// isNull reports whether a raw reply is a null, of either protocol.
func isNull(raw []byte) bool {
	return bytes.HasPrefix(raw, []byte("_")) || bytes.HasPrefix(raw, []byte("$-1"))
}

// parseScores reads a raw reply of n scores, each of which may be null, and says which are not.
func parseScores(raw []byte, n int) ([]bool, error) {
	kind, line, s, ok := cutLine(string(raw))
	if ok && kind == '-' {
		return nil, replyError(line)
	}
	if !ok || kind != '*' || line != strconv.Itoa(n) {
		return nil, errReply
	}
	there := make([]bool, n)
	for i := range there {
		if rest, null := strings.CutPrefix(s, "$-1\r\n"); null {
			s = rest
			continue
		}
		if rest, null := strings.CutPrefix(s, "_\r\n"); null {
			s = rest
			continue
		}
		if _, s, ok = cutString(s); !ok {
			return nil, errReply
		}
		there[i] = true
	}
	return there, nil
}
