module tidemark.dev/projections

go 1.26.0

require (
	github.com/nats-io/nats.go v1.0.0
	tidemark.dev/events v0.0.0
)

replace (
	github.com/nats-io/nats.go => ../../stand-ins/nats.go
	tidemark.dev/events => ../events
)
