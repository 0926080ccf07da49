package redisstore

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// call is one execution of a script.
type call struct {
	script script
	cmd    once
}

// once is a command that the client must not send again when its answer is lost: whoever asked has to find out what happened.
type once struct{ *redis.Cmd }

func (once) NoRetry() bool { return true }

// newCall makes a call by the script's name.
func newCall(ctx context.Context, s script, keys []string, argv ...string) *call {
	args := make([]any, 0, 3+len(keys)+len(argv))
	args = append(args, nil, nil, len(keys))
	for i := range keys {
		args = append(args, &keys[i])
	}
	for i := range argv {
		args = append(args, &argv[i])
	}
	return newRawCall(ctx, s, args)
}

// newRawCall makes a call of arguments that begin with room for the command and the script, and the number of keys. Pointers to strings are
// written as the strings, and need no allocation each.
func newRawCall(ctx context.Context, s script, args []any) *call {
	c := &call{script: s}
	args[0], args[1] = "evalsha", s.sha
	c.prepare(ctx, args)
	return c
}

func (c *call) prepare(ctx context.Context, args []any) {
	c.cmd = once{redis.NewCmd(ctx, args...)}
	c.cmd.SetFirstKeyPos(firstKey)
}

const firstKey = 3

// spell makes the call carry the script's text, for a server that does not know it.
func (c *call) spell(ctx context.Context) {
	args := c.cmd.Args()
	args[0], args[1] = "eval", c.script.text
	c.prepare(ctx, args)
}

// run executes one script.
func (s *Store) run(ctx context.Context, x script, keys []string, argv ...string) (answer, error) {
	c := newCall(ctx, x, keys, argv...)
	s.execute(ctx, []*call{c})
	return c.answer()
}

// execute sends calls in one round trip, and those whose script the server does not know a second time with the text: a restart, a
// failover and SCRIPT FLUSH make a server forget. Each call keeps its own error.
func (s *Store) execute(ctx context.Context, calls []*call) {
	s.send(ctx, calls)
	var unknown []*call
	for _, c := range calls {
		if err := c.cmd.Err(); err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
			c.spell(ctx)
			unknown = append(unknown, c)
		}
	}
	s.send(ctx, unknown)
}

func (s *Store) send(ctx context.Context, calls []*call) {
	if len(calls) == 0 {
		return
	}
	if err := ctx.Err(); err != nil {
		for _, c := range calls {
			c.cmd.SetErr(err)
		}
		return
	}
	p := s.client.Pipeline()
	for _, c := range calls {
		_ = p.Process(ctx, c.cmd) // only queues
	}
	_, err := p.Exec(ctx)
	for _, c := range calls {
		// A refused password fails the connection, and the client leaves the commands without a word.
		if err != nil && c.cmd.Err() == nil && c.cmd.Val() == nil {
			c.cmd.SetErr(err)
		}
	}
}

// answer is what a script returned.
type answer struct {
	code int64
	rest []any
}

func (c *call) answer() (answer, error) {
	v, err := c.cmd.Result()
	if err != nil {
		return answer{}, err
	}
	switch v := v.(type) {
	case int64:
		return answer{code: v}, nil
	case []any:
		if len(v) > 0 {
			if code, ok := v[0].(int64); ok {
				return answer{code: code, rest: v[1:]}, nil
			}
		}
	}
	return answer{}, errReply
}

// text returns the text after the code.
func (a answer) text() string {
	if len(a.rest) == 0 {
		return ""
	}
	s, _ := a.rest[0].(string) // a reply of ours; anything else reads as nothing
	return s
}

// number returns the number after the code.
func (a answer) number() int64 {
	if len(a.rest) == 0 {
		return 0
	}
	n, _ := a.rest[0].(int64) // as above
	return n
}

// strings returns the array after the code.
func (a answer) strings() []string {
	if len(a.rest) == 0 {
		return nil
	}
	list, _ := a.rest[0].([]any) // as above
	out := make([]string, len(list))
	for i, v := range list {
		out[i], _ = v.(string)
	}
	return out
}
