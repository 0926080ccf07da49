package projections

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"tidemark.dev/events"
)

// Event is an event together with its decoded payload.
type Event[P any] struct {
	*events.Record
	Data *P
}

// DataDecoder may be implemented by a pointer to a payload type that decodes itself faster than encoding/json does. It is given a zero value.
type DataDecoder interface {
	DecodeData(data []byte) error
}

// Handler says what a projection over documents of type D does with one type of event. On and OnKey make them.
type Handler[D any] struct {
	handles Handles
	route   func(r *events.Record, op *Op)
	fold    func(d D, r *events.Record, op *Op) (D, error)
}

// On folds events of a type about entities of a type into the document whose key is the entity's id.
//
// The fold gets the document as it was (the zero D when there is none) and returns it as it is now. It must be pure. It returns
// Delete to remove the document; any other error parks the document at this event, and so does a panic: see Panic. When several handlers
// fold an event into one document, all of them count or none. What an error says is kept with the document, see Reason.
// The payload is JSON, decoded into P; one that cannot be decoded parks the document too.
func On[D, P any](entityType, eventType string, fold func(D, Event[P]) (D, error)) Handler[D] {
	return handler(entityType, eventType, nil, fold)
}

// OnKey is On for a document whose key is computed from the event.
func OnKey[D, P any](entityType, eventType string, key func(Event[P]) string, fold func(D, Event[P]) (D, error)) Handler[D] {
	return handler(entityType, eventType, key, fold)
}

func handler[D, P any](entityType, eventType string, key func(Event[P]) string, fold func(D, Event[P]) (D, error)) Handler[D] {
	return Handler[D]{
		handles: Handles{EntityType: entityType, EventType: eventType, ByEntity: key == nil},
		route: func(r *events.Record, op *Op) {
			p, ok := op.Payload.(*P)
			if !ok {
				p = new(P)
				op.Payload = p
			}
			op.Key, op.Err = "", decode(r, p)
			switch {
			case key == nil:
				op.Key = r.Event.Entity.ID
			case op.Err == nil:
				op.Key, op.Err = keyOf(key, Event[P]{Record: r, Data: p})
			}
		},
		fold: func(d D, r *events.Record, op *Op) (next D, err error) {
			defer recovered(&err)
			return fold(d, Event[P]{Record: r, Data: op.Payload.(*P)})
		},
	}
}

// keyOf returns the key of an event's document; none when it cannot be told.
func keyOf[P any](key func(Event[P]) string, e Event[P]) (k string, err error) {
	defer recovered(&err)
	k = key(e)
	if err := ValidateKey(k); err != nil {
		told, _ := errors.AsType[*events.Error](err)
		return "", &Reason{text: told.What, cause: err} // it says nothing of the key
	}
	return k, nil
}

func decode[P any](r *events.Record, p *P) (err error) {
	defer recovered(&err) // DecodeData and UnmarshalJSON are not ours
	var zero P
	*p = zero
	if fast, ok := any(p).(DataDecoder); ok {
		err = fast.DecodeData(r.Event.Data)
	} else {
		err = json.Unmarshal(r.Event.Data, p)
	}
	if err != nil {
		return Because("the data of %s cannot be read: %s", r.Event.Type, unreadable(err))
	}
	return nil
}

// unreadable says why data cannot be decoded, without the data.
func unreadable(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, _, _ := strings.Cut(wrong.Value, " ") // a number's own digits follow
		return Because("%s is a JSON %s, and %s is wanted", cmp.Or(wrong.Field, "it"), kind, wrong.Type.String())
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return Because("it is not JSON at byte %d", syntax.Offset)
	}
	return err
}

// Typed is a projection over documents of type D: a struct whose exported fields are integers, strings, booleans, slices of these (lists), or
// Sets. A field is stored under the name of its json tag. Floats, maps and pointers are refused. A list and a set have bounds: an event that
// would make one larger parks the document.
type Typed[D any] struct {
	definition Definition
	layout     layout
	careful    bool // some field is a list or a set, or says when the document expires
	handlers   []Handler[D]
	byType     map[string][]int // event type -> handlers
}

// New makes a projection from handlers. It returns ErrInvalidProjection.
func New[D any](name string, version int, handlers ...Handler[D]) (*Typed[D], error) {
	l, err := layoutOf(reflect.TypeFor[D]())
	if err != nil {
		return nil, events.Errorf(ErrInvalidProjection, "projection %q: %w", name, err)
	}
	t := &Typed[D]{
		definition: Definition{Name: name, Version: version, Fields: l.fields()},
		layout:     l, careful: l.hasElements(), handlers: handlers, byType: make(map[string][]int),
	}
	for i, h := range handlers {
		t.definition.Handles = append(t.definition.Handles, h.handles)
		t.byType[h.handles.EventType] = append(t.byType[h.handles.EventType], i)
	}
	return t, t.definition.Validate()
}

// ExpiresBy returns the projection with documents that expire: the field, of kind string, holds FormatExpiry of the time, or nothing. The first mark
// at or after that time removes the document. An event that would put anything else there parks the document. It returns ErrInvalidProjection.
func (t *Typed[D]) ExpiresBy(field string) (*Typed[D], error) {
	with := *t
	with.definition.Expires, with.careful = field, true
	return &with, with.definition.Validate()
}

// Indexed returns the projection with these indexes in addition. It returns ErrInvalidProjection.
func (t *Typed[D]) Indexed(indexes ...Index) (*Typed[D], error) {
	more := *t
	more.definition.Indexes = slices.Concat(t.definition.Indexes, indexes)
	return &more, more.definition.Validate()
}

// Definition describes the projection.
func (t *Typed[D]) Definition() *Definition { return &t.definition }

// Route appends an operation for each handler of the event.
func (t *Typed[D]) Route(r *events.Record, at int, ops *Ops) {
	for _, i := range t.byType[r.Event.Type] {
		h := &t.handlers[i]
		if h.handles.EntityType != "" && h.handles.EntityType != r.Event.Entity.Type {
			continue
		}
		op := ops.Next()
		op.At, op.handler = at, i
		h.route(r, op)
	}
}

// KeyOf returns the entity's id, unless a handler of the event computes its key.
func (t *Typed[D]) KeyOf(r *events.Record) (key string, ok bool) {
	for _, i := range t.byType[r.Event.Type] {
		h := &t.handlers[i].handles
		switch {
		case h.EntityType != "" && h.EntityType != r.Event.Entity.Type:
		case !h.ByEntity:
			return "", false
		default:
			key = r.Event.Entity.ID
		}
	}
	return key, true
}

// NewState returns the zero document.
func (t *Typed[D]) NewState() State { return &typedState[D]{layout: &t.layout} }

// Fold applies an operation.
func (t *Typed[D]) Fold(s State, r *events.Record, op *Op) error {
	st := s.(*typedState[D])
	if t.careful {
		return t.foldCarefully(st, r, op)
	}
	next, err := t.handlers[op.handler].fold(st.doc, r, op)
	if err != nil {
		return err
	}
	st.doc = next
	return nil
}

// foldCarefully is Fold for documents with fields of which not everything can be stored.
func (t *Typed[D]) foldCarefully(st *typedState[D], r *events.Record, op *Op) error {
	doc := st.doc
	t.layout.apart(reflect.ValueOf(&doc).Elem()) // a fold that fails may have written into a list
	next, err := t.handlers[op.handler].fold(doc, r, op)
	if err != nil {
		return err
	}
	if err := t.layout.check(reflect.ValueOf(&next).Elem(), t.definition.Expires); err != nil {
		return err
	}
	st.doc = next
	return nil
}

type typedState[D any] struct {
	layout *layout
	doc    D
}

func (s *typedState[D]) AppendFields(values []string) []string {
	return s.layout.append(values, reflect.ValueOf(&s.doc).Elem())
}

func (s *typedState[D]) SetFields(values []string) error {
	return s.layout.set(reflect.ValueOf(&s.doc).Elem(), values)
}

// Decode reads a document as it is stored or answered into a D. It fails when fields and D do not have the same names and kinds in the same order.
func Decode[D any](fields []Field, values []string) (D, error) {
	var d D
	l, err := layoutOf(reflect.TypeFor[D]())
	if err != nil {
		return d, err
	}
	if !slices.Equal(l.fields(), fields) {
		return d, fmt.Errorf("the fields are %v, expected %v", fields, l.fields())
	}
	return d, l.set(reflect.ValueOf(&d).Elem(), values)
}
