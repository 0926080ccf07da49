module tidemark.dev/services

go 1.26.0

require (
	tidemark.dev/events v0.0.0
	tidemark.dev/infra v0.0.0
	tidemark.dev/projections v0.0.0
)

replace (
	tidemark.dev/events => ../events
	tidemark.dev/infra => ../infra
	tidemark.dev/projections => ../projections
)
