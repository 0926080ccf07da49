package projections

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
)

// Set is a field of KindSet of a document in Go: each element is there once. The zero Set is empty. A Set never changes: With and Without
// return another.
type Set[T int64 | string | bool] struct {
	sorted []T
}

// SetOf returns the set of these elements.
func SetOf[T int64 | string | bool](elements ...T) Set[T] { return Set[T]{}.With(elements...) }

// With returns the set and these elements.
func (s Set[T]) With(elements ...T) Set[T] {
	sorted := slices.Concat(s.sorted, elements)
	slices.SortFunc(sorted, compareIn[T])
	return Set[T]{slices.Compact(sorted)}
}

// Without returns the set without these elements.
func (s Set[T]) Without(elements ...T) Set[T] {
	left := slices.DeleteFunc(slices.Clone(s.sorted), func(e T) bool { return slices.Contains(elements, e) })
	if len(left) == 0 {
		left = nil // every empty set is the same
	}
	return Set[T]{left}
}

// Has reports whether an element is in the set.
func (s Set[T]) Has(element T) bool {
	_, ok := slices.BinarySearchFunc(s.sorted, element, compareIn[T])
	return ok
}

// Len returns the number of elements.
func (s Set[T]) Len() int { return len(s.sorted) }

// All returns the elements in order: integers by number, strings by their bytes, false before true.
func (s Set[T]) All() iter.Seq[T] { return slices.Values(s.sorted) }

// String returns the elements in order.
func (s Set[T]) String() string { return fmt.Sprint(s.sorted) }

// MarshalJSON writes an array.
func (s Set[T]) MarshalJSON() ([]byte, error) { return AppendElements(nil, s.elements()), nil }

// UnmarshalJSON reads an array, in any order.
func (s *Set[T]) UnmarshalJSON(text []byte) error {
	var list []T
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	*s = SetOf(list...)
	return nil
}

// setField is how a document's layout finds and handles sets.
type setField interface {
	elements() []Element
	setElements(list []Element) error
}

func (s *Set[T]) elements() []Element {
	list := make([]Element, len(s.sorted))
	for i, e := range s.sorted {
		list[i] = elementOf(e)
	}
	return list
}

func (s *Set[T]) setElements(list []Element) error {
	var sorted []T
	for _, e := range list {
		var v T
		switch p := any(&v).(type) {
		case *int64:
			*p = e.Int()
		case *string:
			*p = e.Text()
		case *bool:
			*p = e.Bool()
		}
		if elementOf(v) != e {
			return Because("it holds an element of kind %s, and the document's type does not", e.Kind())
		}
		sorted = append(sorted, v)
	}
	s.sorted = sorted
	return nil
}

func elementOf[T int64 | string | bool](v T) Element {
	switch v := any(v).(type) {
	case int64:
		return IntElement(v)
	case string:
		return StringElement(v)
	case bool:
		return BoolElement(v)
	}
	panic("no element") // T is one of the three
}

func compareIn[T int64 | string | bool](a, b T) int {
	return CompareElements(elementOf(a), elementOf(b))
}
