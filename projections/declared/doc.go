// Package declared makes projections of YAML files, for everybody who does not want to write a fold in Go.
//
// A file is read and compiled once, with every mistake reported at its line and column; what comes out is a projections.Projection like any
// other. It is deterministic by construction: one number rule, no clock, no floats, no order of a map, no zone of the machine, a bound on every
// expression. README.md has every key.
package declared
