package reconcile

import (
	"cmp"
	"slices"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/projector"
)

// Kind says what is wrong.
type Kind string

// The kinds of findings about read models.
const (
	// KindMissing: the log makes a document, and it is not there.
	KindMissing Kind = "missing"
	// KindExtra: a document is there that the log does not make, or not in that partition.
	KindExtra Kind = "extra"
	// KindStale: a document is as it was once, and records that changed it since are not in it.
	KindStale Kind = "stale"
	// KindAltered: a document is as the log never had it.
	KindAltered Kind = "altered"
	// KindIndex: a document is right, and the list of keys or an index does not have it, or has it where it is not.
	KindIndex Kind = "index-entry"
	// KindPartition: the documents of a partition are right, and what it says of them together is not.
	KindPartition Kind = "partition"
)

// What Finding.Entry says.
const (
	EntryMissing = "missing"
	EntryExtra   = "extra"
)

// Content is a document at one moment.
type Content struct {
	At     string `json:"at"`
	Digest string `json:"digest"`
	// Parked is where it is parked.
	Parked string `json:"parked,omitempty"`
}

// FieldDifference is a field whose value is not what it should be.
type FieldDifference struct {
	Field    string  `json:"field"`
	Expected *string `json:"expected"` // nil: there should be no document
	Found    *string `json:"found"`    // nil: there is none, or it lacks the field
}

// Finding is one thing that is wrong with what a region stores, and what should be there instead.
type Finding struct {
	Region     string `json:"region"`
	Projection string `json:"projection"`
	Generation uint32 `json:"generation"`
	Partition  int    `json:"partition"`
	Key        string `json:"key,omitempty"` // of a document; empty: it is about the whole partition
	Kind       Kind   `json:"kind"`
	// Position is the partition's checkpoint for which it was found.
	Position string   `json:"position"`
	Expected *Content `json:"expected,omitempty"`
	Found    *Content `json:"found,omitempty"`
	// Fields are those whose values differ.
	Fields []FieldDifference `json:"fields,omitempty"`
	// Misplaced says that a document is in a partition that is not its own, where no query finds it.
	Misplaced bool `json:"misplaced,omitempty"`
	// Foreign says that something which is no document is under the document's name. A person has to remove it: nothing can be written there until then.
	Foreign bool `json:"foreign,omitempty"`
	// Index names the index of KindIndex, empty for the list of keys; Entry says what about its entry: EntryMissing or EntryExtra.
	Index string `json:"index,omitempty"`
	Entry string `json:"entry,omitempty"`
	// Member is what a name or an entry of an index says, under which there can be no document. Nothing of ours writes there, so a person has to remove it.
	Member string `json:"member,omitempty"`
	// FirstBad is the first record of the log that is not in what was found, or was not applied rightly; 0: there is none, it was changed outside of the log.
	FirstBad uint64 `json:"first_bad,omitempty"`
	// Outside says that it was changed outside of the log. With neither, all that is known is that it was right at the mark at LastGood.
	Outside bool `json:"outside_the_log,omitempty"`
	// LastGood is the newest mark at which the partition was what it should have been; 0: not known.
	LastGood uint64    `json:"last_good_mark,omitempty"`
	Detected time.Time `json:"detected"`

	unindex []projections.IndexEntry
}

// contentOf returns what a document is, without its values.
func contentOf(d *projections.Document) *Content {
	if d == nil {
		return nil
	}
	return &Content{At: d.At, Digest: d.Digest.String(), Parked: projections.PlaceOf(d.Parked)}
}

// priors is what the marks of a partition tell of when it went wrong.
type priors struct {
	known bool   // the partition was folded again, and compared with what it recorded
	good  uint64 // the newest mark at which it was right; 0: none
	wrong bool   // what it says of all its documents together has been wrong since
}

// judged returns the finding about a document that was judged wrong.
func judged(def *projections.Definition, c *projector.Case, past priors) Finding {
	f := Finding{Key: c.Key, Expected: contentOf(c.Right), Found: contentOf(c.Found), Fields: differences(def, c), LastGood: past.good}
	switch {
	case c.Found == nil:
		f.Kind = KindMissing
	case c.Right == nil:
		f.Kind = KindExtra
	case c.Once && c.FirstBad > 0:
		f.Kind = KindStale
	default:
		f.Kind = KindAltered
	}
	if f.Kind == KindStale {
		f.FirstBad = c.FirstBad
	}
	switch {
	case past.known && past.wrong: // its projector counted it as it is: it was not folded as it should have been
		if f.FirstBad <= past.good {
			f.FirstBad = 0
		}
		for _, seq := range c.Touched {
			if seq > past.good && f.FirstBad == 0 {
				f.FirstBad = seq
			}
		}
	case past.known, forged(def, c.Found):
		f.Outside = true
	}
	return f
}

// forged reports whether a document's digest is not that of its content: no projector wrote it so.
func forged(def *projections.Definition, d *projections.Document) bool {
	return d != nil && (d.Values == nil || projections.NewHasher(def).Stored(d) != d.Digest)
}

// differences compares field by field.
func differences(def *projections.Definition, c *projector.Case) (list []FieldDifference) {
	value := func(d *projections.Document, i int) *string {
		if d == nil || i >= len(d.Values) {
			return nil
		}
		return &d.Values[i]
	}
	for i := range def.Fields {
		want, got := value(c.Right, i), value(c.Found, i)
		if want == nil && got == nil || want != nil && got != nil && *want == *got {
			continue
		}
		list = append(list, FieldDifference{Field: def.Fields[i].Name, Expected: want, Found: got})
	}
	return slices.Clip(list)
}

// Hide replaces the values of findings by their kinds. Names stay, and whether there is a value. fields are those of the projection; of one that is not among them the kind is not known.
func Hide(findings []Finding, fields []projections.Field) {
	kinds := make(map[string]string, len(fields))
	for _, f := range fields {
		kinds[f.Name] = "<" + string(f.Kind) + ">"
	}
	for i := range findings {
		for j := range findings[i].Fields {
			d := &findings[i].Fields[j]
			kind := cmp.Or(kinds[d.Field], "<unknown>")
			for _, value := range []**string{&d.Expected, &d.Found} {
				if *value != nil {
					*value = &kind
				}
			}
		}
	}
}
