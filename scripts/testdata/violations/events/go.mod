module tidemark.dev/events

go 1.26.0

require github.com/nats-io/nats.go v1.0.0

replace github.com/nats-io/nats.go => ../../stand-ins/nats.go
