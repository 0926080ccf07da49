module tidemark.dev/projections

go 1.26.0

require (
	github.com/minio/highwayhash v1.0.4
	tidemark.dev/events v0.0.0
)

require golang.org/x/sys v0.21.0 // indirect

replace tidemark.dev/events => ../events
