package declared

import (
	"slices"

	"cel.dev/cel-go/common/ast"
)

// wanted is which names of the data a file asks for. What an event carries beside them is checked, and not kept.
type wanted struct {
	names []string
	all   bool // something asks for the data as a whole
}

// see remembers what an expression asks for.
func (w *wanted) see(tree ast.Expr) {
	asked, named := 0, 0
	ast.PreOrderVisit(tree, ast.NewExprVisitor(func(e ast.Expr) {
		switch {
		case isData(e):
			asked++
		case e.Kind() == ast.SelectKind && isData(e.AsSelect().Operand()):
			named++
			if name := e.AsSelect().FieldName(); !slices.Contains(w.names, name) {
				w.names = append(w.names, name)
			}
		}
	}))
	w.all = w.all || asked != named
}

func isData(e ast.Expr) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == dataVariable }

// has reports whether somebody may ask for a name.
func (w *wanted) has(name string) bool { return w.all || slices.Contains(w.names, name) }
