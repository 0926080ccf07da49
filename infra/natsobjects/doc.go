// Package natsobjects keeps the snapshots of a region's read models in one JetStream object store.
//
// What is stored is laid out as every object store is, so `nats object` lists and reads it. The client's own way of writing and reading one is not used:
//
//   - It sends the description right behind the last part, before the parts are acknowledged. When one of them is refused, the description
//     stays, and an object is listed that cannot be read.
//   - It replaces what is there under a name, and of two writers at once the later one wins.
//   - When its context has ended it leaves the parts that are stored already: it removes them in the same context.
//   - Without a deadline, reading an object ends after five seconds, however large it is.
//   - It reads by a consumer that pushes. When all parts are gone it waits until the context ends.
//
// Here each part is stored behind the one before it, by a compare-and-set on the parts' own subject, so that one whose acknowledgement was lost can be sent again; the
// description follows when all are there, if the name is free. Reading asks for one part at a time: it goes at the pace of whoever reads, and needs no consumer.
//
// The connection is one of its own. Parts are large, and the renewal of a lease must not queue behind them.
package natsobjects
