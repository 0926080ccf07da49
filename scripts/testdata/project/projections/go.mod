module tidemark.dev/projections

go 1.26.0

require tidemark.dev/events v0.0.0

replace tidemark.dev/events => ../events
