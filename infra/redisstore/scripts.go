package redisstore

import (
	"crypto/sha1" //nolint:gosec // how Redis names scripts; nothing is secured by it
	"encoding/hex"
	"strconv"
	"strings"

	"tidemark.dev/projections"
)

// Scripts are constant text. Every key that a script touches is in KEYS, everything else is in ARGV, and a refusal carries a code and
// what was found, never an argument. Each script checks everything before its first write, because Redis keeps what a failing script
// has written. They use nothing that miniredis lacks: no struct, no cmsgpack, no functions.

// script is a text and the name under which Redis keeps it.
type script struct {
	text, sha string
}

func newScript(text string) script {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // as above
	return script{text: text, sha: hex.EncodeToString(sum[:])}
}

// What a script answers: 0, or an array that begins with one of these.
const (
	codeAbsent    = 1 // the partition does not exist
	codeOwner     = 2 // then: the owner that was found
	codeMoved     = 3 // then: the checkpoint that was found
	codeWrongType = 4 // then: the index in KEYS
	codeLeftover  = 5 // something of an earlier partition is in the way
)

// The head of the apply script. KEYS: header, list of keys, change log, then the documents to write, those to create first, then those to remove, then
// the indexes that change. ARGV: 1 owner, 2 checkpoint, 3 how many documents to write, 4 how many of them to create, 5 length of what stands before a
// document's key, 6 how many documents there are, removed ones too, 7 how many are parked, 8 how many entries the change log may get, 9 to 20 the new
// header, then the names of the fields, then their values, document by document; then for each parked document its index in KEYS and the reason; then for
// each index how many entries go and how many come, those that go, and those that come, each behind its score; at last
// the entry with which a change log begins, and those that it gets when it has begun.
//
// HLEN is the cheapest command that fails on a key of another type, and it tells an absent document from a present one.
const applyCheckText = refuseText + `
local keys, argv = KEYS, ARGV
local call, pcall, unpack = redis.call, redis.pcall, unpack
local was = pcall('HMGET', keys[1], 'owner', 'at', 'state')
if was.err then return refuse(was.err, 1) end
if not was[1] then return {1} end
if was[1] ~= argv[1] then return {2, was[1]} end
if was[2] ~= argv[2] then return {3, was[2] or ''} end
local n = pcall('ZCARD', keys[2])
if type(n) ~= 'number' then return refuse(n.err, 2) end
local last, new, docs, plen = 3 + argv[3], 3 + argv[4], 3 + argv[6], argv[5] + 1
local sizes = {}
for i = 4, docs do
  n = pcall('HLEN', keys[i])
  if type(n) ~= 'number' then return refuse(n.err, i) end
  sizes[i] = n
end
for i = docs + 1, #keys do
  n = pcall('ZCARD', keys[i])
  if type(n) ~= 'number' then return refuse(n.err, i) end
end
`

// What the apply script does about the change log. Its first write is the first of all, so what is wrong with the log refuses the commit before
// anything was written: then it is of another type, or Redis takes no writes. The log of a partition that becomes live begins anew.
const applyLogText = `
local log = #argv - argv[8]
if log < #argv and was[3] ~= 'live' then
  n = pcall('RPUSH', keys[3], argv[log + 1])
  if type(n) ~= 'number' then return refuse(n.err, 3) end
  if n > 1 then call('LTRIM', keys[3], -1, -1) end
elseif log + 1 < #argv then
  n = pcall('RPUSH', keys[3], unpack(argv, log + 2))
  if type(n) ~= 'number' then return refuse(n.err, 3) end
  if n > %m + %s then call('LTRIM', keys[3], -%m, -1) end
end
`

// The middle of the apply script, for documents of %n fields: the calls are written out, because a table for the arguments of each
// document costs a tenth of the speed. A document that has other fields than it should is written anew.
const applyWriteText = `
local a, listed = %b + %n, {}
local %f = %v
for i = 4, last do
  local have = sizes[i]
  if have + call('HSET', keys[i], %a) ~= %n then
    call('UNLINK', keys[i])
    call('HSET', keys[i], %a)
  end
  if have == 0 or i <= new then
    listed[#listed + 1] = 0
    listed[#listed + 1] = sub(keys[i], plen)
  end
  a = a + %n
end
`

// The middle for documents of so many fields that Lua runs out of room for calls that are written out.
const applyTableText = `
local a, listed, pairs = %b + %n, {}, {}
for j = 1, %n do pairs[2 * j - 1] = argv[%b + j] end
for i = 4, last do
  local have = sizes[i]
  for j = 1, %n do pairs[2 * j] = argv[a + j] end
  if have + call('HSET', keys[i], unpack(pairs)) ~= %n then
    call('UNLINK', keys[i])
    call('HSET', keys[i], unpack(pairs))
  end
  if have == 0 or i <= new then
    listed[#listed + 1] = 0
    listed[#listed + 1] = sub(keys[i], plen)
  end
  a = a + %n
end
`

// maxWritten is the largest number of fields for which the calls are written out.
const maxWritten = 32

// The tail of the apply script. Redis passes at most about 8,000 values from a table to a call, hence the steps. The header comes last.
const applyFinishText = `
for i = 1, 0 + argv[7] do
  call('HSET', keys[tonumber(argv[a + 1])], '_parked', argv[a + 2])
  a = a + 2
end
for i = 1, #listed, 4000 do call('ZADD', keys[2], unpack(listed, i, math.min(i + 3999, #listed))) end
for i = last + 1, docs, 1000 do
  local upto, gone = math.min(i + 999, docs), {}
  for j = i, upto do gone[#gone + 1] = sub(keys[j], plen) end
  call('UNLINK', unpack(keys, i, upto))
  call('ZREM', keys[2], unpack(gone))
end
for i = docs + 1, #keys do
  local gone = a + 2 + argv[a + 1]
  local come = gone + 2 * argv[a + 2]
  for j = a + 3, gone, 4000 do call('ZREM', keys[i], unpack(argv, j, math.min(j + 3999, gone))) end
  for j = gone + 1, come, 4000 do call('ZADD', keys[i], unpack(argv, j, math.min(j + 3999, come))) end
  a = come
end
%h
return 0
`

// headerAt is where the header begins in the apply script's ARGV.
const headerAt = 9

// headerText writes a whole header from ARGV, beginning at first.
func headerText(first int) string {
	var b strings.Builder
	b.WriteString("redis.call('HSET', KEYS[1]")
	for i, name := range headerNames() {
		b.WriteString(", '" + name + "', ARGV[" + strconv.Itoa(first+i) + "]")
	}
	return b.String() + ")"
}

// applyText returns the apply script for documents of n stored fields. It depends on n alone.
func applyText(n int) string {
	vars, args, calls := make([]string, n), make([]string, n), make([]string, n)
	for i := range n {
		no := strconv.Itoa(i + 1)
		vars[i] = "f" + no
		args[i] = "argv[" + strconv.Itoa(headerAt+headerFields+i) + "]"
		calls[i] = "f" + no + ", argv[a + " + no + "]"
	}
	write := strings.NewReplacer(
		"%b", strconv.Itoa(headerAt-1+headerFields), "%m", strconv.Itoa(projections.ChangeEntries), "%s", strconv.Itoa(changeSlack),
		"%n", strconv.Itoa(n), "%f", strings.Join(vars, ", "), "%v", strings.Join(args, ", "), "%a", strings.Join(calls, ", "),
		"%h", headerText(headerAt),
	)
	middle := applyWriteText
	if n > maxWritten {
		middle = applyTableText
	}
	return write.Replace(applyCheckText + applyLogText + middle + applyFinishText)
}

// createText makes a partition. KEYS: header, list of keys, change log. ARGV: the header, and if it is live the change log's first entry.
const createText = `
if redis.call('EXISTS', KEYS[1]) == 1 then return {2, redis.call('HGET', KEYS[1], 'owner') or ''} end
if redis.call('EXISTS', KEYS[2]) == 1 or redis.call('EXISTS', KEYS[3]) == 1 then return {5} end
if #ARGV > %n then redis.call('RPUSH', KEYS[3], ARGV[#ARGV]) end
%h
return 0
`

// claimText changes the owner. KEYS: header. ARGV: owner. It answers the header. Owners are decimal numbers beyond what Lua can count
// exactly, so they are compared as texts.
const claimText = `
if redis.call('EXISTS', KEYS[1]) == 0 then return {1} end
local was, own = redis.call('HGET', KEYS[1], 'owner') or '0', ARGV[1]
if #was > #own or (#was == #own and was > own) then return {2, was} end
redis.call('HSET', KEYS[1], 'owner', own)
return {0, redis.call('HGETALL', KEYS[1])}
`

// stateText changes the state. KEYS: header. ARGV: owner, state.
const stateText = `
if redis.call('EXISTS', KEYS[1]) == 0 then return {1} end
local was = redis.call('HGET', KEYS[1], 'owner') or ''
if was ~= ARGV[1] then return {2, was} end
redis.call('HSET', KEYS[1], 'state', ARGV[2])
return 0
`

// refuseText answers an error of a command on a key with an index in KEYS.
const refuseText = `
local sub = string.sub
local function refuse(err, i)
  if sub(err, 1, 9) == 'WRONGTYPE' then return {4, i} end
  return {err = err}
end
`

// liveText makes a partition live. KEYS: header, change log. ARGV: owner, checkpoint, state, the change log's first entry.
const liveText = refuseText + `
if redis.call('EXISTS', KEYS[1]) == 0 then return {1} end
local was = redis.call('HMGET', KEYS[1], 'owner', 'at', 'state')
if was[1] ~= ARGV[1] then return {2, was[1] or ''} end
if was[2] ~= ARGV[2] then return {3, was[2] or ''} end
if was[3] == ARGV[3] then return 0 end
local n = redis.pcall('LLEN', KEYS[2])
if type(n) ~= 'number' then return refuse(n.err, 2) end
redis.call('UNLINK', KEYS[2])
redis.call('RPUSH', KEYS[2], ARGV[4])
redis.call('HSET', KEYS[1], 'state', ARGV[3])
return 0
`

// sweepText removes some keys of a partition that has no header. KEYS: header, list of keys, then others of the partition, at most a thousand. ARGV: the
// keys of the documents among them, or nothing when the list of keys is to go as well; a list of another type lists nothing.
const sweepText = `
if redis.call('EXISTS', KEYS[1]) == 1 then return {2, redis.call('HGET', KEYS[1], 'owner') or ''} end
if #KEYS > 2 then redis.call('UNLINK', unpack(KEYS, 3)) end
if #ARGV > 0 then redis.pcall('ZREM', KEYS[2], unpack(ARGV)) else redis.call('UNLINK', KEYS[2]) end
return 0
`

// maxFields is the largest number of fields that a document can have.
const maxFields = 64

// scripts are the scripts of one Store.
type scripts struct {
	create, claim, state, live, sweep script
	apply                             [maxFields + ownFields + 1]script // by the number of stored fields
}

func newScripts() *scripts {
	s := &scripts{
		create: newScript(strings.NewReplacer("%n", strconv.Itoa(headerFields), "%h", headerText(1)).Replace(createText)),
		claim:  newScript(claimText), state: newScript(stateText), live: newScript(liveText), sweep: newScript(sweepText),
	}
	for n := ownFields + 1; n < len(s.apply); n++ {
		s.apply[n] = newScript(applyText(n))
	}
	return s
}

// applyTo returns the apply script for a definition. One that has too many fields is refused before it is needed.
func (s *scripts) applyTo(def *projections.Definition) script {
	return s.apply[min(len(def.Fields), maxFields)+ownFields]
}
