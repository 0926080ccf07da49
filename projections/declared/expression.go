package declared

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"go.yaml.in/yaml/v3"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// compiler makes sources of expressions.
type compiler struct {
	*reader
	fields []field
	event  *cel.Env // knows the event
	stream *cel.Env // knows the message that an event is mapped from
	doc    *cel.Env // knows the event and the document

	expressions int // compiled so far
	wanted      wanted
	mapped      wanted // by a mapping
	normal      normalFile
}

func newCompiler(r *reader, fields []field) (*compiler, error) {
	base, err := cel.NewEnv(
		cel.ClearMacros(), cel.Variable(dataVariable, cel.DynType),
		cel.ParserExpressionSizeLimit(MaxExpression), cel.ParserRecursionLimit(maxExpressionDepth), cel.ExpressionNodeLimit(maxExpressionNodes),
		cel.RegexProgramSizeLimit(maxRegex), cel.DefaultUTCTimeZone(true), cel.StrictTimestampParsing(true),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.Macros(append(slices.Clone(cel.StandardMacros), cel.GlobalMacro("default", 2, expandDefault))...),
	)
	if err != nil {
		return nil, fmt.Errorf("the environment of expressions: %w", err)
	}
	options := []cel.EnvOption{cel.Variable(timeVariable, cel.TimestampType)}
	none := &call{record: &events.Record{}}
	for name, get := range attributes() {
		options = append(options, cel.Variable(name, get(none).kind.celType()))
	}
	event, err := base.Extend(options...)
	if err != nil {
		return nil, fmt.Errorf("the environment of expressions: %w", err)
	}
	var document []cel.EnvOption
	for _, f := range fields {
		document = append(document, cel.Variable(docPrefix+f.name, f.initial.kind.celType()))
	}
	doc, err := event.Extend(document...)
	if err != nil {
		return nil, fmt.Errorf("the environment of expressions: %w", err)
	}
	stream, err := base.Extend(cel.Variable(subjectVariable, cel.ListType(cel.StringType)), cel.Variable(headersVariable, cel.DynType))
	if err != nil {
		return nil, fmt.Errorf("the environment of expressions: %w", err)
	}
	c := &compiler{reader: r, fields: fields, event: event, stream: stream, doc: doc}
	for _, f := range fields {
		c.normal.Fields = append(c.normal.Fields, f.normal())
	}
	return c, nil
}

// celType returns the type of variables of a kind.
func (k kind) celType() *cel.Type {
	switch k {
	case kindInt:
		return cel.IntType
	case kindBool:
		return cel.BoolType
	case kindList:
		return cel.ListType(cel.DynType)
	default:
		return cel.StringType
	}
}

// expandDefault makes default(data.a.b, x) to has(data.a) && has(data.a.b) ? data.a.b : x.
func expandDefault(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	var there ast.Expr
	for e := args[0]; e.Kind() == ast.SelectKind; e = e.AsSelect().Operand() {
		s := e.AsSelect()
		if s.IsTestOnly() {
			break
		}
		test := f.NewPresenceTest(f.Copy(s.Operand()), s.FieldName())
		if there == nil {
			there = test
		} else {
			there = f.NewCall("_&&_", test, there)
		}
	}
	if there == nil {
		return nil, f.NewError(args[0].ID(), "default wants a path of the data first, such as default(data.delay, 0)")
	}
	return f.NewCall("_?_:_", there, args[0], args[1]), nil
}

// compile compiles a text at a place of the file. Nil after a finding. want is what it may give; empty is anything that a field can hold.
func (c *compiler) compile(env *cel.Env, n *yaml.Node, offset int, text, what string, want ...kind) source {
	checked, issues := env.Compile(text)
	if list := issues.Errors(); len(list) > 0 {
		for _, e := range list {
			c.find(within(n, offset, e.Location.Line(), e.Location.Column()), ErrExpression, "%s: %s", what, plainWords(e.Message))
		}
		return nil
	}
	if !c.deterministic(n, offset, checked, what) || !c.fits(n, checked, what, want) {
		return nil
	}
	if env == c.stream {
		c.mapped.see(checked.NativeRep().Expr())
	} else {
		c.wanted.see(checked.NativeRep().Expr())
	}
	if s := c.simple(checked.NativeRep().Expr()); s != nil {
		return s
	}
	limit, ok := c.cost(env, n, checked, what)
	if !ok {
		return nil
	}
	var options []cel.ProgramOption
	if limit {
		options = append(options, cel.CostLimit(MaxCost))
	}
	p, err := env.Program(checked, options...)
	if err != nil {
		c.find(n, ErrExpression, "%s: %s", what, plainWords(err.Error()))
		return nil
	}
	return &program{program: p, text: strings.TrimSpace(text)}
}

// plainWords takes from a message of CEL what is about its own insides.
func plainWords(message string) string {
	message, _, _ = strings.Cut(message, "\n")
	return strings.NewReplacer(" (in container '')", "", "Syntax error: ", "").Replace(message)
}

// fits checks the kind that the expression gives, as far as it is known before there is data.
func (c *compiler) fits(n *yaml.Node, checked *cel.Ast, what string, want []kind) bool {
	var k kind
	switch t := checked.OutputType(); t.Kind() {
	case types.DynKind, types.AnyKind:
		return true
	case types.IntKind:
		k = kindInt
	case types.StringKind:
		k = kindString
	case types.BoolKind:
		k = kindBool
	case types.ListKind:
		k = kindList
	case types.TimestampKind:
		k = kindTime
	}
	switch {
	case k == 0 || k == kindTime && !slices.Contains(want, kindTime):
		c.find(n, ErrWrongType, "%s gives %s, which no field can hold; convert it with string() or int()", what, checked.OutputType())
	case len(want) > 0 && !slices.Contains(want, k):
		c.find(n, ErrWrongType, "%s gives %s, and %s is wanted", what, k, want[0])
	default:
		return true
	}
	return false
}

// simple returns the source of what needs no CEL: a constant, a variable, a path of the data.
func (c *compiler) simple(e ast.Expr) source {
	if s := ofMessage(e); s != nil {
		return s
	}
	var names []string
	for e.Kind() == ast.SelectKind && !e.AsSelect().IsTestOnly() {
		names = append(names, e.AsSelect().FieldName())
		e = e.AsSelect().Operand()
	}
	slices.Reverse(names)
	switch {
	case e.Kind() == ast.LiteralKind && len(names) == 0:
		if v, err := ours(e.AsLiteral()); err == nil {
			return constant{v}
		}
	case e.Kind() != ast.IdentKind:
	case e.AsIdent() == dataVariable && len(names) > 0:
		return newPath(names)
	case len(names) == 0:
		if get := attributes()[e.AsIdent()]; get != nil {
			return attribute{get}
		}
		if i := slices.IndexFunc(c.fields, func(f field) bool { return docPrefix+f.name == e.AsIdent() }); i >= 0 {
			return docField(i)
		}
	}
	return nil
}

// ours returns a value of CEL as one of ours.
func ours(v ref.Val) (value, error) {
	switch v := v.(type) {
	case types.Int:
		return ofInt(int64(v)), nil
	case types.String:
		return ofString(string(v)), nil
	case types.Bool:
		return ofBool(bool(v)), nil
	case types.Timestamp:
		return ofTime(v.Time)
	case traits.Lister:
		return ourList(v)
	case *object:
		return value{}, because("the result is an object")
	case types.Null:
		return value{}, because("the result is null")
	case *types.Err:
		return value{}, because("%s", told(v.Unwrap())) // an item of a list that nobody has looked at
	default:
		return value{}, because("the result is no value that a field can hold")
	}
}

func ourList(from traits.Lister) (value, error) {
	l := &list{}
	for i := from.Iterator(); i.HasNext() == types.True; {
		item, err := ours(i.Next())
		if err != nil {
			return value{}, because("an item: %s", err)
		}
		e, err := item.element()
		if err != nil {
			return value{}, err
		}
		l.elements = append(l.elements, e)
	}
	return ofList(l), nil
}

// program is a source that CEL computes.
type program struct {
	program cel.Program
	text    string
}

func (p *program) eval(c *call) (value, error) {
	v, _, err := p.program.Eval(c)
	if err != nil {
		return value{}, because("%s: %s", clip(p.text), told(err))
	}
	got, err := ours(v)
	if err != nil {
		return value{}, because("%s: %s", clip(p.text), err)
	}
	return got, nil
}

// told returns why an evaluation failed, in words that do not depend on the release of CEL.
func told(err error) error {
	if r, ok := errors.AsType[*projections.Reason](err); ok {
		return r
	}
	message := err.Error()
	for _, known := range [...]struct{ theirs, ours string }{
		{"cost limit", "it costs more than the bound"}, {"timestamp overflow", "a time out of range"}, {"duration overflow", "a duration out of range"},
		{"overflow", "an integer overflow"}, {"divi", "a division by zero"}, {"modul", "a division by zero"},
		{"no such key", "a value is missing"}, {"no such attribute", "a value is missing"}, {"no such overload", "values of these kinds do not go together"},
		{"out of bounds", "no such item of the list"}, {"iterable", "an object cannot be walked through"}, {"conver", "a value cannot be converted"},
		{"timestamp", "not a time"}, {"duration", "not a duration"},
	} {
		if strings.Contains(message, known.theirs) {
			return because("%s", known.ours)
		}
	}
	return because("it cannot be computed")
}
