package projections

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a list and of a set. The whole field is hashed and written at each change, and it is one value in Redis: what grows with every
// event would sooner or later stop its partition. What wants more elements wants a document for each.
const (
	// MaxElements bounds the elements.
	MaxElements = 1_000
	// MaxElementsBytes bounds the text in which they are stored.
	MaxElementsBytes = 64 << 10
)

// FormatElements returns the text in which a list or a set is stored: a JSON array without blanks. There is one text for a list; that of
// a set has each element once, in the order of CompareElements.
func FormatElements(list []Element) string { return string(AppendElements(nil, list)) }

// AppendElements is FormatElements for those who bring the memory.
func AppendElements(b []byte, list []Element) []byte {
	b = append(b, '[')
	for i, e := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = e.append(b)
	}
	return append(b, ']')
}

// SizeOfElements returns the bytes of the text of a list.
func SizeOfElements(list []Element) int {
	n := len("[]") + max(len(list)-1, 0)
	for _, e := range list {
		n += e.Size()
	}
	return n
}

// CheckElements returns an error when a list or a set of so many elements, and so many bytes as it is stored, is over its bounds.
func CheckElements(elements, bytes int) error {
	switch {
	case elements > MaxElements:
		return Because("it has %d elements, over the bound of %d", elements, MaxElements)
	case bytes > MaxElementsBytes:
		return Because("it has %d bytes, over the bound of %d", bytes, MaxElementsBytes)
	}
	return nil
}

// SortElements sorts the elements of a set in place and takes repeated ones out.
func SortElements(list []Element) []Element {
	slices.SortFunc(list, CompareElements)
	return slices.Compact(list)
}

// ParseElements reads the text of a field of KindList or KindSet. It fails unless the text is, byte for byte, what would be written.
func ParseElements(kind Kind, text string) ([]Element, error) {
	if len(text) > MaxElementsBytes {
		return nil, CheckElements(0, len(text))
	}
	list, ok := scanElements(text)
	if !ok || FormatElements(list) != text {
		return nil, fmt.Errorf("it is not a JSON array of integers, strings and booleans as it would be written")
	}
	if kind == KindSet {
		for i := 1; i < len(list); i++ {
			if CompareElements(list[i-1], list[i]) >= 0 {
				return nil, fmt.Errorf("the elements of a set are not in their order, or not each there once")
			}
		}
	}
	return list, CheckElements(len(list), len(text))
}

// scanElements reads elements. It may take what would be written otherwise, and never what is none.
func scanElements(text string) (list []Element, ok bool) {
	rest, ok := strings.CutPrefix(text, "[")
	for ok && rest != "]" {
		if len(list) > 0 {
			if rest, ok = strings.CutPrefix(rest, ","); !ok {
				break
			}
		}
		var e Element
		if e, rest, ok = scanElement(rest); ok {
			list = append(list, e)
		}
	}
	return list, ok
}

func scanElement(text string) (e Element, rest string, ok bool) {
	end := strings.IndexAny(text, ",]")
	if strings.HasPrefix(text, `"`) {
		if end = endOfString(text); end > 0 {
			var s string
			ok = json.Unmarshal([]byte(text[:end]), &s) == nil
			return StringElement(s), text[end:], ok
		}
	}
	if end < 0 {
		return e, "", false
	}
	switch word := text[:end]; word {
	case "true", "false":
		return BoolElement(word == "true"), text[end:], true
	default:
		n, err := strconv.ParseInt(word, 10, 64)
		return IntElement(n), text[end:], err == nil
	}
}

// endOfString returns the index after the closing quote, -1 when there is none.
func endOfString(text string) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}
