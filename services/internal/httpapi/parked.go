package httpapi

import (
	"net/http"
	"strconv"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// parked answers with a page of parked documents. Values in reasons are always hidden: whoever may see them has the command line.
func (a *API) parked(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r, nil, "limit", "after", "at")
	if err != nil {
		return err
	}
	o := query.ParkedOptions{After: values.Get("after")}
	if values.Has("limit") {
		if o.Limit, err = strconv.Atoi(values.Get("limit")); err != nil || o.Limit == 0 {
			return events.Errorf(projections.ErrInvalidQuery, "a limit of %q is not a number from 1 to %d", clip(values.Get("limit")), query.MaxLimit)
		}
	}
	if o.At, err = copyName(values); err != nil {
		return err
	}
	page, err := a.reader.Parked(r.Context(), r.PathValue("projection"), o)
	if err != nil {
		return err
	}
	page.Hide()
	stand(w.Header(), &page.Standing)
	w.Header().Set("Cache-Control", "no-cache")
	return answer(w, http.StatusOK, page)
}
