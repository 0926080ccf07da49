package projector

import (
	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// A stream that is not ours forgets: messages are deleted one by one, and what is beyond a limit is evicted. What was deleted before it was read is passed over, for
// the stream says so and every replay finds it so. What was evicted before it was read is another matter: nobody meant these messages to be left out of the read
// model. Only a read model that is being built begins where the stream does.

// passable returns ErrEvicted when a record stands for messages that were evicted before a partition had them, though it had begun.
func (e *engine) passable(r *events.Record) error {
	if r.Kind != events.KindEvicted {
		return nil
	}
	for i := range e.parts {
		p := &e.parts[i]
		begins := e.tip.seq == 0 && p.seq == 0 && p.head.State == projections.Building
		if p.seq < r.Sequence && !begins {
			return events.Errorf(events.ErrEvicted, "the stream of %s retains nothing before %d, and %s had been folded up to %d only; nothing was applied from there on",
				e.log.Origin(), r.Sequence+1, e.def.Name, e.tip.seq).
				Hint("The messages between are lost. tidemark replay %s --from-start builds it from what is retained; give the stream wider limits.", e.def.Name)
		}
	}
	return nil
}

// beyondRefolding is the error of documents that are not what was written, and that the stream does not hold all messages of any more.
func (e *engine) beyondRefolding(r *events.Record, documents int) error {
	return events.Errorf(projections.ErrDocumentDamaged, "%d documents of %s are not what was written, and cannot be folded again, since the stream of %s does not hold %d to %d any more; "+
		"nothing was applied", documents, e.def.Name, e.log.Origin(), r.First, r.Sequence).
		Hint("Somebody changed them outside the log. tidemark replay %s --from-start builds it from what is retained.", e.def.Name)
}

// nameOf returns the name by which a record is counted that has no document: of its entity, or of its subject when only that is known.
func nameOf(r *events.Record) string {
	if r.Kind == events.KindMessage {
		return r.Subject
	}
	return r.Event.Entity.String()
}
