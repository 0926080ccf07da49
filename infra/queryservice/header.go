package queryservice

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
)

// Headers of an answer. Those of the position are the same as over HTTP.
const (
	HeaderRegion     = "Tidemark-Region"
	HeaderPosition   = "Tidemark-Position"
	HeaderLag        = "Tidemark-Lag"    // events, or unknown
	HeaderLagAt      = "Tidemark-Lag-At" // as of when
	HeaderGeneration = "Tidemark-Generation"
	HeaderAt         = "Tidemark-At" // the name of the copy that the answer is from; not there when it is from the live read model
	// HeaderError and HeaderErrorCode are those of every micro service: the code is a stable one, the text is for people. The body is a Problem.
	HeaderError     = micro.ErrorHeader
	HeaderErrorCode = micro.ErrorCodeHeader
)

// Headers of a request; both may be left out.
const (
	// HeaderTimeout says how long the asker waits for the answer, such as 750ms, counted from when the request arrives: clocks of two machines differ. The service gives
	// the work up then.
	HeaderTimeout = "Tidemark-Timeout"
	// HeaderMaxAnswer is the largest answer that the asker's servers let through, in bytes. A message that is larger would break the link between regions.
	HeaderMaxAnswer = "Tidemark-Max-Answer"
)

const unknownLag = "unknown"

// stand writes where an answer stands. One that is about no read model stands nowhere.
func stand(h nats.Header, s query.Standing) {
	if s.Generation == 0 {
		return
	}
	h.Set(HeaderPosition, s.Position.String())
	h.Set(HeaderGeneration, strconv.FormatUint(uint64(s.Generation), 10))
	if s.At != "" {
		h.Set(HeaderAt, s.At)
	}
	if s.Lag == nil {
		h.Set(HeaderLag, unknownLag)
		return
	}
	h.Set(HeaderLag, strconv.FormatUint(s.Lag.Events, 10))
	h.Set(HeaderLagAt, s.Lag.At.Format(time.RFC3339Nano))
}

// bounds is what a request's headers say.
type bounds struct {
	timeout   time.Duration // 0: it does not say
	maxAnswer int64
}

func readBounds(h nats.Header, maxPayload int64) (bounds, error) {
	b := bounds{maxAnswer: maxPayload}
	if text := h.Get(HeaderTimeout); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return b, events.Errorf(projections.ErrInvalidQuery, "the header %s is %q, which is no duration such as 750ms", HeaderTimeout, clip(text))
		}
		b.timeout = min(d, maxTimeout)
	}
	if text := h.Get(HeaderMaxAnswer); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n <= 0 {
			return b, events.Errorf(projections.ErrInvalidQuery, "the header %s is %q, which is no number of bytes", HeaderMaxAnswer, clip(text))
		}
		b.maxAnswer = min(n, maxPayload)
	}
	return b, nil
}

func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
