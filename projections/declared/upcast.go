package declared

// upcast makes of the data of an old version of an event that of today.
type upcast struct {
	types    []string
	when     source // nil: always
	renames  [][2]string
	defaults []assignment
	sets     []assignment
	what     string // for reasons
}

// assignment sets a name of the data.
type assignment struct {
	name string
	from source
}

// upcast applies the upcasts of an event to its data, in the order of the file: rename, default, set.
func (p *Projection) upcast(c *call) error {
	for _, u := range p.upcasts[c.record.Event.Type] {
		if err := u.apply(c); err != nil {
			return because("%s: %s", u.what, err)
		}
	}
	return nil
}

func (u *upcast) apply(c *call) error {
	met, err := condition(u.when, c)
	if err != nil || !met {
		return err
	}
	if shape := c.data.shape(); shape != anObject {
		return because("the data is %s, where an object is wanted", shape)
	}
	for _, r := range u.renames {
		if c.data.member(r[0]) == nil {
			continue
		}
		if c.data.member(r[1]) != nil {
			return because("the data has both %s and %s", r[0], r[1])
		}
		v, _ := c.data.take(r[0])
		c.data.put(r[1], v)
	}
	for _, a := range u.defaults {
		if c.data.member(a.name) != nil {
			continue
		}
		if err := a.apply(c); err != nil {
			return err
		}
	}
	for _, a := range u.sets {
		if err := a.apply(c); err != nil {
			return err
		}
	}
	return nil
}

func (a *assignment) apply(c *call) error {
	v, err := a.from.eval(c)
	if err != nil {
		return because("%s: %s", a.name, err)
	}
	c.data.put(a.name, v.node())
	return nil
}
