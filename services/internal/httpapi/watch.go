package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/query"
	"tidemark.dev/services/internal/failure"
)

const (
	headerLastEventID = "Last-Event-ID"
	eventStream       = "text/event-stream"
	// watchPatience is how long a client may take for a part of what it is sent.
	watchPatience = 10 * time.Second
	// watchRetry is after how many milliseconds a client should come back.
	watchRetry = "1000"
)

// The kinds of events of a watch.
const (
	eventChange   = "change"   // the latest state of a document
	eventPosition = "position" // everything up to here was told; its id is the token to go on from
	eventEnd      = "end"      // the watch is over, and why: a problem document
)

// watch tells changes as server-sent events, until the client goes, the service stops, or it cannot go on.
//
// Source: WHATWG HTML, section 9.2, "Server-sent events".
func (a *API) watch(w http.ResponseWriter, r *http.Request) error {
	o, err := watchOptions(r)
	if err != nil {
		return err
	}
	select {
	case a.watches <- struct{}{}:
		defer func() { <-a.watches }()
	default:
		return events.Errorf(events.ErrOverloaded, "%d watches run already; this one did not begin", cap(a.watches)).Hint("Begin in a moment, or at another service.")
	}
	ctx, cancel := a.untilStop(r.Context())
	defer cancel()
	s := stream{w: w, controller: http.NewResponseController(w), patience: a.options.WatchPatience}
	code := ""
	for u, err := range a.reader.Watch(ctx, r.PathValue("projection"), o) {
		if err != nil && !s.begun {
			return err
		}
		if !s.begun {
			s.begin(&u.Standing)
			if r.Method == http.MethodHead {
				return nil
			}
			ended := a.watching(ctx, w)
			defer func() { ended(code) }()
		}
		if err == nil {
			err = s.update(&u)
		} else {
			code = string(failure.Code(err))
			err = s.end(err)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			code = string(failure.ErrTooSlow)
			a.options.Logger.InfoContext(ctx, "a watch was cut off: it did not take what it was sent", "path", r.URL.Path, "seconds", s.patience.Seconds())
		}
		if err != nil {
			break // the client is gone, or will not hear more
		}
	}
	return nil
}

// watchOptions reads what is watched. A client that comes back by itself names the last token that it got in a header: it goes before the one it began with.
func watchOptions(r *http.Request) (o query.WatchOptions, err error) {
	values, err := parameters(r, nil, "token", "prefix", "heartbeat", "at")
	if err != nil {
		return o, err
	}
	o.From, o.Prefix, o.At = values.Get("token"), values.Get("prefix"), values.Get("at") // a copy is refused by whoever watches
	if values.Has("token") && o.From == "" {
		return o, events.Errorf(projections.ErrInvalidCursor, "the token is empty").Hint("Leave token out to watch from now on.")
	}
	if last := r.Header.Get(headerLastEventID); last != "" {
		o.From = last
	}
	if values.Has("heartbeat") {
		if o.Heartbeat, err = time.ParseDuration(values.Get("heartbeat")); err != nil || o.Heartbeat <= 0 {
			return o, events.Errorf(projections.ErrInvalidQuery, "a heartbeat of %q is not a duration such as 5s", clip(values.Get("heartbeat")))
		}
	}
	return o, nil
}

// stream writes server-sent events.
type stream struct {
	w          http.ResponseWriter
	controller *http.ResponseController
	patience   time.Duration
	begun      bool
	text       bytes.Buffer
}

// begin answers the request. The bounds of the server are for answers that end.
func (s *stream) begin(standing *query.Standing) {
	s.begun = true
	_ = s.controller.SetReadDeadline(time.Time{}) // where there is none, there is none
	h := s.w.Header()
	stand(h, standing)
	h.Set("Content-Type", eventStream)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy that gathers answers would hold back what is to be told at once
	s.w.WriteHeader(http.StatusOK)
	s.text.WriteString("retry: " + watchRetry + "\n\n")
}

// update tells the changes of an update, and then where it stands. Only that has an id: a client that breaks off before it gets the changes again.
func (s *stream) update(u *query.Update) error {
	for i := range u.Changes {
		if err := s.event(eventChange, "", &u.Changes[i]); err != nil {
			return err
		}
	}
	if err := s.event(eventPosition, u.Token, &u.Standing); err != nil {
		return err
	}
	return s.flush()
}

// end tells why it is over.
func (s *stream) end(err error) error {
	if err := s.event(eventEnd, "", failure.ProblemOf(err)); err != nil {
		return err
	}
	return s.flush()
}

const streamBuffer = 64 << 10

// event writes one event.
func (s *stream) event(kind, id string, data any) error {
	s.text.WriteString("event: " + kind + "\n")
	if id != "" {
		s.text.WriteString("id: " + id + "\n")
	}
	s.text.WriteString("data: ")
	encoder := json.NewEncoder(&s.text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(data); err != nil { // ends with a line end, and has no other
		return err
	}
	s.text.WriteByte('\n')
	if s.text.Len() < streamBuffer {
		return nil
	}
	return s.write()
}

func (s *stream) write() error {
	_ = s.controller.SetWriteDeadline(time.Now().Add(s.patience))
	_, err := s.w.Write(s.text.Bytes())
	s.text.Reset()
	return err
}

func (s *stream) flush() error {
	if err := s.write(); err != nil {
		return err
	}
	return s.controller.Flush()
}
