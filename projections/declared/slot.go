package declared

import (
	"errors"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// slot is what a fold needs of the routing before it. It travels in the operation, where only a projection of package projections can put
// something: so each operation is made by one whose only handler hands out its payload, as the error of its fold.
type slot struct {
	call *call
	rule *rule
}

func (*slot) Error() string { return "a slot" }

// DecodeData reads nothing: the data is decoded when it is needed.
func (*slot) DecodeData([]byte) error { return nil }

// nothing is the document of a lender. A document must have a field.
type nothing struct {
	None bool `json:"none"`
}

// lender makes operations, and finds their slots again.
type lender struct {
	typed *projections.Typed[nothing]
	empty projections.State // never changed
}

func newLender(eventTypes []string) (*lender, error) {
	handlers := make([]projections.Handler[nothing], 0, len(eventTypes))
	for _, typ := range eventTypes {
		handlers = append(handlers, projections.On("", typ, func(n nothing, e projections.Event[slot]) (nothing, error) { return n, e.Data }))
	}
	typed, err := projections.New("lender", 1, handlers...)
	if err != nil {
		return nil, err
	}
	return &lender{typed: typed, empty: typed.NewState()}, nil
}

// lend appends an operation for the event and returns it with its slot.
func (l *lender) lend(r *events.Record, at int, ops *projections.Ops) (*projections.Op, *slot) {
	l.typed.Route(r, at, ops)
	list := ops.List()
	op := &list[len(list)-1]
	return op, l.slot(r, op)
}

// slot returns the slot of an operation.
func (l *lender) slot(r *events.Record, op *projections.Op) *slot {
	s, ok := errors.AsType[*slot](l.typed.Fold(l.empty, r, op))
	if !ok {
		panic("declared: the operation was made by another projection")
	}
	return s
}
