// Package importer turns lines of JSON into events.
//
// A map says which events a line becomes. Whole lines travel in atomic batches, each together with one control record, the cursor, which
// is compared and set: it names how many lines are imported, and the hash of all their bytes. So an import can be killed at any moment and
// run again: it goes on where it stood. Run twice, it adds nothing. A file that grew is continued; a file whose beginning changed, or a map
// that changed, is refused, because what is in the log already would not be what the file says.
//
//	bytes -> lines.go -> batch.go (with map.go) -> one batch ahead -> run.go -> the log
package importer
