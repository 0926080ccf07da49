package bad

import "github.com/google/wire"

// Set is empty.
func Set() string { return wire.Build() }
