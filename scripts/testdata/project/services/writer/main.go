// Command writer writes.
package main

import (
	"fmt"
	"os"

	"tidemark.dev/projections"
)

func main() {
	fmt.Println(initLog().Conn(), projections.Fold(nil), os.Getenv("HOME"))
}
