package topology

import "strings"

// Environment is the variables of a process, "NAME=value" each, as os.Environ returns them.
type Environment []string

// Lookup returns the value of a variable, and whether it is set. Of a variable that is there twice, the last counts.
func (e Environment) Lookup(name string) (value string, set bool) {
	for i := len(e) - 1; i >= 0; i-- {
		if n, v, ok := strings.Cut(e[i], "="); ok && n == name {
			return v, true
		}
	}
	return "", false
}
