module tidemark.dev/infra

go 1.26.0

require (
	tidemark.dev/events v0.0.0
	tidemark.dev/projections v0.0.0
)

replace (
	tidemark.dev/events => ../events
	tidemark.dev/projections => ../projections
)
