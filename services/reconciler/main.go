// Command reconciler keeps the read models of a region what the log says. See reconciler --help.
package main

import "tidemark.dev/services/internal/service"

func main() {
	service.Main("reconciler", "Keeps the read models of a region what the log says: compares, scrubs, repairs", open)
}
