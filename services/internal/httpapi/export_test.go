package httpapi

// Routes returns method and pattern of every route.
func Routes(a *API) []string {
	var out []string
	for _, r := range a.routes() {
		out = append(out, r.method+" "+r.pattern)
	}
	return out
}

// Waiting returns how many requests wait for a position.
func Waiting(a *API) int { return len(a.waits) }

// Watching returns how many watches run.
func Watching(a *API) int { return len(a.watches) }
