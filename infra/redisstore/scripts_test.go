package redisstore

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tidemark.dev/infra/redistest"
	"tidemark.dev/projections"
)

func allScripts() map[string]script {
	s := newScripts()
	all := map[string]script{"create": s.create, "claim": s.claim, "state": s.state, "live": s.live, "sweep": s.sweep}
	for n, x := range s.apply {
		if x.text != "" {
			all[fmt.Sprint("apply ", n)] = x
		}
	}
	return all
}

// violations finds what a script must not hold. What it says in quotes is a command, a field's name or an error's first word, never something
// that came from outside; and the keys of its commands come from KEYS, which is what a server with an ACL, and a cluster, check.
func violations(text string) (found []string) {
	allowed := []string{
		"HMGET", "ZCARD", "HLEN", "HSET", "UNLINK", "ZADD", "ZREM", "EXISTS", "HGET", "HGETALL", "WRONGTYPE", "number", "", "0", fieldParked,
		"RPUSH", "LTRIM", "LLEN", "live",
	}
	for _, name := range headerNames() {
		allowed = append(allowed, name)
	}
	for _, m := range regexp.MustCompile(`'([^']*)'`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(allowed, m[1]) {
			found = append(found, "says "+m[1])
		}
	}
	key := regexp.MustCompile(`^(keys|KEYS)\[[0-9ij]+\]$|^keys\[tonumber\(argv\[a \+ 1\]$|^unpack\((keys|KEYS)$`)
	named := regexp.MustCompile(`\bp?call\('[A-Z]+', ([^,)]*)`).FindAllStringSubmatch(text, -1)
	if len(named) == 0 || len(named) != strings.Count(text, "call(") {
		found = append(found, "calls something without a name")
	}
	for _, m := range named {
		if !key.MatchString(m[1]) {
			found = append(found, "uses the key "+m[1])
		}
	}
	for _, bad := range []string{`"`, "[[", "..", "%", "loadstring", "error(", "error_reply", "gsub", "format", "setresp", "math.random"} {
		if strings.Contains(text, bad) {
			found = append(found, "holds "+bad)
		}
	}
	if strings.Count(text, "err =") != strings.Count(text, "err = err") {
		found = append(found, "makes up an error")
	}
	return found
}

func TestScriptsHoldNoData(t *testing.T) {
	for name, x := range allScripts() {
		if found := violations(x.text); found != nil {
			t.Errorf("the script %s %v", name, found)
		}
	}
}

func TestDataInAScriptIsFound(t *testing.T) {
	for _, planted := range []string{
		"redis.call('HSET', 'tm:key', ARGV[1])", "redis.call('HSET', ARGV[1], 'n')", "redis.call(ARGV[1], KEYS[1])",
		"redis.call('HGET', KEYS[1], 'flight-1')", "return {err = ARGV[1]} -- redis.call('HLEN', KEYS[1])",
		"redis.call('HGET', KEYS[1] .. ':doc')", "loadstring(ARGV[1])() redis.call('HLEN', KEYS[1])", "return 0",
	} {
		if violations(planted) == nil {
			t.Errorf("nothing was found in %s", planted)
		}
	}
}

// raw is a store and what is behind it, for one script.
type raw struct {
	*Store
	t      *testing.T
	client *redis.Client
	names  *partitionNames
}

func eachRaw(t *testing.T, test func(r *raw)) {
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		s, err := New(client, Options{})
		if err != nil {
			t.Fatal(err)
		}
		g := projections.Generation{Projection: "flights", Number: 1, Partitions: 1}
		test(&raw{Store: s, t: t, client: client, names: s.names.of(g).at(0)})
	})
}

func (r *raw) keys(docs ...string) []string {
	keys := []string{r.names.head, r.names.keys, r.names.changes}
	for _, d := range docs {
		keys = append(keys, r.names.doc+d)
	}
	return keys
}

func (r *raw) seed(owner, at string) {
	r.t.Helper()
	if err := r.client.HSet(r.t.Context(), r.names.head, "state", "live", "owner", owner, "at", at).Err(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *raw) stored() map[string]string {
	r.t.Helper()
	out := make(map[string]string)
	keys, err := r.client.Keys(r.t.Context(), "*").Result()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, k := range keys {
		switch kind := r.client.Type(r.t.Context(), k).Val(); kind {
		case "hash":
			out[k] = fmt.Sprint(r.client.HGetAll(r.t.Context(), k).Val())
		case "zset":
			out[k] = fmt.Sprint(r.client.ZRange(r.t.Context(), k, 0, -1).Val())
		case "list":
			out[k] = fmt.Sprint(r.client.LRange(r.t.Context(), k, 0, -1).Val())
		default:
			out[k] = kind
		}
	}
	return out
}

// refused runs a script and checks that it answers a code, with one thing that was found, and that nothing changed.
func (r *raw) refused(x script, keys []string, argv []string, code int64, found any) {
	r.t.Helper()
	before := r.stored()
	a, err := r.run(r.t.Context(), x, keys, argv...)
	if err != nil {
		r.t.Fatalf("the script failed: %v", err)
	}
	if a.code != code {
		r.t.Fatalf("the script answered %+v, want the code %d", a, code)
	}
	if found != nil && (len(a.rest) != 1 || a.rest[0] != found) {
		r.t.Fatalf("the script found %v, want %v", a.rest, found)
	}
	if after := r.stored(); !maps.Equal(before, after) {
		r.t.Fatalf("the refused script changed\n%v to\n%v", before, after)
	}
}

// applyArgs writes one document with one field, and removes one; both leave an index and the first gets into it.
func (r *raw) applyArgs(owner, at string) (keys, argv []string) {
	argv = []string{owner, at, "1", "1", fmt.Sprint(len(r.names.doc)), "2", "0", "2"}
	argv = append(argv, appendHeader(nil, &projections.Header{State: projections.Live, Owner: 7})...)
	argv = append(argv, "n", fieldAt, fieldDigest, "1", "us.7f3a@1:1", "00")
	argv = append(argv, "2", "1", "old a", "old gone", score, "new a", "1", "1 1:a,4:gone,")
	return append(r.keys("a", "gone"), r.names.index+"by_n"), argv
}

func TestApplyScriptRefuses(t *testing.T) {
	eachRaw(t, func(r *raw) {
		x := r.scripts.apply[1+ownFields]
		keys, argv := r.applyArgs("7", "us.7f3a@1:1")
		r.refused(x, keys, argv, codeAbsent, nil)
		r.seed("8", "us.7f3a@1:1")
		r.refused(x, keys, argv, codeOwner, "8")
		r.seed("7", "us.7f3a@1:2")
		r.refused(x, keys, argv, codeMoved, "us.7f3a@1:2")
		r.seed("7", "us.7f3a@1:1")
		for i, k := range keys {
			if i == 0 {
				continue
			}
			if err := r.client.Set(t.Context(), k, "x", 0).Err(); err != nil {
				t.Fatal(err)
			}
			r.refused(x, keys, argv, codeWrongType, int64(i+1))
			r.client.Del(t.Context(), k)
		}
		r.client.HDel(t.Context(), r.names.head, "at")
		r.refused(x, keys, argv, codeMoved, "")
		if err := r.client.Set(t.Context(), r.names.head, "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		r.refused(x, keys, argv, codeWrongType, int64(1))
	})
}

func TestCreateScriptRefuses(t *testing.T) {
	eachRaw(t, func(r *raw) {
		argv := appendHeader(nil, &projections.Header{State: projections.Building})
		r.client.ZAdd(t.Context(), r.names.keys, redis.Z{Member: "left over"})
		r.refused(r.scripts.create, r.keys(), argv, codeLeftover, nil)
		r.client.Del(t.Context(), r.names.keys)
		r.client.RPush(t.Context(), r.names.changes, "1 9:left over,")
		r.refused(r.scripts.create, r.keys(), argv, codeLeftover, nil)
		r.seed("8", "")
		r.refused(r.scripts.create, r.keys(), argv, codeOwner, "8")
		r.client.HDel(t.Context(), r.names.head, "owner")
		r.refused(r.scripts.create, r.keys(), argv, codeOwner, "")
	})
}

func TestClaimScriptRefuses(t *testing.T) {
	eachRaw(t, func(r *raw) {
		r.refused(r.scripts.claim, r.keys()[:1], []string{"7"}, codeAbsent, nil)
		for _, c := range []struct{ was, own string }{{"8", "7"}, {"10", "9"}, {"18446744073709551615", "18446744073709551614"}} {
			r.seed(c.was, "")
			r.refused(r.scripts.claim, r.keys()[:1], []string{c.own}, codeOwner, c.was)
		}
	})
}

func TestStateScriptRefuses(t *testing.T) {
	eachRaw(t, func(r *raw) {
		r.refused(r.scripts.state, r.keys()[:1], []string{"7", "live"}, codeAbsent, nil)
		r.seed("8", "")
		r.refused(r.scripts.state, r.keys()[:1], []string{"7", "retired"}, codeOwner, "8")
	})
}

func TestLiveScriptRefuses(t *testing.T) {
	eachRaw(t, func(r *raw) {
		keys, argv := []string{r.names.head, r.names.changes}, []string{"7", "us.7f3a@1:1", "live", "1"}
		r.refused(r.scripts.live, keys, argv, codeAbsent, nil)
		r.seed("8", "us.7f3a@1:1")
		r.client.HSet(t.Context(), r.names.head, "state", "building")
		r.refused(r.scripts.live, keys, argv, codeOwner, "8")
		r.client.HSet(t.Context(), r.names.head, "owner", "7", "at", "us.7f3a@1:2")
		r.refused(r.scripts.live, keys, argv, codeMoved, "us.7f3a@1:2")
		r.client.HSet(t.Context(), r.names.head, "at", "us.7f3a@1:1")
		r.client.Set(t.Context(), r.names.changes, "x", 0)
		r.refused(r.scripts.live, keys, argv, codeWrongType, int64(2))
	})
}

func TestSweepScriptRefuses(t *testing.T) {
	eachRaw(t, func(r *raw) {
		r.seed("8", "")
		r.client.HSet(t.Context(), r.names.doc+"a", "n", "1")
		r.client.ZAdd(t.Context(), r.names.keys, redis.Z{Member: "a"})
		r.refused(r.scripts.sweep, r.keys("a"), []string{"a"}, codeOwner, "8")
		r.refused(r.scripts.sweep, r.keys(), nil, codeOwner, "8")
	})
}

// A failing command inside of a script keeps what was written before it, so nothing may fail after the first write. The keys were checked;
// the arguments are checked here: of all scripts only apply takes a number from outside that could be out of range.
func TestAScriptThatCannotReadItsArgumentsWritesNothing(t *testing.T) {
	eachRaw(t, func(r *raw) {
		r.seed("7", "us.7f3a@1:1")
		keys, argv := r.applyArgs("7", "us.7f3a@1:1")
		argv[2] = "many"
		before := r.stored()
		if _, err := r.run(t.Context(), r.scripts.apply[1+ownFields], keys, argv...); err == nil {
			t.Fatal("the script took a word for a number")
		}
		if after := r.stored(); !maps.Equal(before, after) {
			t.Fatalf("the failing script changed\n%v to\n%v", before, after)
		}
	})
}
