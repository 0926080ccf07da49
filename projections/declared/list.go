package declared

import (
	"slices"
	"strings"

	"tidemark.dev/projections"
)

// list is the elements of a list or a set. It never changes: a fold that fails leaves the document as it was. A longer one may share its memory, behind
// its end, where nobody looks.
type list struct {
	elements []projections.Element
	bytes    int // of the elements, as they are stored; of a document's list only
}

// newList returns a list of elements that are nobody else's.
func newList(elements []projections.Element) *list {
	l := &list{elements: slices.Clip(elements)}
	for _, e := range elements {
		l.bytes += e.Size()
	}
	return l
}

// owned returns elements with memory and texts of their own.
func owned(elements []projections.Element) []projections.Element {
	all := make([]projections.Element, len(elements))
	for i, e := range elements {
		all[i] = own(e)
	}
	return all
}

// own returns an element that does not keep the payload in memory which it comes from.
func own(e projections.Element) projections.Element {
	if e.Kind() == projections.KindString {
		return projections.StringElement(strings.Clone(e.Text()))
	}
	return e
}

// checked returns the list, or an error when it is over a bound.
func (l *list) checked() (*list, error) {
	if err := projections.CheckElements(len(l.elements), len("[]")+l.bytes+max(len(l.elements)-1, 0)); err != nil {
		return nil, because("%s", err)
	}
	return l, nil
}

// stored returns elements as a field holds them: a set sorted and each once, of a list the last ones.
func stored(f *field, elements []projections.Element) (*list, error) {
	if f.kind == projections.KindSet {
		elements = projections.SortElements(slices.Clone(elements))
	}
	return newList(owned(f.last(elements))).checked()
}

// last returns as many elements as the field keeps, of the end.
func (f *field) last(elements []projections.Element) []projections.Element {
	if f.keep > 0 && len(elements) > f.keep {
		return elements[len(elements)-f.keep:]
	}
	return elements
}

// appended returns the list with more at its end. What is more than the field keeps leaves it at its beginning.
func (l *list) appended(f *field, more []projections.Element) (*list, error) {
	more = f.last(more)
	next := &list{elements: l.elements, bytes: l.bytes}
	for _, e := range more {
		next.elements = append(next.elements, own(e))
		next.bytes += e.Size()
	}
	kept := f.last(next.elements)
	for _, e := range next.elements[:len(next.elements)-len(kept)] {
		next.bytes -= e.Size()
	}
	next.elements = kept
	return next.checked()
}

// collected returns the set with more in it.
func (l *list) collected(more []projections.Element) (*list, error) {
	next := l
	for _, e := range more {
		i, there := slices.BinarySearchFunc(next.elements, e, projections.CompareElements)
		if there {
			continue
		}
		if next == l {
			next = &list{elements: slices.Clone(l.elements), bytes: l.bytes}
		}
		next.elements = slices.Insert(next.elements, i, own(e))
		next.bytes += e.Size()
		if _, err := next.checked(); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// without returns the list without every element that is one of these.
func (l *list) without(these []projections.Element) *list {
	these = projections.SortElements(slices.Clone(these))
	next := &list{}
	for _, e := range l.elements {
		if _, gone := slices.BinarySearchFunc(these, e, projections.CompareElements); !gone {
			next.elements = append(next.elements, e)
			next.bytes += e.Size()
		}
	}
	return next
}
