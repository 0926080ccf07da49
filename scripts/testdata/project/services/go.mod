module tidemark.dev/services

go 1.26.0

require (
	github.com/google/wire v1.0.0
	tidemark.dev/infra v0.0.0
	tidemark.dev/projections v0.0.0
)

require (
	github.com/nats-io/nats.go v1.0.0 // indirect
	tidemark.dev/events v0.0.0 // indirect
)

replace (
	github.com/google/wire => ../../stand-ins/wire
	github.com/nats-io/nats.go => ../../stand-ins/nats.go
	tidemark.dev/events => ../events
	tidemark.dev/infra => ../infra
	tidemark.dev/projections => ../projections
)
