// Package topology reads tidemark.yaml: which regions exist, where their servers are, and which region leads which origin. It exists so that
// every program of an installation reads the same file in the same way, and so that a mistake in it is found before anything is started.
package topology
