package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// readPause is what a reader rests after each question.
const readPause = 100 * time.Millisecond

// reader asks for one document that does not change any more, again and again. A service may say that it cannot answer. It may not say anything else
// than what is true, and "no such document" is not.
type reader struct {
	region string
	target string // base URL of the query service
	key    string
	want   airport

	mu       sync.Mutex
	answered int
	refused  int
}

func (r *reader) run(ctx context.Context, stop <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-stop:
			return nil
		case <-time.After(readPause):
		}
		var answer struct {
			Document airport `json:"document"`
		}
		err := get(ctx, r.target+"/v1/models/airports/"+r.key+"?wait=0", &answer)
		var no *refusal
		switch {
		case err == nil && answer.Document != r.want:
			return fmt.Errorf("%s: airports %s was answered with %+v, and is %+v", r.region, r.key, answer.Document, r.want)
		case errors.As(err, &no) && no.Status < http.StatusInternalServerError:
			return fmt.Errorf("%s: airports %s, which exists, was answered with %w", r.region, r.key, no)
		}
		r.mu.Lock()
		if err == nil {
			r.answered++
		} else {
			r.refused++
		}
		r.mu.Unlock()
	}
}

func (r *reader) counts() (answered, refused int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answered, r.refused
}
