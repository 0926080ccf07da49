package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"tidemark.dev/projections"
)

// Document is a document's fields in the order of the definition. As JSON it is an object in that order: integers are numbers,
// booleans are booleans, lists and sets are arrays.
type Document struct {
	Fields []projections.Field
	Values []string
}

// Field returns the stored value of a field.
func (d Document) Field(name string) (string, bool) {
	for i := range d.Fields {
		if d.Fields[i].Name == name && i < len(d.Values) {
			return d.Values[i], true
		}
	}
	return "", false
}

// MarshalJSON writes the object.
func (d Document) MarshalJSON() ([]byte, error) {
	return d.appendJSON(make([]byte, 0, 32*len(d.Fields)))
}

func (d Document) appendJSON(b []byte) ([]byte, error) {
	if d.Values == nil {
		return append(b, "null"...), nil
	}
	b = append(b, '{')
	for i, f := range d.Fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, f.Name...) // [a-z0-9_]
		b = append(b, '"', ':')
		var err error
		switch f.Kind {
		case projections.KindString:
			if b, err = appendText(b, d.Values[i]); err != nil {
				return nil, err
			}
		case projections.KindList, projections.KindSet:
			if _, err := projections.ParseElements(f.Kind, d.Values[i]); err != nil {
				return nil, fmt.Errorf("the field %s: %w", f.Name, err)
			}
			b = append(b, d.Values[i]...)
		default:
			b = append(b, d.Values[i]...)
		}
	}
	return append(b, '}'), nil
}

// appendText appends a text as JSON. Nearly all are plain.
func appendText(b []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			text, err := quote(s)
			return append(b, text...), err
		}
	}
	return append(append(append(b, '"'), s...), '"'), nil
}

func quote(s string) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(s)
	return bytes.TrimRight(buf.Bytes(), "\n"), err
}
