package projections

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"tidemark.dev/events"
)

// Projection is what the engine needs of a projection. New makes one from typed Go functions.
//
// Everything it does must be a function of the events alone: no clock, no I/O, no randomness, no order of a map. Two
// regions that fold the same events must get the same bytes. Several goroutines may call it at once, each with its own Ops and states: while one folds, another one replays or examines.
type Projection interface {
	// Definition describes it. It never changes.
	Definition() *Definition

	// Route appends to ops what the event does: one operation for each document it changes, or one with an error when
	// that cannot be told. at is stored with the operations. A fold calls it once for each event, in order.
	Route(r *events.Record, at int, ops *Ops)

	// NewState returns the state of a document that does not exist yet.
	NewState() State

	// Fold applies an operation that Route made from the same event to a state. It returns Delete when the document is
	// to be removed. On any other error the state is unchanged and the document is parked; when several operations of an event change one
	// document, none of them counts then. See Reason for what an error says.
	Fold(s State, r *events.Record, op *Op) error
}

// Keyed may be implemented by a projection that can tell which document an event is about without reading the event's data, which costs more than anything else of Route.
type Keyed interface {
	// KeyOf returns the key that every operation has which Route would append for an event, and none when there would be no operation. It returns false when only Route can tell.
	KeyOf(r *events.Record) (key string, ok bool)
}

// State is the typed content of one document, in memory.
type State interface {
	// AppendFields appends the field values in the order of the schema, as they are stored.
	AppendFields(values []string) []string
	// SetFields reads values in the order of the schema. It fails when a value is not of its field's kind, or a list or a set is not as it would be written.
	SetFields(values []string) error
}

// Delete is what a fold returns to remove its document.
const Delete = events.Code("delete-document")

// Op is what one event does to one document.
type Op struct {
	// At is the event's index in the batch it came with.
	At int
	// Key of the document. Empty when Err says why it could not be computed.
	Key string
	// Err says that the event cannot be applied: the document is parked, or counted as unrouted when Key is empty.
	Err error

	// Payload is what Fold needs of Route: a pointer, or nil. An operation keeps that of the one before it in its place, to be used again.
	Payload any

	handler int
}

// Ops collects the operations of a batch. It is used again for the next one, payloads included.
type Ops struct {
	list []Op
}

// Reset forgets the operations and keeps their memory.
func (o *Ops) Reset() { o.list = o.list[:0] }

// List returns the operations.
func (o *Ops) List() []Op { return o.list }

// Spare returns the payload that the next operation will carry: memory to work with while it is not known yet whether there will be one.
func (o *Ops) Spare() any {
	if len(o.list) < cap(o.list) {
		return o.list[:len(o.list)+1][len(o.list)].Payload
	}
	return nil
}

// Next appends an operation and returns it, to be filled in by Route. It carries whatever payload the one before in its place had.
func (o *Ops) Next() *Op {
	if len(o.list) < cap(o.list) {
		o.list = o.list[:len(o.list)+1]
	} else {
		o.list = append(o.list, Op{})
	}
	op := &o.list[len(o.list)-1]
	op.At, op.Key, op.Err, op.handler = 0, "", nil, 0
	return op
}

// Kind is the type of a document's field.
type Kind string

// The kinds. There is no floating-point kind: sums of floats depend on their order.
const (
	KindInt    Kind = "int"    // 64 bits, decimal digits
	KindString Kind = "string" // UTF-8
	KindBool   Kind = "bool"   // true or false
	KindList   Kind = "list"   // elements of these kinds, in the order in which they came: a JSON array, see FormatElements
	KindSet    Kind = "set"    // the same, each element once, sorted
)

// Field is one field of a document.
type Field struct {
	Name string `json:"name"` // [a-z][a-z0-9_]{0,63}
	Kind Kind   `json:"kind"`
}

// Handles says which events a projection uses. An empty EntityType stands for every type.
type Handles struct {
	EntityType string `json:"entity_type,omitempty"`
	EventType  string `json:"event_type"`
	// ByEntity says that the document key is the entity's id, so that an entity's own history is enough to fold its document again.
	ByEntity bool `json:"by_entity"`
}

// Definition describes a projection.
type Definition struct {
	Name    string    `json:"name"`    // [a-z][a-z0-9-]{0,47}
	Version int       `json:"version"` // from 1; raised at every change of meaning
	Fields  []Field   `json:"fields"`  // in the order in which documents show them
	Handles []Handles `json:"handles"`
	Indexes []Index   `json:"indexes,omitempty"`
	// Expires names the field of kind string that says when a document expires: see FormatExpiry. Empty: documents do not.
	Expires string `json:"expires,omitempty"`
	// Meaning is a fingerprint of what the projection does, where that can be told: of a file, not of Go.
	Meaning string `json:"meaning,omitempty"`
	// Source is the stream that is read; nil: the installation's own log.
	Source *Source `json:"source,omitempty"`
}

const (
	maxName   = 48
	maxFields = 64
)

// Validate returns ErrInvalidProjection when the definition breaks a rule.
func (d *Definition) Validate() error {
	bad := func(format string, args ...any) error {
		return events.Errorf(ErrInvalidProjection, "projection %q: "+format, append([]any{d.Name}, args...)...)
	}
	switch {
	case !ValidName(d.Name):
		return bad("the name must be 1 to %d characters of a-z 0-9 - and begin with a letter", maxName)
	case d.Version < 1:
		return bad("the version must be 1 or more, and is %d", d.Version)
	case len(d.Fields) == 0 || len(d.Fields) > maxFields:
		return bad("a document has 1 to %d fields, and this one %d", maxFields, len(d.Fields))
	case len(d.Handles) == 0:
		return bad("it handles no event")
	}
	seen := make(map[string]bool, len(d.Fields))
	for _, f := range d.Fields {
		if !validFieldName(f.Name) || seen[f.Name] {
			return bad("the field name %q is not [a-z][a-z0-9_]{0,63}, or appears twice", f.Name)
		}
		seen[f.Name] = true
	}
	if at := d.field(d.Expires); d.Expires != "" && (at < 0 || d.Fields[at].Kind != KindString) {
		return bad("documents expire by %q, which is no field of kind string", d.Expires)
	}
	if d.Source != nil {
		if err := d.Source.Validate(); err != nil {
			return err
		}
	}
	return d.validateIndexes(bad)
}

// Fingerprint identifies the definition: 16 hexadecimal digits of the SHA-256 of its JSON. What a Go function does cannot be seen
// from outside, so a change of code must raise the version.
func (d *Definition) Fingerprint() string {
	text, err := json.Marshal(d)
	if err != nil {
		panic(err) // strings, numbers and booleans always marshal
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// ValidName reports whether name may name a projection.
func ValidName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || i > 0 && (c >= '0' && c <= '9' || c == '-')) {
			return false
		}
	}
	return name != "" && len(name) <= maxName
}

func validFieldName(name string) bool {
	ok := name != "" && len(name) <= 64 && name[0] >= 'a' && name[0] <= 'z'
	return ok && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
