package events

import (
	"errors"
	"fmt"
	"os"

	"tidemark.dev/events/cobra"
)

// Shared is global.
var Shared = 1

func init() { Shared++ }

func Undocumented() error {
	defer os.Remove("x")
	if err := cobra.Run(); err == os.ErrExist {
		return fmt.Errorf("x: %v", err)
	}
	return errors.New("y")
}
