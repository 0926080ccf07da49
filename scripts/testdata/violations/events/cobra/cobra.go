// Package cobra runs.
package cobra

// Run runs.
func Run() error { return nil }
