// Command query answers queries from the read models of a region. See query --help.
package main

import "tidemark.dev/services/internal/service"

func main() {
	service.Main("query", "Answers queries from a region's read models", open)
}
