package declared

import (
	"reflect"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// celValue returns a value as CEL has it.
func (c *call) celValue(v value) ref.Val {
	switch v.kind {
	case kindInt:
		return types.Int(v.n)
	case kindBool:
		return types.Bool(v.b)
	case kindList:
		return c.list(v.list)
	default:
		return types.String(v.s)
	}
}

// celOf returns a JSON value as CEL has it. A number that is no integer becomes an error, which only those meet who use it.
func celOf(n *node, name string) ref.Val {
	switch n.shape() {
	case aBool:
		return types.Bool(n.flag())
	case aString:
		return types.String(n.str())
	case aNumber:
		if i, ok := integer(n.text); ok {
			return types.Int(i)
		}
		return types.WrapErr(notInteger(name, n.text))
	case aList, anObject:
		n.open()
		if n.in.cel == nil {
			n.in.cel = whole(n, name)
		}
		return n.in.cel
	default:
		return types.NullValue
	}
}

func whole(n *node, name string) ref.Val {
	if n.shape() == anObject {
		return &object{n.in, name}
	}
	list := make([]ref.Val, len(n.in.list))
	for i := range n.in.list {
		list[i] = celOf(&n.in.list[i], "an item of "+name)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, list)
}

// object is a JSON object for CEL. It can be asked for a name, and not walked through: its names have no order that means anything.
type object struct {
	in   *inside
	name string
}

// objectType is the type of all objects.
func objectType() *types.Type {
	return cel.ObjectType("object", traits.IndexerType, traits.FieldTesterType, traits.ContainerType)
}

// Get returns the value of a name, or an error when it is missing.
func (o *object) Get(index ref.Val) ref.Val {
	name, ok := index.(types.String)
	if !ok {
		return types.WrapErr(because("%s is an object: its names are strings", o.name))
	}
	full := o.name + "." + clip(string(name))
	if m := o.in.member(string(name)); m != nil {
		return celOf(m, full)
	}
	return types.WrapErr(because("%s is missing", full))
}

// IsSet reports whether a name is there; null is a value.
func (o *object) IsSet(field ref.Val) ref.Val { return o.Contains(field) }

// Contains reports whether a name is there.
func (o *object) Contains(v ref.Val) ref.Val {
	name, ok := v.(types.String)
	return types.Bool(ok && o.in.member(string(name)) != nil)
}

// Equal is an error: what would be compared is not said anywhere.
func (o *object) Equal(ref.Val) ref.Val {
	return types.WrapErr(because("%s is an object: only its values can be compared", o.name))
}

// ConvertToNative fails: nothing needs it.
func (o *object) ConvertToNative(reflect.Type) (any, error) {
	return nil, because("%s is an object, where a value is expected", o.name)
}

// ConvertToType fails, as there is nothing that an object could be instead.
func (o *object) ConvertToType(ref.Type) ref.Val {
	return types.WrapErr(because("%s is an object, where a value is expected", o.name))
}

// Type returns the type of all objects.
func (o *object) Type() ref.Type { return objectType() }

// Value returns the object itself.
func (o *object) Value() any { return o }
