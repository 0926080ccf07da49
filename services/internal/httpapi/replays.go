package httpapi

import "net/http"

// replays answers with the replays of a read model that the region remembers. None is asked for here: HTTP has no users.
func (a *API) replays(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r, nil); err != nil {
		return err
	}
	list, err := a.reader.Replays(r.Context(), r.PathValue("projection"))
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return answer(w, http.StatusOK, list)
}
