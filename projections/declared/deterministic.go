package declared

import (
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"go.yaml.in/yaml/v3"

	"tidemark.dev/events"
)

// functions that expressions may use. What is not listed is refused: it would be a float, depend on the machine, or on the release of CEL.
func allowed(name string) bool {
	switch name {
	case "_?_:_", "_&&_", "_||_", "!_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_+_", "_-_", "_*_", "_/_", "_%_", "-_", "_[_]", "@in",
		"@not_strictly_false", // what the macros are made of
		"size", "contains", "startsWith", "endsWith", "matches", "int", "string", "bool", "timestamp", "duration":
		return true
	}
	return dateParts(name)
}

func dateParts(name string) bool {
	switch name {
	case "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds":
		return true
	}
	return false
}

// deterministic reports whether an expression gives the same everywhere, after findings of what may not.
func (c *compiler) deterministic(n *yaml.Node, offset int, checked *cel.Ast, what string) bool {
	before := len(c.findings)
	tree := checked.NativeRep()
	bad := func(e ast.Expr, code events.Code, format string, args ...any) {
		at := tree.SourceInfo().GetStartLocation(e.ID())
		c.find(within(n, offset, at.Line(), at.Column()), code, "%s: "+format, append([]any{what}, args...)...)
	}
	ast.PreOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.LiteralKind:
			switch e.AsLiteral().(type) {
			case types.Double:
				bad(e, ErrForbidden, "floats are not used: their sums depend on their order; count in a smaller unit")
			case types.Uint, types.Bytes:
				bad(e, ErrForbidden, "unsigned integers and bytes are not used; a number is an integer of 64 bits")
			}
		case ast.MapKind, ast.StructKind:
			bad(e, ErrForbidden, "maps cannot be written: they have no order")
		case ast.CallKind:
			call := e.AsCall()
			switch name := call.FunctionName(); {
			case name == "double":
				bad(e, ErrForbidden, "floats are not used: their sums depend on their order; count in a smaller unit")
			case !allowed(name):
				bad(e, ErrForbidden, "the function %s is not allowed here", strings.Trim(name, "_@"))
			case dateParts(name) && len(call.Args()) == 1 && !pinned(call.Args()[0]):
				bad(e, ErrForbidden, `a zone must be "UTC" or a fixed one such as "+01:00": named zones differ between machines`)
			case name == "matches" && !isText(call.Args()[len(call.Args())-1]):
				bad(e, ErrForbidden, "the pattern of matches must be written out")
			case name == "matches":
				if _, err := regexp.Compile(string(call.Args()[len(call.Args())-1].AsLiteral().(types.String))); err != nil {
					bad(e, ErrExpression, "the pattern of matches is none (RE2)")
				}
			}
		}
	}))
	return len(c.findings) == before
}

func isText(e ast.Expr) bool {
	if e.Kind() != ast.LiteralKind {
		return false
	}
	_, ok := e.AsLiteral().(types.String)
	return ok
}

// pinned reports whether an expression is a zone that is the same on every machine.
func pinned(e ast.Expr) bool {
	if !isText(e) {
		return false
	}
	zone := string(e.AsLiteral().(types.String))
	return zone == "UTC" || regexp.MustCompile(`^[+-](0\d|1[0-4]):[0-5]\d$`).MatchString(zone)
}

// sizes is the estimator of costs: every text and list of an event has at most so many characters or items.
type sizes uint64

// EstimateSize returns the size of what only an event decides.
func (s sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	if n.ComputedSize() != nil {
		return nil
	}
	return &cost.SizeEstimate{Max: uint64(s)}
}

// EstimateCallCost leaves functions to CEL.
func (s sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// cost checks the bound before there is data. An expression within the bound for the largest of events needs no other; one that is within it
// for usual events is counted at each evaluation (limit); any other is refused.
func (c *compiler) cost(env *cel.Env, n *yaml.Node, checked *cel.Ast, what string) (limit, ok bool) {
	for _, size := range []sizes{events.MaxDataBytes, usualSize} {
		estimate, err := env.EstimateCost(checked, size)
		if err == nil && estimate.Max <= MaxCost {
			return size == usualSize, true
		}
	}
	c.find(n, ErrTooDear, "%s may cost more than %d steps with lists of %d items; walk through fewer lists inside of each other", what, MaxCost, usualSize)
	return false, false
}

// within returns the place of a line and column of an expression whose text begins at offset in a value of the file.
func within(n *yaml.Node, offset, line, column int) *yaml.Node {
	at := &yaml.Node{Line: n.Line, Column: n.Column}
	switch {
	case line < 1:
	case slices.Contains([]yaml.Style{yaml.LiteralStyle, yaml.FoldedStyle}, n.Style):
		at.Line, at.Column = n.Line+line, 1 // how far the lines are indented is not known any more
	case line > 1:
		at.Line += line - 1
	case n.Style == yaml.DoubleQuotedStyle || n.Style == yaml.SingleQuotedStyle:
		at.Column += 1 + offset + column
	default:
		at.Column += offset + column
	}
	return at
}
