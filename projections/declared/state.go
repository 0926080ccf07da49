package declared

import (
	"fmt"
	"strconv"

	"tidemark.dev/projections"
)

// field is a field of the document. Its kind is that of its initial value.
type field struct {
	name    string
	initial value
}

// document is the state of one document.
type document struct {
	fields  []field
	values  []value
	scratch []value // the values while a fold is under way: one that fails changes nothing
}

func newDocument(fields []field) *document {
	d := &document{fields: fields, values: make([]value, len(fields)), scratch: make([]value, len(fields))}
	for i, f := range fields {
		d.values[i] = f.initial
	}
	return d
}

// AppendFields appends the field values in the order of the definition.
func (d *document) AppendFields(values []string) []string {
	for _, v := range d.values {
		values = append(values, v.String())
	}
	return values
}

// SetFields reads values in the order of the definition.
func (d *document) SetFields(values []string) error {
	if len(values) != len(d.fields) {
		return fmt.Errorf("the document has %d fields, expected %d", len(values), len(d.fields))
	}
	for i, text := range values {
		v, err := parseValue(d.fields[i].initial.kind, text)
		if err != nil {
			return fmt.Errorf("the field %s: %w", d.fields[i].name, err)
		}
		d.values[i] = v
	}
	return nil
}

func parseValue(kind projections.Kind, text string) (value, error) {
	switch kind {
	case projections.KindInt:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return value{}, fmt.Errorf("not an integer: %w", err)
		}
		return ofInt(n), nil
	case projections.KindBool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return value{}, fmt.Errorf("not a boolean: %w", err)
		}
		return ofBool(b), nil
	default:
		return ofString(text), nil
	}
}
