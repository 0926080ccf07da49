package catalog

import (
	"slices"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// Verdict says what a decision comes to.
type Verdict string

// The verdicts.
const (
	Unchanged  Verdict = "unchanged" // there is nothing to do
	New        Verdict = "new"
	NewVersion Verdict = "new-version"
	Restored   Verdict = "restored" // it was removed, and is there again
	PausedNow  Verdict = "paused"
	ResumedNow Verdict = "resumed"
	RemovedNow Verdict = "removed"
	Registered Verdict = "registered"
)

// Decision is what an operation makes of a catalog.
type Decision struct {
	Verdict Verdict
	// Before and After are the projection's entry; Before is zero when there was none. After of a new definition does not know its sequence yet.
	Before, After Entry

	next Catalog
	text []byte // of the new definition
}

// decided returns the decision to write an entry.
func (c Catalog) decided(v Verdict, before, after Entry) Decision {
	return Decision{Verdict: v, Before: before, After: after, next: c.with(after)}
}

// Apply decides about a projection from a file: its definition, and the text that it was read from.
//
// Of a name, one version is one definition for ever, and versions do not go back, whether the projection was removed meanwhile or not: a region that did not
// see it removed builds what all others build. A paused projection stays paused.
//
// Errors: projections.ErrDefinitionChanged, projections.ErrVersionLowered, ErrNameTaken, ErrFull, events.ErrTooLarge.
func (c Catalog) Apply(def *projections.Definition, text []byte) (Decision, error) {
	if len(text) > MaxText {
		return Decision{}, events.Errorf(events.ErrTooLarge, "the definition of %s has %d bytes, over the bound of %d; nothing was written", def.Name, len(text), MaxText)
	}
	finger := def.Fingerprint()
	old, known := c.Find(def.Name)
	next := Entry{Name: def.Name, Version: def.Version, Fingerprint: finger, Kind: File, State: Active}
	if !known {
		if err := c.room(false); err != nil {
			return Decision{}, err
		}
		d := c.decided(New, Entry{}, next)
		d.text = text
		return d, nil
	}
	if old.Kind != File && old.State != Removed {
		return Decision{}, events.Errorf(ErrNameTaken, "%s is a projection that is compiled into the program; nothing was written", def.Name).
			Hint("Give the file's projection another name, or remove the other one first.")
	}
	if err := old.admits(def.Version, finger, "nothing was written"); err != nil {
		return Decision{}, err
	}
	if old.State != Removed && old.Version == def.Version {
		return Decision{Verdict: Unchanged, Before: old, After: old}, nil
	}
	verdict := NewVersion
	if old.State == Removed {
		verdict = Restored
		if err := c.room(true); err != nil {
			return Decision{}, err
		}
	} else {
		next.State = old.State
	}
	next.Earlier = old.before(def.Version)
	d := c.decided(verdict, old, next)
	d.text = text
	return d, nil
}

// admits returns an error unless a definition may follow that of the entry. done says what was not done.
func (e Entry) admits(version int, finger, done string) error {
	switch {
	case version < e.Version:
		return events.Errorf(projections.ErrVersionLowered, "%s has version %d, and this is version %d; %s", e.Name, e.Version, version, done).
			Hint("Give it version %d or a higher one.", e.Version+1)
	case version == e.Version && finger != e.Fingerprint:
		return events.Errorf(projections.ErrDefinitionChanged, "version %d of %s is the definition %s, and this one is %s; %s", version, e.Name, e.Fingerprint, finger, done).
			Hint("Give it version %d: it is then built beside the live one.", version+1)
	}
	return nil
}

// before returns the earlier versions that an entry of a version has when it follows this one.
func (e Entry) before(version int) []Earlier {
	var list []Earlier
	if e.Kind == File && e.Definition != 0 && e.Version != version {
		list = append(list, Earlier{Version: e.Version, Fingerprint: e.Fingerprint, Definition: e.Definition})
	}
	list = append(list, e.Earlier...)
	return slices.Clip(list[:min(len(list), MaxEarlier)])
}

// Pause decides that a projection is folded no further. Errors: projections.ErrUnknownProjection.
func (c Catalog) Pause(name string) (Decision, error) {
	e, err := c.Get(name)
	if err != nil {
		return Decision{}, err
	}
	return c.state(e, Paused, PausedNow), nil
}

// Resume decides that a paused projection goes on. One written in Go is also brought back so after it was removed, since there is no file to apply.
// Errors: projections.ErrUnknownProjection, ErrFull.
func (c Catalog) Resume(name string) (Decision, error) {
	e, err := c.Get(name)
	if err != nil && e.Kind == Go {
		if err := c.room(true); err != nil {
			return Decision{}, err
		}
		return c.state(e, Active, Restored), nil
	}
	if err != nil {
		return Decision{}, err
	}
	return c.state(e, Active, ResumedNow), nil
}

// Remove decides that a projection's read models are dropped. Errors: projections.ErrUnknownProjection when there never was one.
func (c Catalog) Remove(name string) (Decision, error) {
	e, found := c.Find(name)
	if !found {
		_, err := c.Get(name)
		return Decision{}, err
	}
	return c.state(e, Removed, RemovedNow), nil
}

func (c Catalog) state(e Entry, to State, v Verdict) Decision {
	if e.State == to {
		return Decision{Verdict: Unchanged, Before: e, After: e}
	}
	next := e
	next.State = to
	return c.decided(v, e, next)
}

// Register decides about the projections that are compiled into a program: those that the catalog does not have, or has with a lower version, are entered
// together. Those that Admit refuses are left out, and so are removed ones. It returns ErrFull.
func (c Catalog) Register(defs []*projections.Definition) (Decision, error) {
	d := Decision{Verdict: Unchanged, next: c}
	for _, def := range defs {
		old, known := d.next.Find(def.Name)
		again := known && old.State == Removed && old.Kind != Go // the name is free, and a deployment takes it
		switch {
		case known && !again && (old.State == Removed || old.Version >= def.Version), d.next.Admit(def) != nil:
			continue
		case !known || again:
			if err := d.next.room(known); err != nil {
				return Decision{}, err
			}
			old.State = Active
		}
		d.Verdict = Registered
		d.After = Entry{
			Name: def.Name, Version: def.Version, Fingerprint: def.Fingerprint(), Kind: Go, State: old.State, Earlier: old.before(def.Version),
		}
		d.next = d.next.with(d.After)
	}
	return d, nil
}

// Admit returns an error when a projection that is compiled into a program must not run: ErrNameTaken, or projections.ErrDefinitionChanged. A program
// that is older than the catalog may go on with its version where that is live, until it is replaced too.
func (c Catalog) Admit(def *projections.Definition) error {
	e, known := c.Find(def.Name)
	switch {
	case !known:
		return nil
	case e.Kind != Go && e.State != Removed:
		return events.Errorf(ErrNameTaken, "%s is a projection from a file, and this program has one of that name compiled in; its own is not run", def.Name).
			Hint("Rename one of the two, or remove the file's: tidemark projection remove %s.", def.Name)
	case e.Kind != Go:
		return e.admits(def.Version, def.Fingerprint(), "it is not run")
	case def.Version < e.Version:
		return nil
	}
	return e.admits(def.Version, def.Fingerprint(), "it is not run")
}

func unknown(name, format string, args ...any) error {
	hint := "tidemark projection list shows the projections."
	if projections.ValidName(name) {
		hint = "tidemark projection list shows the projections; tidemark projection apply FILE makes one."
	}
	return events.Errorf(projections.ErrUnknownProjection, format, args...).Hint("%s", hint)
}

func full(format string, args ...any) *events.Error { return events.Errorf(ErrFull, format, args...) }
