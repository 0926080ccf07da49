package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/failure"
)

// status answers with the state of every projection.
func (a *API) status(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r, nil); err != nil {
		return err
	}
	overview, err := a.reader.Overview(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return answer(w, http.StatusOK, overview)
}

// health says that the process is alive, and looks at nothing else: a dead server elsewhere is no reason to restart this one.
func (a *API) health(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, http.StatusOK, map[string]bool{"alive": true})
}

// readyPatience bounds what a probe asks.
const readyPatience = 5 * time.Second

// readiness says whether queries are answered, and if not what is missing.
type readiness struct {
	Ready   bool      `json:"ready"`
	Missing []Missing `json:"missing,omitempty"`
}

// Missing is a part of a service that does not work, and why.
type Missing struct {
	Part   string `json:"part"` // service, log, leader, region, or projection NAME
	Code   string `json:"code,omitempty"`
	Reason string `json:"reason"`
}

func (a *API) ready(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r, nil); err != nil {
		return err
	}
	answered := readiness{Missing: a.missing(r.Context())}
	answered.Ready = len(answered.Missing) == 0
	status := http.StatusOK
	if !answered.Ready {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	return answer(w, status, answered)
}

func (a *API) missing(ctx context.Context) (out []Missing) {
	if a.stopping.Err() != nil {
		return []Missing{{Part: "service", Code: string(failure.ErrStopping), Reason: "it is stopping"}}
	}
	if a.options.Waiting != nil {
		return []Missing{Lacks("service", a.options.Waiting())}
	}
	if a.options.Check != nil {
		out = a.options.Check(ctx)
	}
	if a.reader == nil {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	overview, err := a.reader.Overview(ctx)
	if err != nil {
		return append(out, Lacks("region", err))
	}
	return append(out, a.unread(ctx, &overview)...)
}

// Lacks says that a part is missing because of an error.
func Lacks(part string, err error) Missing {
	told := failure.Tell(err)
	return Missing{Part: part, Code: string(told.Code), Reason: told.Message}
}

// unread returns what keeps queries from being answered. How far the region's copy of the log is behind the leader's is none of it: a region
// that is cut off goes on answering, and every answer says that its lag is not known.
func (a *API) unread(ctx context.Context, overview *query.Overview) (out []Missing) {
	if overview.Head.IsZero() {
		out = append(out, Missing{Part: "log", Reason: "it does not answer"})
	}
	wanted := a.expected(ctx, overview)
	for i := range overview.Projections {
		m := &overview.Projections[i]
		expected := slices.Contains(wanted, m.Name)
		wanted = slices.DeleteFunc(wanted, func(name string) bool { return name == m.Name })
		if expected && m.State != string(projections.Live) {
			out = append(out, Missing{Part: "projection " + m.Name, Reason: "its read model is " + m.State})
		}
	}
	for _, name := range wanted {
		out = append(out, Missing{Part: "projection " + name, Reason: "its projector has not begun"})
	}
	return out
}

// expected returns the names of the projections that must be live.
func (a *API) expected(ctx context.Context, overview *query.Overview) []string {
	if a.options.Expected != nil {
		return a.options.Expected(ctx, overview)
	}
	all := slices.Clone(a.options.Projections)
	for i := range overview.Projections {
		all = append(all, overview.Projections[i].Name)
	}
	return all
}
