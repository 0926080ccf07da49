package projections

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
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
		kind := kindOf(f.Type)
		switch {
		case reflect.PointerTo(f.Type).Implements(reflect.TypeFor[setField]()):
			kind = KindSet
		case f.Type.Kind() == reflect.Slice && kindOf(f.Type.Elem()) != "":
			kind = KindList
		case f.Type.Kind() == reflect.Float32 || f.Type.Kind() == reflect.Float64:
			return nil, fmt.Errorf("the field %s of %s is a float: its sums depend on their order; count in a smaller unit", f.Name, t)
		case kind == "":
			return nil, fmt.Errorf("the field %s of %s is a %s; a field is an integer, a string, a boolean, a slice of these, or a projections.Set", f.Name, t, f.Type)
		}
		l = append(l, layoutField{index: i, name: name, kind: kind})
	}
	return l, nil
}

// kindOf returns the kind of a single value; empty when it is none.
func kindOf(t reflect.Type) Kind {
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return KindInt
	case reflect.String:
		return KindString
	case reflect.Bool:
		return KindBool
	default:
		return ""
	}
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
		case KindList, KindSet:
			values = append(values, FormatElements(elementsOf(f.kind, v)))
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
		case KindList, KindSet:
			list, err := ParseElements(f.kind, values[i])
			if err == nil {
				err = setElements(f.kind, v, list)
			}
			if err != nil {
				return fmt.Errorf("the field %s: %w", f.name, err)
			}
		}
	}
	return nil
}

// hasElements reports whether a field is a list or a set.
func (l layout) hasElements() bool {
	for _, f := range l {
		if f.kind == KindList || f.kind == KindSet {
			return true
		}
	}
	return false
}

// apart gives a document lists of its own. Sets need none: they never change.
func (l layout) apart(doc reflect.Value) {
	for _, f := range l {
		if v := doc.Field(f.index); f.kind == KindList && !v.IsNil() {
			v.Set(reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v))
		}
	}
}

// check returns an error when a list or a set cannot be stored, or the field that expires names, if any, holds no time.
func (l layout) check(doc reflect.Value, expires string) error {
	for _, f := range l {
		if f.name == expires {
			if _, ok := ParseExpiry(doc.Field(f.index).String()); !ok {
				return Because("the field %s is neither empty nor a time as FormatExpiry writes it", f.name)
			}
		}
		if f.kind != KindList && f.kind != KindSet {
			continue
		}
		list := elementsOf(f.kind, doc.Field(f.index))
		for _, e := range list {
			if !utf8.ValidString(e.s) {
				return Because("the field %s: an element is not valid UTF-8", f.name)
			}
		}
		if err := CheckElements(len(list), SizeOfElements(list)); err != nil {
			return Because("the field %s: %s", f.name, err)
		}
	}
	return nil
}

// elementsOf returns the elements of a list or a set.
func elementsOf(kind Kind, v reflect.Value) []Element {
	if kind == KindSet {
		return v.Addr().Interface().(setField).elements()
	}
	list := make([]Element, v.Len())
	for i := range list {
		switch e := v.Index(i); kindOf(e.Type()) {
		case KindInt:
			list[i] = IntElement(e.Int())
		case KindString:
			list[i] = StringElement(e.String())
		case KindBool:
			list[i] = BoolElement(e.Bool())
		}
	}
	return list
}

// setElements makes a list or a set of elements.
func setElements(kind Kind, v reflect.Value, list []Element) error {
	if kind == KindSet {
		return v.Addr().Interface().(setField).setElements(list)
	}
	if len(list) == 0 {
		v.SetZero()
		return nil
	}
	s := reflect.MakeSlice(v.Type(), len(list), len(list))
	for i, e := range list {
		item := s.Index(i)
		kind := kindOf(item.Type())
		if kind != e.Kind() || kind == KindInt && item.OverflowInt(e.Int()) {
			return Because("it holds an element that a %s cannot", item.Type())
		}
		switch kind {
		case KindInt:
			item.SetInt(e.Int())
		case KindString:
			item.SetString(e.Text())
		case KindBool:
			item.SetBool(e.Bool())
		}
	}
	v.Set(s)
	return nil
}
