package nats

type Conn struct{}
