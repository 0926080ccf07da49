package topology

import _ "embed" // the files below

//go:embed example.yaml
var example string

//go:embed schema.json
var schema string

// Example returns a topology file of three regions with comments, which passes every check that needs no server.
func Example() string { return example }

// Schema returns the JSON Schema (draft 2020-12) of the topology file, for editors.
func Schema() string { return schema }
