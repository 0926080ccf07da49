package flights

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"io"
)

// The real flights; see data/README.md for their source.
//
//go:embed data/flights-20k.ndjson.gz
var compressed []byte

// How a flight becomes two events, for tidemark import.
//
//go:embed data/flights.map.yaml
var mapping []byte

// Map returns the import map of the flights.
func Map() []byte { return bytes.Clone(mapping) }

// Count is the number of flights in Data.
const Count = 20_000

// Data returns the flights as compressed lines of JSON (NDJSON, gzip).
func Data() []byte { return bytes.Clone(compressed) }

// Lines returns a reader of the flights as lines of JSON.
func Lines() (io.Reader, error) { return gzip.NewReader(bytes.NewReader(compressed)) }
