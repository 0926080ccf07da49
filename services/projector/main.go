// Command projector projects a region's log into its read models. See projector --help.
package main

import "tidemark.dev/services/internal/service"

func main() {
	service.Main("projector", "Projects a region's log into its read models", open)
}
