package httpapi

import "net/http"

// projections answers with the projections of the installation, and how each does in this region. Applying, pausing and removing are not here: the API has no
// users, and a definition is everybody's.
func (a *API) projections(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r, nil); err != nil {
		return err
	}
	l, err := a.reader.Catalog(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return answer(w, http.StatusOK, l)
}

// definition answers with one of them, and the text of its file.
func (a *API) definition(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r, nil); err != nil {
		return err
	}
	d, err := a.reader.Definition(r.Context(), r.PathValue("projection"))
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return answer(w, http.StatusOK, d)
}
