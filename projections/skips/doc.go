// Package skips is how an event that cannot be applied to a document is passed over: by a record of the log, so that every region and every
// replay does the same.
//
// The records of a projection are the control records skip.<projection>. Each is cumulative: it repeats every skip before it and adds at least
// one. What they mean to a document is in the projector; here is what makes a record one that is obeyed (List), and how one is written (Write).
package skips
