// Command writer takes the appends of a region, and keeps its copy of the log. See writer --help.
package main

import "tidemark.dev/services/internal/service"

func main() {
	service.Main("writer", "Takes events for a region's log: appends them where the region leads, forwards them where it mirrors, and keeps the mirror", open)
}
