module tidemark.dev/projections

go 1.26.0

require (
	cel.dev/cel-go v0.33.2
	github.com/klauspost/compress v1.20.3
	github.com/minio/highwayhash v1.0.4
	go.yaml.in/yaml/v3 v3.0.6
	tidemark.dev/events v0.0.0
)

require (
	cel.dev/expr v0.25.1 // indirect
	github.com/antlr4-go/antlr/v4 v4.13.1 // indirect
	golang.org/x/exp v0.0.0-20240823005443-9b4947da3948 // indirect
	golang.org/x/sys v0.21.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20240826202546-f6391c0de4c7 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20240826202546-f6391c0de4c7 // indirect
	google.golang.org/protobuf v1.36.10 // indirect
)

replace tidemark.dev/events => ../events
