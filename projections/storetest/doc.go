// Package storetest holds the conformance suites of the read side's ports: RunStore, RunKV, RunLeases, RunSignals and RunSnapshots. Every adapter passes them, the
// in-memory ones too. Each promise of the ports is a subtest that is named after it, so a failing adapter says which promise it breaks.
package storetest
