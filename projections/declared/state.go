package declared

import (
	"fmt"
	"strconv"

	"tidemark.dev/projections"
)

// field is a field of the document.
type field struct {
	name    string
	kind    projections.Kind
	initial value
	keep    int  // of a list: how many elements it keeps; 0: it cannot be appended to
	expires bool // the field that expire sets
}

// article names what the field holds, in a sentence.
func (f *field) article() string {
	if f.kind == projections.KindSet {
		return "a set"
	}
	return f.initial.kind.String()
}

// document is the state of one document.
type document struct {
	fields  []field
	values  []value
	scratch []value // the values while a fold is under way: one that fails changes nothing
}

func newDocument(fields []field) *document {
	both := make([]value, 2*len(fields))
	d := &document{fields: fields, values: both[:len(fields):len(fields)], scratch: both[len(fields):]}
	for i := range fields {
		d.values[i] = fields[i].initial
	}
	return d
}

// AppendFields appends the field values in the order of the definition.
func (d *document) AppendFields(values []string) []string {
	for i := range d.values {
		values = append(values, d.values[i].String())
	}
	return values
}

// SetFields reads values in the order of the definition.
func (d *document) SetFields(values []string) error {
	if len(values) != len(d.fields) {
		return fmt.Errorf("the document has %d fields, expected %d", len(values), len(d.fields))
	}
	for i, text := range values {
		v, err := d.fields[i].parse(text)
		if err != nil {
			return fmt.Errorf("the field %s: %w", d.fields[i].name, err)
		}
		d.values[i] = v
	}
	return nil
}

// parse reads a value as it is stored.
func (f *field) parse(text string) (value, error) {
	switch f.kind {
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
	case projections.KindList, projections.KindSet:
		elements, err := projections.ParseElements(f.kind, text)
		if err != nil {
			return value{}, err
		}
		if f.keep > 0 && len(elements) > f.keep {
			return value{}, fmt.Errorf("it has %d elements, and keeps %d", len(elements), f.keep)
		}
		return ofList(newList(elements)), nil
	}
	if _, ok := projections.ParseExpiry(text); f.expires && !ok {
		return value{}, fmt.Errorf("not a time as it would be written")
	}
	return ofString(text), nil
}
