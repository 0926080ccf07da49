package events

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxJSONDepth bounds how deep arrays and objects of a payload may nest.
const MaxJSONDepth = 64

// CheckJSON returns ErrInvalidData unless data is one JSON value (RFC 8259) that every reader understands alike. Beside
// the grammar it refuses, with the byte where it stands: nesting deeper than MaxJSONDepth, an object that repeats a key
// (compared unescaped), a number beyond the range of a float64, bytes that are not UTF-8, and the escape of half a surrogate pair.
func CheckJSON(data []byte) error {
	at, fault := scanJSON(data)
	if fault == "" {
		return nil
	}
	return Errorf(ErrInvalidData, "the data at byte %d: %s", at, fault)
}

// jsonFault says what is wrong; empty when nothing is. JSON's own grammar allows what the named ones refuse.
type jsonFault string

const (
	faultDepth     = jsonFault("nested deeper than 64 levels")
	faultRepeated  = jsonFault("the object has this key twice")
	faultNumber    = jsonFault("a number beyond the range of a 64-bit float")
	faultUTF8      = jsonFault("not UTF-8")
	faultSurrogate = jsonFault("the escape of half a surrogate pair")
)

// scanJSON checks data in one pass. It allocates only for objects with many keys and for keys with escapes.
func scanJSON(data []byte) (at int, fault jsonFault) {
	c := jsonScan{data: data}
	i := c.value(c.blank(0), 0)
	if i >= 0 {
		if i = c.blank(i); i == len(data) {
			return 0, ""
		}
		c.fail(i, "something follows the value")
	}
	return c.at, c.fault
}

// fewKeys is how many keys of an object are compared one by one; beyond it they are hashed.
const fewKeys = 32

// jsonScan is the state of one scan. Its methods take the index of the next byte and return the index after what they
// read, or a negative number after a fault.
type jsonScan struct {
	data  []byte
	at    int
	fault jsonFault
	open  int // how much of keys is in use
	keys  [fewKeys + 16]span
}

// span is a key of an open object: data[from:to].
type span struct{ from, to int }

func (c *jsonScan) fail(at int, fault jsonFault) int {
	c.at, c.fault = at, fault
	return -1
}

func (c *jsonScan) blank(i int) int {
	for i < len(c.data) {
		switch c.data[i] {
		case ' ', '\n', '\r', '\t':
			i++
		default:
			return i
		}
	}
	return i
}

func (c *jsonScan) value(i, depth int) int {
	if i >= len(c.data) {
		return c.fail(i, "the text ends where a value should begin")
	}
	switch b := c.data[i]; b {
	case '"':
		end, _ := c.text(i + 1)
		return end
	case '{':
		return c.object(i, depth)
	case '[':
		return c.array(i, depth)
	case 't':
		return c.word(i, "true")
	case 'f':
		return c.word(i, "false")
	case 'n':
		return c.word(i, "null")
	default:
		if b == '-' || b >= '0' && b <= '9' {
			return c.number(i)
		}
		return c.fail(i, "no value begins with this character")
	}
}

func (c *jsonScan) word(i int, word string) int {
	if len(c.data)-i < len(word) || string(c.data[i:i+len(word)]) != word {
		return c.fail(i, "not a value; true, false and null are the only words")
	}
	return i + len(word)
}

func (c *jsonScan) array(i, depth int) int {
	if depth == MaxJSONDepth {
		return c.fail(i, faultDepth)
	}
	i = c.blank(i + 1)
	if i < len(c.data) && c.data[i] == ']' {
		return i + 1
	}
	for {
		if i = c.value(i, depth+1); i < 0 {
			return i
		}
		if i = c.blank(i); i >= len(c.data) {
			return c.fail(i, "the text ends inside an array")
		}
		switch c.data[i] {
		case ']':
			return i + 1
		case ',':
			i = c.blank(i + 1)
		default:
			return c.fail(i, "a comma or ] should follow the array's value")
		}
	}
}

func (c *jsonScan) object(i, depth int) int {
	if depth == MaxJSONDepth {
		return c.fail(i, faultDepth)
	}
	i = c.blank(i + 1)
	if i < len(c.data) && c.data[i] == '}' {
		return i + 1
	}
	set := keySet{first: c.open}
	for {
		if i >= len(c.data) || c.data[i] != '"' {
			return c.fail(i, "a key in double quotes should stand here")
		}
		start := i + 1
		end, escaped := c.text(start)
		if end < 0 {
			return end
		}
		if !c.add(&set, span{start, end - 1}, escaped) {
			return c.fail(start-1, faultRepeated)
		}
		if i = c.blank(end); i >= len(c.data) || c.data[i] != ':' {
			return c.fail(i, "a colon should follow the key")
		}
		if i = c.value(c.blank(i+1), depth+1); i < 0 {
			return i
		}
		if i = c.blank(i); i >= len(c.data) {
			return c.fail(i, "the text ends inside an object")
		}
		switch c.data[i] {
		case '}':
			c.open = set.first
			return i + 1
		case ',':
			i = c.blank(i + 1)
		default:
			return c.fail(i, "a comma or } should follow the object's value")
		}
	}
}

// keySet is the keys of one object: in jsonScan.keys from first on while they are few, or all of them in many.
type keySet struct {
	first int
	seen  uint64 // one bit per key: a key whose bit is not set is new
	many  map[string]struct{}
}

// add returns false when the set has the key already. Its cost does not grow with the number of keys.
func (c *jsonScan) add(set *keySet, at span, escaped bool) bool {
	key := c.data[at.from:at.to]
	if set.many == nil && !escaped && c.open < len(c.keys) && c.open-set.first < fewKeys {
		if bit := uint64(1) << keyBit(key); set.seen&bit == 0 {
			set.seen |= bit
		} else if c.has(set, key) {
			return false
		}
		c.keys[c.open] = at
		c.open++
		return true
	}
	if set.many == nil {
		set.many = make(map[string]struct{}, 2*(c.open-set.first)+8)
		for _, k := range c.keys[set.first:c.open] {
			set.many[string(c.data[k.from:k.to])] = struct{}{}
		}
		c.open = set.first
	}
	if escaped {
		key = unescapeJSON(key)
	}
	n := len(set.many)
	set.many[string(key)] = struct{}{}
	return len(set.many) > n
}

func (c *jsonScan) has(set *keySet, key []byte) bool {
	for _, k := range c.keys[set.first:c.open] {
		if bytes.Equal(c.data[k.from:k.to], key) {
			return true
		}
	}
	return false
}

func keyBit(key []byte) uint {
	n := len(key)
	if n == 0 {
		return 0
	}
	return (uint(n)*5 + uint(key[0])*7 + uint(key[n/2])*11 + uint(key[n-1])*13) & 63
}

// text reads a string from behind its opening quote to behind its closing one, and says whether it has an escape.
func (c *jsonScan) text(i int) (end int, escaped bool) {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	data := c.data
	for {
		for i+8 <= len(data) { // eight bytes at once, up to the first that needs a look
			w := binary.LittleEndian.Uint64(data[i:])
			look := ((w - ' '*ones) | ((w ^ '"'*ones) - ones) | ((w ^ '\\'*ones) - ones) | w) & high
			if look != 0 {
				i += bits.TrailingZeros64(look) / 8
				break
			}
			i += 8
		}
		if i >= len(data) {
			return c.fail(i, "the text ends inside a string"), escaped
		}
		switch b := data[i]; {
		case b == '"':
			return i + 1, escaped
		case b == '\\':
			escaped = true
			if i = c.escape(i); i < 0 {
				return i, escaped
			}
		case b < ' ':
			return c.fail(i, "a control character in a string must be escaped"), escaped
		case b < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && n == 1 {
				return c.fail(i, faultUTF8), escaped
			}
			i += n
		}
	}
}

// escape reads one escape, or the two of a surrogate pair.
func (c *jsonScan) escape(i int) int {
	if i+1 >= len(c.data) {
		return c.fail(i, "the text ends inside a string")
	}
	switch c.data[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
	default:
		return c.fail(i, "no such escape in a string")
	}
	r, ok := hex4(c.data, i+2)
	switch {
	case !ok:
		return c.fail(i, "four hexadecimal digits should follow \\u")
	case !utf16.IsSurrogate(r):
		return i + 6
	}
	if i+7 < len(c.data) && c.data[i+6] == '\\' && c.data[i+7] == 'u' {
		low, ok := hex4(c.data, i+8)
		if ok && utf16.DecodeRune(r, low) != utf8.RuneError {
			return i + 12
		}
	}
	return c.fail(i, faultSurrogate)
}

func hex4(data []byte, i int) (r rune, ok bool) {
	if i+4 > len(data) {
		return 0, false
	}
	for _, b := range data[i : i+4] {
		digit, ok := unhexAny(b)
		if !ok {
			return 0, false
		}
		r = r<<4 | rune(digit)
	}
	return r, true
}

// unescapeJSON returns a valid string's content without its escapes.
func unescapeJSON(s []byte) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			out = append(out, s[i])
			i++
			continue
		}
		b := s[i+1]
		i += 2
		switch b {
		case 'b':
			b = '\b'
		case 'f':
			b = '\f'
		case 'n':
			b = '\n'
		case 'r':
			b = '\r'
		case 't':
			b = '\t'
		case 'u':
			r, _ := hex4(s, i)
			i += 4
			if utf16.IsSurrogate(r) {
				low, _ := hex4(s, i+2)
				r = utf16.DecodeRune(r, low)
				i += 6
			}
			out = utf8.AppendRune(out, r)
			continue
		}
		out = append(out, b)
	}
	return out
}

func (c *jsonScan) number(i int) int {
	start := i
	if c.data[i] == '-' {
		i++
	}
	whole := i
	switch {
	case i >= len(c.data) || c.data[i] < '0' || c.data[i] > '9':
		return c.fail(i, "a digit should follow the minus sign")
	case c.data[i] == '0':
		i++
	default:
		i = c.digits(i)
	}
	whole = i - whole
	if i < len(c.data) && c.data[i] == '.' {
		after := c.digits(i + 1)
		if after == i+1 {
			return c.fail(after, "a digit should follow the decimal point")
		}
		i = after
	}
	exponent := 0
	if i < len(c.data) && (c.data[i] == 'e' || c.data[i] == 'E') {
		i++
		if i < len(c.data) && (c.data[i] == '+' || c.data[i] == '-') {
			i++
		}
		after := c.digits(i)
		if after == i {
			return c.fail(after, "a digit should follow the exponent's sign")
		}
		exponent, i = after-i, after
	}
	if whole+99 <= maxFloatDigits && exponent <= 2 || whole <= maxFloatDigits && exponent == 0 {
		return i // it cannot be too large
	}
	if _, err := strconv.ParseFloat(string(c.data[start:i]), 64); err != nil {
		return c.fail(start, faultNumber)
	}
	return i
}

// maxFloatDigits is how many digits a whole number can have and surely be below the largest float64, 1.8e308.
const maxFloatDigits = 308

func (c *jsonScan) digits(i int) int {
	for i < len(c.data) && c.data[i] >= '0' && c.data[i] <= '9' {
		i++
	}
	return i
}
