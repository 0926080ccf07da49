// Package projections is the domain of the read side: what a projection is, which partition a document belongs to, how
// a read model is fingerprinted, and what a store of read models must do to be one (the Store port).
//
// A projection is a pure fold from events to documents. The projector beside this package runs it, query reads its result,
// replay is a job of the projector. Nothing here imports a broker's or a database's client.
//
// Reading order: projection.go, typed.go, store.go, then projector/.
package projections
