// Package catalog is which projections an installation has: one control record of the log, so that every region reads the same.
//
// The record lists them all; the text of a projection's file is in a record of its own, appended in the same transaction. What can be done with a
// catalog (apply, pause, resume, remove, register) are pure functions of it, in operations.go; change.go reads, decides, and appends by
// compare-and-set, in any region.
package catalog
