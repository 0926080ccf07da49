package declared

import (
	"slices"

	"go.yaml.in/yaml/v3"

	"tidemark.dev/projections"
)

// readIndexes reads what stands below indexes.
func (c *compiler) readIndexes(n *yaml.Node) []projections.Index {
	var all []projections.Index
	if n == nil {
		return nil
	}
	c.pairs(n, "indexes", func(k, v *yaml.Node) {
		x := projections.Index{Name: k.Value}
		probe := projections.Definition{Name: "x", Version: 1, Fields: []projections.Field{{Name: "f", Kind: projections.KindInt}}, Handles: []projections.Handles{{}}}
		probe.Indexes = []projections.Index{{Name: x.Name, Fields: []string{"f"}}}
		if probe.Validate() != nil {
			c.find(k, ErrBadValue, "the index name %q is not [a-z][a-z0-9_]{0,47}", clip(x.Name))
		}
		if len(all) == projections.MaxIndexes {
			c.find(k, ErrTooLarge, "there are more than %d indexes, which is the bound: each is written with every change of a document", projections.MaxIndexes)
			return
		}
		c.texts(v, "the index "+clip(x.Name), func(n *yaml.Node, name string) {
			i, ok := c.fieldNamed(n, "the index "+clip(x.Name), name)
			switch {
			case !ok:
			case c.fields[i].initial.kind == kindList:
				c.find(n, ErrWrongType, "the index %s cannot be of %s, which holds %s; it is of fields of kind int, string or bool", clip(x.Name), name, c.fields[i].article())
			case slices.Contains(x.Fields, name):
				c.find(n, ErrDuplicateKey, "the index %s names %s twice", clip(x.Name), name)
			case len(x.Fields) == projections.MaxIndexFields:
				c.find(n, ErrTooLarge, "the index %s has more than %d fields, which is the bound", clip(x.Name), projections.MaxIndexFields)
			default:
				x.Fields = append(x.Fields, name)
			}
		})
		all = append(all, x)
		c.normal.Indexes = append(c.normal.Indexes, append([]string{x.Name}, x.Fields...))
	})
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		c.find(n, ErrBadValue, "indexes is empty: name one and its fields, or leave it out")
	}
	return all
}
