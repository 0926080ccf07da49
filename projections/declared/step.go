package declared

import (
	"math"
	"strings"

	"tidemark.dev/projections"
)

// verb is what an action does to its field.
type verb string

const (
	verbSet     verb = "set"
	verbUnset   verb = "unset"
	verbAdd     verb = "add"
	verbCount   verb = "count"
	verbMax     verb = "max"
	verbMin     verb = "min"
	verbAppend  verb = "append"
	verbCollect verb = "collect"
	verbRemove  verb = "remove"
	verbExpire  verb = "expire"
	verbDelete  verb = "delete"
)

// step is an item of do: actions under one condition.
type step struct {
	when    source // nil: always
	actions []action
}

// action changes one field.
type action struct {
	verb  verb
	field int
	from  source // nil: it takes no value; of expire: never
	what  string // for reasons
}

// fold applies the steps to a document in memory; c.doc is what it was, and becomes what it is.
func (r *rule) fold(c *call, fields []field) error {
	for i := range r.steps {
		s := &r.steps[i]
		if met, err := condition(s.when, c); err != nil || !met {
			if err != nil {
				return because("%s: the condition of step %d: %s", r.what, i+1, err)
			}
			continue
		}
		for j := range s.actions {
			a := &s.actions[j]
			if a.verb == verbDelete {
				return projections.Delete
			}
			if err := a.apply(c, &fields[a.field]); err != nil {
				return because("%s: %s: %s", r.what, a.what, err)
			}
		}
	}
	return nil
}

// condition reports whether a condition is met; one that is not there is.
func condition(when source, c *call) (bool, error) {
	if when == nil {
		return true, nil
	}
	v, err := when.eval(c)
	if err != nil {
		return false, err
	}
	v, err = v.as(kindBool, "it")
	return v.b, err
}

func (a *action) apply(c *call, f *field) error {
	old := &c.doc[a.field]
	switch {
	case a.verb == verbUnset || a.verb == verbExpire && a.from == nil:
		*old = f.initial
		return nil
	case a.verb == verbCount:
		return add(old, 1)
	}
	v, err := a.from.eval(c)
	switch {
	case err != nil:
		return err
	case a.verb == verbExpire:
		if v, err = v.as(kindTime, "the value"); err == nil {
			*old = ofString(v.s)
		}
		return err
	case f.initial.kind == kindList:
		l, err := a.list(c, f, old.list, v)
		if err == nil {
			old.list = l
		}
		return err
	}
	return a.single(f, old, v)
}

// list returns what becomes of a list or a set.
func (a *action) list(c *call, f *field, old *list, v value) (*list, error) {
	if a.verb == verbSet && v.kind != kindList {
		_, err := v.as(kindList, "the value")
		return nil, err
	}
	elements, err := c.elements(v)
	switch {
	case err != nil:
		return nil, err
	case a.verb == verbAppend:
		return old.appended(f, elements)
	case a.verb == verbCollect:
		return old.collected(elements)
	case a.verb == verbRemove:
		return old.without(elements), nil
	default:
		return stored(f, elements)
	}
}

// single changes a field that holds one value.
func (a *action) single(f *field, old *value, v value) error {
	if v.kind != f.initial.kind {
		_, err := v.as(f.initial.kind, "the value")
		return err
	}
	switch a.verb {
	case verbAdd:
		return add(old, v.n)
	case verbMax:
		if v.n <= old.n && v.s <= old.s {
			return nil
		}
	case verbMin:
		if v.n >= old.n && v.s >= old.s {
			return nil
		}
	}
	if len(v.s) > MaxText {
		return because("the text has %d bytes, over the bound of %d", len(v.s), MaxText)
	}
	if v.s == old.s {
		v.s = old.s
	} else {
		v.s = strings.Clone(v.s) // it would keep the whole payload in memory
	}
	*old = v
	return nil
}

func add(old *value, n int64) error {
	if n > 0 && old.n > math.MaxInt64-n || n < 0 && old.n < math.MinInt64-n {
		return because("%s and %s together do not fit into 64 bits", projections.Quoted(old.String()), projections.Quoted(ofInt(n).String()))
	}
	old.n += n
	return nil
}
