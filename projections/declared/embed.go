package declared

import _ "embed" // the files below

//go:embed example.yaml
var example string

//go:embed schema.json
var schema string

// Example returns a file with comments, to begin with. Its tests pass.
func Example() string { return example }

// Schema returns the JSON Schema (draft 2020-12) of the file, for editors.
func Schema() string { return schema }
