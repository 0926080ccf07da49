package httpapi

import (
	"context"
	"net/http"
	"slices"

	"tidemark.dev/projections"
	"tidemark.dev/services/internal/failure"
)

// status answers with the state of every projection.
func (a *API) status(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r); err != nil {
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

// readiness says whether queries are answered, and if not what is missing.
type readiness struct {
	Ready   bool      `json:"ready"`
	Missing []missing `json:"missing,omitempty"`
}

type missing struct {
	Part   string `json:"part"` // log, region, or projection NAME
	Code   string `json:"code,omitempty"`
	Reason string `json:"reason"`
}

func (a *API) ready(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r); err != nil {
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

func (a *API) missing(ctx context.Context) (out []missing) {
	if a.stopping.Err() != nil {
		return []missing{{Part: "service", Code: string(failure.ErrStopping), Reason: "it is stopping"}}
	}
	overview, err := a.reader.Overview(ctx)
	if err != nil {
		told := failure.Tell(err)
		return []missing{{Part: "region", Code: string(told.Code), Reason: told.Message}}
	}
	if overview.Head.IsZero() {
		out = append(out, missing{Part: "log", Reason: "it does not answer"})
	}
	wanted := slices.Clone(a.options.Projections)
	for i := range overview.Projections {
		m := &overview.Projections[i]
		wanted = slices.DeleteFunc(wanted, func(name string) bool { return name == m.Name })
		part := "projection " + m.Name
		switch {
		case m.Projector == projections.ProjectorRefused || m.Projector == projections.ProjectorWaiting:
			out = append(out, missing{Part: part, Code: m.Code, Reason: "its projector says: " + m.Message})
		case m.State != string(projections.Live):
			out = append(out, missing{Part: part, Reason: "its read model is " + m.State})
		}
	}
	for _, name := range wanted {
		out = append(out, missing{Part: "projection " + name, Reason: "its projector has not begun"})
	}
	return out
}
