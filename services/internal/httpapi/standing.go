package httpapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"tidemark.dev/projections/query"
)

// stand says where an answer stands.
func stand(h http.Header, s *query.Standing) {
	h.Set(headerPosition, s.Position.String())
	h.Set(headerGeneration, strconv.FormatUint(uint64(s.Generation), 10))
	if s.At != "" {
		h.Set(headerAt, s.At)
	}
	if s.Lag == nil {
		h.Set(headerLag, "unknown")
		return
	}
	h.Set(headerLag, strconv.FormatUint(s.Lag.Events, 10))
	h.Set(headerLagAt, s.Lag.At.Format(time.RFC3339Nano))
}

// tell answers with content, unless it is the one that the client has.
func tell(w http.ResponseWriter, r *http.Request, s *query.Standing, content any) error {
	h := w.Header()
	stand(h, s)
	tag := `W/"` + s.ETag + `"` // weak, because position and lag beside the content move on
	h.Set("ETag", tag)
	h.Set("Cache-Control", "no-cache") // a cache may keep it, and asks again before it uses it
	if r.Method != http.MethodPost && matches(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return answer(w, http.StatusOK, content)
}

func matches(headers []string, tag string) bool {
	for _, h := range headers {
		for candidate := range strings.SplitSeq(h, ",") {
			if candidate = strings.TrimSpace(candidate); candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
	}
	return false
}
