package httpapi

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/failure"
)

// Bounds of a body, in bytes.
const (
	// MaxStructuredBytes leaves room for the data of one event in base64, and its attributes.
	MaxStructuredBytes = 2 << 20
	// MaxBatchBytes leaves room for the data of a full append in base64, and the attributes of its events.
	MaxBatchBytes = 16 << 20
	// smallBody is what may be read without asking for a place.
	smallBody = 64 << 10
	// bodyPatience is how long a large body waits for a place.
	bodyPatience = 5 * time.Second
)

const (
	// MaxConfirm is the largest number of regions that an append can ask for.
	MaxConfirm = 32
	// DefaultConfirmWait is how long they get.
	DefaultConfirmWait = 10 * time.Second
)

const (
	structuredType = "application/cloudevents+json"
	batchType      = "application/cloudevents-batch+json"
	cloudEvents    = "application/cloudevents"
)

// receipt is the answer to an append.
type receipt struct {
	Position  events.Position `json:"position"`
	First     uint64          `json:"first"`
	Last      uint64          `json:"last"`
	Duplicate bool            `json:"duplicate"`
	// Confirmed are the regions that hold the events; only when it was asked for.
	Confirmed []string `json:"confirmed,omitempty"`
}

// publish appends the events of a request, all or none.
func (a *API) publish(w http.ResponseWriter, r *http.Request) error {
	confirm, err := a.confirmation(r)
	if err != nil {
		return err
	}
	list, err := a.read(w, r)
	if err != nil {
		return err
	}
	expect, err := expectations(r.Header.Values(headerExpect), list)
	if err != nil {
		return err
	}
	if confirm.regions > 0 { // before the append: overloaded means that nothing was written
		release, err := a.place()
		if err != nil {
			return err
		}
		defer release()
	}
	ctx, cancel := context.WithTimeout(r.Context(), appendPatience)
	defer cancel()
	done, err := a.log.Append(ctx, events.Batch{Events: list, Expect: expect})
	if err != nil {
		return err
	}
	told := receipt{Position: done.Position, First: done.First, Last: done.Last, Duplicate: done.Duplicate}
	if confirm.regions > 0 {
		waiting, cancel := context.WithTimeout(r.Context(), confirm.wait)
		defer cancel()
		defer context.AfterFunc(a.stopping, cancel)() //nolint:contextcheck // the wait ends when the service stops, too
		if told.Confirmed, err = events.Confirm(waiting, a.options.Floors, done.Position, confirm.regions); err != nil {
			return failure.At(err, done.Position)
		}
	}
	w.Header().Set(headerPosition, done.Position.String())
	status := http.StatusCreated
	if done.Duplicate {
		status = http.StatusOK
	}
	return answer(w, status, told)
}

// confirmation is how many regions must hold the events before the answer, and how long that may take.
type confirmation struct {
	regions int
	wait    time.Duration
}

func (a *API) confirmation(r *http.Request) (c confirmation, err error) {
	values, err := parameters(r, nil, "confirm", "wait")
	if err != nil {
		return c, err
	}
	c.wait = DefaultConfirmWait
	if values.Has("wait") {
		c.wait, err = time.ParseDuration(values.Get("wait"))
		if err != nil || c.wait <= 0 || c.wait > query.MaxWait {
			return c, events.Errorf(projections.ErrInvalidQuery, "a wait of %q is not a duration such as 5s, above 0 and at most %s", clip(values.Get("wait")), query.MaxWait)
		}
	}
	if !values.Has("confirm") {
		if values.Has("wait") {
			return c, events.Errorf(projections.ErrInvalidQuery, "wait is for confirm, and there is none; nothing was written")
		}
		return c, nil
	}
	c.regions, err = strconv.Atoi(values.Get("confirm"))
	switch {
	case err != nil || c.regions < 1 || c.regions > MaxConfirm:
		return c, events.Errorf(projections.ErrInvalidQuery, "%q is not a number of regions from 1 to %d; nothing was written", clip(values.Get("confirm")), MaxConfirm)
	case a.options.Floors == nil:
		return c, events.Errorf(projections.ErrInvalidQuery, "this region stands alone, and no other can confirm anything; nothing was written")
	}
	return c, nil
}

// read returns the events of a request, in whichever mode they come.
//
// Source: CloudEvents HTTP Protocol Binding 1.0.2, section 3.
func (a *API) read(w http.ResponseWriter, r *http.Request) ([]events.Event, error) {
	attributes, err := attributeHeaders(r.Header)
	if err != nil {
		return nil, err
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, events.Errorf(failure.ErrMediaType, "a body with the encoding %q is not read; nothing was written", clip(e)).Hint("Send it as it is.")
	}
	contentType := r.Header.Get("Content-Type")
	media, limit, err := mode(contentType, len(attributes) > 0)
	if err != nil {
		return nil, err
	}
	body, err := a.body(w, r, limit)
	if err != nil {
		return nil, err
	}
	if media == "" {
		e, err := binaryEvent(attributes, contentType, r.Header, body)
		return []events.Event{e}, err
	}
	if len(attributes) > 0 {
		return nil, events.Errorf(events.ErrInvalidEvent, "the body is of the type %s and carries the attributes, and there are ce- headers too; nothing was written", media).
			Hint("Send the attributes in one place.")
	}
	if err := events.CheckJSON(body); err != nil {
		return nil, err
	}
	if media == batchType {
		return batchEvents(body)
	}
	e, err := structuredEvent(body)
	return []events.Event{e}, err
}

// mode returns the media type of the structured or the batched mode, empty for the binary one, and how large the body may be.
func mode(contentType string, attributes bool) (media string, limit int64, err error) {
	refuse := func() error {
		return events.Errorf(failure.ErrMediaType, "the content type %q is not read here, or there are no ce- headers beside it; nothing was written", clip(contentType)).
			Hint("Send %s, %s, or any type with the attributes as ce- headers.", structuredType, batchType)
	}
	media, parameters, parseErr := mime.ParseMediaType(contentType)
	switch {
	case contentType != "" && parseErr != nil:
		return "", 0, refuse()
	case media == structuredType || media == batchType:
		if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
			return "", 0, refuse()
		}
		if media == batchType {
			return media, MaxBatchBytes, nil
		}
		return media, MaxStructuredBytes, nil
	case strings.HasPrefix(media, cloudEvents) || !attributes:
		return "", 0, refuse()
	}
	return "", events.MaxDataBytes, nil
}

// body reads at most limit bytes. Large bodies wait for one of a bounded number of places.
func (a *API) body(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength < 0 || r.ContentLength > smallBody {
		patience := time.NewTimer(bodyPatience)
		defer patience.Stop()
		select {
		case a.bodies <- struct{}{}:
			defer func() { <-a.bodies }()
		case <-patience.C:
			return nil, events.Errorf(events.ErrOverloaded, "%d large bodies are being read already; nothing was written", cap(a.bodies)).
				Hint("Send it again in a moment.")
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, events.Errorf(events.ErrTooLarge, "the body has more than %d bytes; nothing was written", tooLarge.Limit).
			Hint("Split it, or store the data elsewhere and publish a reference.")
	}
	if err != nil {
		return nil, events.Errorf(failure.ErrInvalidRequest, "the body could not be read to its end: %w; nothing was written", err)
	}
	return body, nil
}
