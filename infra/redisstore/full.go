package redisstore

import (
	"context"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// A server that is over its maxmemory queues nothing, since a queue takes memory: it refuses a transaction that only reads as well as one that writes. A script that only reads is executed, and is
// as atomic. So reading goes on where writing has to stop.

// readText executes commands that read. KEYS: the key of each. ARGV: for each its name, how many arguments follow the key, and these. It answers what each of them answered.
const readText = `
local answers, at = {}, 1
for i = 1, #KEYS do
  local n = tonumber(ARGV[at + 1])
  answers[i] = redis.pcall(ARGV[at], KEYS[i], unpack(ARGV, at + 2, at + 1 + n))
  at = at + 2 + n
end
return answers`

// full reports whether a server refused because its memory is full.
func full(err error) bool { return err != nil && redis.HasErrorPrefix(err, "OOM") }

// readFull executes raw commands that read, on keys of one partition, in one script.
func readFull(ctx context.Context, client redis.UniversalClient, cmds []*redis.RawCmd) error {
	args := []any{"eval", readText, len(cmds)}
	for _, c := range cmds {
		args = append(args, c.Args()[1])
	}
	for _, c := range cmds {
		args = append(args, c.Args()[0], strconv.Itoa(len(c.Args())-2))
		args = append(args, c.Args()[2:]...)
	}
	all := redis.NewRawCmd(ctx, args...)
	all.SetFirstKeyPos(firstKey)
	if err := client.Process(ctx, all); err != nil {
		return err
	}
	kind, line, rest, ok := cutLine(string(all.Val()))
	switch {
	case ok && kind == '-':
		return replyError(line)
	case !ok || kind != '*' || line != strconv.Itoa(len(cmds)):
		return errReply
	}
	for _, c := range cmds {
		n := replyLength(rest, maxNested)
		if n == 0 {
			return errReply
		}
		c.SetErr(nil)
		c.SetVal([]byte(rest[:n]))
		rest = rest[n:]
	}
	return nil
}

// maxNested is how deep a reply may be nested.
const maxNested = 8

// replyLength returns how long the first reply is; 0 when it is not whole, or none.
func replyLength(s string, depth int) int {
	kind, line, rest, ok := cutLine(s)
	if !ok || depth == 0 {
		return 0
	}
	length := len(s) - len(rest)
	switch kind {
	case '+', '-', ':', '_', ',', '#', '(':
		return length
	}
	n, err := strconv.Atoi(line)
	switch {
	case err != nil || n < -1:
		return 0
	case n == -1: // a null
		return length
	}
	switch kind {
	case '$', '=':
		if length += n + 2; length > len(s) {
			return 0
		}
		return length
	case '%':
		n *= 2
	case '*', '~':
	default:
		return 0
	}
	for range n {
		one := replyLength(s[length:], depth-1)
		if one == 0 {
			return 0
		}
		length += one
	}
	return length
}
