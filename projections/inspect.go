package projections

import "tidemark.dev/events"

// MaxInspected bounds the keys of one Inspect.
const MaxInspected = 1_000

// Inspected is what a partition has under one key: with Key and Entries it is a question, with the rest an answer.
type Inspected struct {
	Key string
	// Entries are those of which is asked whether the indexes have them.
	Entries []IndexEntry

	// Document is as it is stored; nil when there is none. Its Values are nil when its fields are not exactly those of the definition.
	Document *Document
	// Foreign says that something that is no document is under the document's name. There is no Document then, and a commit with this key is refused until it is gone.
	Foreign bool
	// Listed says whether the partition's list of keys has the key.
	Listed bool
	// Has says of each of Entries whether its index has it.
	Has []bool
}

// CheckInspected refuses questions that a store cannot answer: too many keys, or an index that the definition does not have.
func CheckInspected(def *Definition, asked []Inspected) error {
	if len(asked) > MaxInspected {
		return events.Errorf(events.ErrTooLarge, "%d keys are to be inspected at once, over the bound of %d", len(asked), MaxInspected).Hint("Ask in several steps.")
	}
	for i := range asked {
		for _, e := range asked[i].Entries {
			if _, err := def.IndexName(e.Index); err != nil {
				return err
			}
		}
	}
	return nil
}

// IndexName returns the name of the index with a place, as in IndexEntry, or ErrUnknownIndex.
func (d *Definition) IndexName(place int) (string, error) {
	switch {
	case place == ParkedIndex:
		return ParkedIndexName, nil
	case place == ExpiryIndex:
		return ExpiryIndexName, nil
	case place >= 0 && place < len(d.Indexes):
		return d.Indexes[place].Name, nil
	}
	return "", events.Errorf(ErrUnknownIndex, "the projection %q has no index %d", d.Name, place)
}

// IndexNames returns the names of all indexes of a definition's read models: those of the definition, in order, and the two that every read model has.
func (d *Definition) IndexNames() []string {
	names := make([]string, 0, len(d.Indexes)-FirstIndex)
	for i := range d.Indexes {
		names = append(names, d.Indexes[i].Name)
	}
	return append(names, ParkedIndexName, ExpiryIndexName)
}
