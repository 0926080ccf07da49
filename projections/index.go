package projections

import (
	"math"
	"slices"
	"strings"

	"tidemark.dev/events"
)

const (
	// MaxIndexes bounds the indexes of a projection.
	MaxIndexes = 16
	// MaxIndexFields bounds the fields of one index.
	MaxIndexFields = 4
	// maxIndexName bounds the name of an index.
	maxIndexName = 48
)

// Index is an ordered index of a read model: its entries are sorted by the values of its fields, the first one first, and then by document key.
// It serves equality and ranges, on all of its fields or on the first few of them. Every document has one entry in every index.
type Index struct {
	Name   string   `json:"name"`   // [a-z][a-z0-9_]{0,47}
	Fields []string `json:"fields"` // 1 to 4
}

// Every read model has two more indexes, which its definition does not name: of its parked documents, by the sequence at which their fold
// stopped, and of those that expire, by when. A document has an entry there only while it is parked, or while a mark can remove it. No index of a definition can have
// their names.
const (
	// ParkedIndexName is what Find and Count call the index of the parked.
	ParkedIndexName = "_parked"
	// ParkedIndex is its place in an IndexEntry.
	ParkedIndex = -1
	// ExpiryIndexName is what Find and Count call the index of those that expire.
	ExpiryIndexName = "_expires"
	// ExpiryIndex is its place in an IndexEntry.
	ExpiryIndex = -2
	// FirstIndex is the smallest place of an index.
	FirstIndex = ExpiryIndex
)

// IndexEntry is one entry of an index, without the key of its document.
type IndexEntry struct {
	Index int    // the place in the definition's Indexes, ParkedIndex or ExpiryIndex
	Value string // see EncodeIndex
}

// IndexQuery asks for entries of an index. From, To and After are encoded values, see EncodeIndex: of all fields of the index or of the first
// few of them, or what IndexAfter makes of these.
type IndexQuery struct {
	Index string // a name of the definition, ParkedIndexName or ExpiryIndexName
	// From is the first value that is wanted; empty: from the beginning. To is the first one that is not wanted any more; empty: to the end.
	From, To string
	// After and AfterKey are value and key of the entry where the page before ended, in whichever direction; an empty AfterKey: there is none. The entry
	// need not exist any more.
	After, AfterKey string
	// Limit is the largest number of entries to return.
	Limit int
	// Reverse begins with the last entry.
	Reverse bool
	// Bare asks for the entries alone: of each document there is the key, and nothing is read.
	Bare bool
}

// Found is an entry of an index together with its document.
type Found struct {
	Value string
	Document
}

// IndexKinds returns the kinds of the fields of an index, in order, or ErrUnknownIndex.
func (d *Definition) IndexKinds(index string) ([]Kind, error) {
	_, kinds, err := d.FindIndex(index)
	return kinds, err
}

// FindIndex returns the place of an index, as in IndexEntry, and the kinds of its fields; or ErrUnknownIndex.
func (d *Definition) FindIndex(index string) (place int, kinds []Kind, err error) {
	switch index {
	case ParkedIndexName:
		return ParkedIndex, []Kind{KindInt}, nil
	case ExpiryIndexName:
		return ExpiryIndex, []Kind{KindString}, nil
	}
	for i := range d.Indexes {
		if d.Indexes[i].Name == index {
			return i, d.kindsOf(&d.Indexes[i]), nil
		}
	}
	err = events.Errorf(ErrUnknownIndex, "the projection %q has no index %q", d.Name, index).Hint("It has %s.", d.indexNames())
	return 0, nil, err
}

func (d *Definition) kindsOf(x *Index) []Kind {
	kinds := make([]Kind, len(x.Fields))
	for i, name := range x.Fields {
		if at := d.field(name); at >= 0 {
			kinds[i] = d.Fields[at].Kind
		}
	}
	return kinds
}

func (d *Definition) field(name string) int {
	return slices.IndexFunc(d.Fields, func(f Field) bool { return f.Name == name })
}

func (d *Definition) indexNames() string {
	names := []string{ParkedIndexName, ExpiryIndexName}
	for i := range d.Indexes {
		names = append(names, d.Indexes[i].Name)
	}
	return strings.Join(names, ", ")
}

// IndexValue returns the value under which an index should have a document, and whether it should have it at all. A document without values
// has none, and one that is not parked has none in the index of the parked.
func (d *Definition) IndexValue(index string, doc *Document) (value string, ok bool) {
	place, kinds, err := d.FindIndex(index)
	if err != nil || len(doc.Values) != len(d.Fields) {
		return "", false
	}
	switch place {
	case ParkedIndex:
		return ParkedValue(doc.Parked)
	case ExpiryIndex:
		return d.ExpiryValue(doc.Parked, doc.Values)
	}
	values := make([]string, len(kinds))
	for i, name := range d.Indexes[place].Fields {
		at := d.field(name)
		if at < 0 {
			return "", false
		}
		values[i] = doc.Values[at]
	}
	value, err = EncodeIndex(kinds, values...)
	return value, err == nil
}

// ParkedValue returns the value under which a document is in the index of the parked ones. parked is what Document.Parked says; a document that is
// not parked has none, nor has one whose place cannot be read.
func ParkedValue(parked string) (value string, ok bool) {
	seq, ok := SequenceIn(PlaceOf(parked))
	if !ok || seq > math.MaxInt64 {
		return "", false
	}
	return string(appendIndexInt(nil, int64(seq))), true
}

// ExpiryValue returns the value under which a document is in the index of those that expire, by its values in the order of the definition's fields. One that
// never expires is not there, nor is one that is parked: see Expired.
func (d *Definition) ExpiryValue(parked string, values []string) (value string, ok bool) {
	if d.Expires == "" || parked != "" {
		return "", false
	}
	at := d.field(d.Expires)
	if at < 0 || values[at] == "" {
		return "", false
	}
	return ExpiryPlace(values[at]), true
}

// ExpiryPlace returns the value under which the index of those that expire has a document that says so with a text of FormatExpiry.
func ExpiryPlace(text string) string { return string(appendIndexString(nil, text)) }

// Indexer computes under which values the indexes of a definition have a document. It is not safe for concurrent use.
type Indexer struct {
	indexes []indexedFields
	buf     []byte
}

type indexedFields struct {
	name   string
	fields []Field
	at     []int // their places in the definition
}

// NewIndexer returns an Indexer for documents of a definition that is valid; nil when it has no indexes.
func NewIndexer(def *Definition) *Indexer {
	if len(def.Indexes) == 0 {
		return nil
	}
	x := &Indexer{indexes: make([]indexedFields, len(def.Indexes))}
	for i := range def.Indexes {
		f := indexedFields{name: def.Indexes[i].Name}
		for _, name := range def.Indexes[i].Fields {
			at := def.field(name)
			f.at, f.fields = append(f.at, at), append(f.fields, def.Fields[at])
		}
		x.indexes[i] = f
	}
	return x
}

// Indexes returns how many indexes there are.
func (x *Indexer) Indexes() int { return len(x.indexes) }

// Value returns the value of one index for a document with these values, in the order of the definition's fields. It is valid until the next
// call. It fails when a value is not of its field's kind.
func (x *Indexer) Value(index int, values []string) ([]byte, error) {
	f := &x.indexes[index]
	b := x.buf[:0]
	for i, at := range f.at {
		var err error
		if b, err = appendIndexValue(b, f.fields[i].Kind, values[at]); err != nil {
			return nil, events.Errorf(ErrInvalidProjection, "the field %s cannot be indexed by %s: %w", f.fields[i].Name, f.name, err)
		}
	}
	x.buf = b
	return b, nil
}

// validateIndexes says what is wrong with the indexes; empty when nothing is.
func (d *Definition) validateIndexes(bad func(format string, args ...any) error) error {
	if len(d.Indexes) > MaxIndexes {
		return bad("it has %d indexes, over the bound of %d", len(d.Indexes), MaxIndexes)
	}
	seen := make(map[string]bool, len(d.Indexes))
	for i := range d.Indexes {
		x := &d.Indexes[i]
		switch {
		case !validFieldName(x.Name) || len(x.Name) > maxIndexName || seen[x.Name]:
			return bad("the index name %q is not [a-z][a-z0-9_]{0,%d}, or appears twice", x.Name, maxIndexName-1)
		case len(x.Fields) == 0 || len(x.Fields) > MaxIndexFields:
			return bad("the index %s has %d fields, and an index has 1 to %d", x.Name, len(x.Fields), MaxIndexFields)
		}
		seen[x.Name] = true
		for j, name := range x.Fields {
			if at := d.field(name); at < 0 || !indexable(d.Fields[at].Kind) || slices.Contains(x.Fields[:j], name) {
				return bad("the index %s is of %q, which is no field of kind int, string or bool, or appears twice", x.Name, name)
			}
		}
	}
	return nil
}

func indexable(k Kind) bool { return k == KindInt || k == KindString || k == KindBool }
