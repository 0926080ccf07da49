package projections

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// layout is how a Go struct becomes the fields of a document. It is computed once for a projection.
type layout []layoutField

type layoutField struct {
	index int
	name  string
	kind  Kind
}

func layoutOf(t reflect.Type) (layout, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("a document must be a struct, and %s is none", t)
	}
	var l layout
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			return nil, fmt.Errorf("the field %s of %s is not exported and would be lost", f.Name, t)
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		var kind Kind
		switch f.Type.Kind() {
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			kind = KindInt
		case reflect.String:
			kind = KindString
		case reflect.Bool:
			kind = KindBool
		case reflect.Float32, reflect.Float64:
			return nil, fmt.Errorf("the field %s of %s is a float: its sums depend on their order; count in a smaller unit", f.Name, t)
		default:
			return nil, fmt.Errorf("the field %s of %s is a %s; a field is an integer, a string or a boolean", f.Name, t, f.Type)
		}
		l = append(l, layoutField{index: i, name: name, kind: kind})
	}
	return l, nil
}

func (l layout) fields() []Field {
	out := make([]Field, len(l))
	for i, f := range l {
		out[i] = Field{Name: f.name, Kind: f.kind}
	}
	return out
}

func (l layout) append(values []string, doc reflect.Value) []string {
	for _, f := range l {
		v := doc.Field(f.index)
		switch f.kind {
		case KindInt:
			values = append(values, strconv.FormatInt(v.Int(), 10))
		case KindString:
			values = append(values, v.String())
		case KindBool:
			values = append(values, strconv.FormatBool(v.Bool()))
		}
	}
	return values
}

func (l layout) set(doc reflect.Value, values []string) error {
	if len(values) != len(l) {
		return fmt.Errorf("the document has %d fields, expected %d", len(values), len(l))
	}
	for i, f := range l {
		v := doc.Field(f.index)
		switch f.kind {
		case KindInt:
			n, err := strconv.ParseInt(values[i], 10, v.Type().Bits())
			if err != nil {
				return fmt.Errorf("the field %s is not an integer: %w", f.name, err)
			}
			v.SetInt(n)
		case KindString:
			v.SetString(values[i])
		case KindBool:
			b, err := strconv.ParseBool(values[i])
			if err != nil {
				return fmt.Errorf("the field %s is not a boolean: %w", f.name, err)
			}
			v.SetBool(b)
		}
	}
	return nil
}
