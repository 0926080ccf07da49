package httpapi

import "net/http"

// findings answers with what the region's reconciler knows of a read model. Values are always hidden: whoever may see them has the command line.
func (a *API) findings(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r, nil); err != nil {
		return err
	}
	record, err := a.reader.Findings(r.Context(), r.PathValue("projection"), false)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return answer(w, http.StatusOK, record)
}
