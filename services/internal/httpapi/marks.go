package httpapi

import (
	"context"
	"net/http"
	"strconv"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// marks answers with what a read model was at the marks that it passed, for whoever compares regions.
func (a *API) marks(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r, nil, readParameters("at")...)
	if err != nil {
		return err
	}
	var o query.MarksOptions
	if o.Options, err = readOptions(r, values); err != nil {
		return err
	}
	if values.Has("at") {
		if o.At, err = strconv.ParseUint(values.Get("at"), 10, 64); err != nil || o.At == 0 {
			return events.Errorf(projections.ErrInvalidQuery, "%q is not the sequence of a mark", clip(values.Get("at"))).Hint("Leave at out for the sums alone.")
		}
	}
	var m query.Marks
	err = a.asked(r, o.Options, func(ctx context.Context) (err error) {
		m, err = a.reader.Marks(ctx, r.PathValue("projection"), o)
		return err
	})
	if err != nil {
		return err
	}
	at := m.Stands()
	stand(w.Header(), &at)
	w.Header().Set("Cache-Control", "no-store")
	return answer(w, http.StatusOK, m)
}
