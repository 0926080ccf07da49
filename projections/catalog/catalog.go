package catalog

import (
	"slices"
	"strings"

	"tidemark.dev/projections"
)

// Bounds.
const (
	// MaxProjections bounds the projections that are not removed: each reads the whole log, in every region.
	MaxProjections = 200
	// MaxEntries bounds the entries, those of removed projections included, which are kept so that a version never means two things.
	MaxEntries = 1_000
	// MaxText bounds the text of a definition, in bytes. One of declared.MaxBytes fits.
	MaxText = 512 << 10
	// MaxEarlier bounds the earlier versions whose definitions an entry names.
	MaxEarlier = 4
)

// Kind says where a projection comes from.
type Kind string

// The kinds.
const (
	File Kind = "file" // its definition is a record of the log
	Go   Kind = "go"   // it is compiled into the programs that run it
)

// State says what is to be done with a projection.
type State string

// The states.
const (
	Active  State = "active"
	Paused  State = "paused"  // nothing is folded; queries go on answering from where the read model stands
	Removed State = "removed" // its read models are dropped
)

// Catalog is the projections of an installation, as one record of the log has them.
type Catalog struct {
	// Sequence of the record; 0 when there is none yet.
	Sequence uint64
	// Entries by name.
	Entries []Entry

	change string // of the write that made it
	newer  string // what of it this release does not know; it must not write such a catalog again
}

// Entry is one projection.
type Entry struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	// Fingerprint of the definition.
	Fingerprint string `json:"fingerprint"`
	Kind        Kind   `json:"kind"`
	State       State  `json:"state"`
	// Definition is the sequence of the record with the text, of a projection from a file.
	Definition uint64 `json:"definition,omitempty"`
	// Earlier versions from files, the newest first, so that a region that serves one can go on with it while it builds this one.
	Earlier []Earlier `json:"earlier,omitempty"`
}

// Earlier is an earlier version of a projection from a file.
type Earlier struct {
	Version     int    `json:"version"`
	Fingerprint string `json:"fingerprint"`
	Definition  uint64 `json:"definition"`
}

// Find returns the entry of a name, also of a removed one.
func (c Catalog) Find(name string) (Entry, bool) {
	i, found := c.search(name)
	if !found {
		return Entry{}, false
	}
	return c.Entries[i], true
}

// Get returns the entry of a projection that is not removed, or projections.ErrUnknownProjection.
func (c Catalog) Get(name string) (Entry, error) {
	e, found := c.Find(name)
	switch {
	case !found:
		return e, unknown(name, "the catalog has no projection %q", shown(name))
	case e.State == Removed:
		return e, unknown(name, "the projection %s was removed", name)
	}
	return e, nil
}

func (c Catalog) search(name string) (int, bool) {
	return slices.BinarySearchFunc(c.Entries, name, func(e Entry, name string) int { return strings.Compare(e.Name, name) })
}

// with returns the entries with one of them new or replaced. It leaves the catalog alone.
func (c Catalog) with(e Entry) Catalog {
	i, found := c.search(e.Name)
	next := c
	if found {
		next.Entries = slices.Clone(c.Entries)
		next.Entries[i] = e
		return next
	}
	next.Entries = slices.Insert(slices.Clone(c.Entries), i, e)
	return next
}

// room returns ErrFull when there is no place for one more projection.
func (c Catalog) room(known bool) error {
	running := 0
	for i := range c.Entries {
		if c.Entries[i].State != Removed {
			running++
		}
	}
	switch {
	case running >= MaxProjections:
		return full("there are %d projections already, which is the bound; nothing was written", running).
			Hint("Remove one that is not needed: tidemark projection remove NAME.")
	case !known && len(c.Entries) >= MaxEntries:
		return full("there were %d projections already, which is the bound of names ever used; nothing was written", len(c.Entries)).
			Hint("Apply it under the name of one that was removed, with a higher version.")
	}
	return nil
}

// shown bounds a name that goes into an error.
func shown(name string) string {
	const most = 48
	if len(name) <= most || projections.ValidName(name) {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}
