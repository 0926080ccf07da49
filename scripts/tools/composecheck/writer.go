package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// writePause is what a writer rests after each event: the check counts, it does not measure.
	writePause = 25 * time.Millisecond
	// retryPause is what it rests after an answer that is none.
	retryPause = 250 * time.Millisecond
	// repeatFor is how long an event without expectation may be sent again: half of the time for which the servers know its id.
	repeatFor = time.Minute
	// settleFor is how long the last event gets to be acknowledged once the writers are told to stop.
	settleFor = 2 * time.Minute
)

// writer publishes flights that land at one airport of its own, one after the other, and repeats each until it is acknowledged. So at the end
// the airport must have had exactly these landings, whatever was stopped meanwhile. Each has its own delay, so that a sum tells which is missing.
type writer struct {
	name   string // of the airport
	target string // base URL of the service it publishes to
	expect bool   // whether it says at which sequence the airport must be; then a repetition is safe at any age

	mu         sync.Mutex
	landed     []flight
	last       uint64 // sequence of its last event
	attempts   int
	unknown    int // answers that left it open whether the event was stored
	duplicates int // events that an earlier attempt had stored; the earlier one may be a repetition between two services
}

// acknowledged returns the flights whose events were acknowledged.
func (w *writer) acknowledged() []flight {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.landed[:len(w.landed):len(w.landed)]
}

// run publishes until stop is closed and the event under way is acknowledged. It returns an error when an answer breaks a promise.
func (w *writer) run(ctx context.Context, stop <-chan struct{}) error {
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-stop:
			return nil
		case <-time.After(writePause):
		}
		f := landing(w.name, n)
		if err := w.publish(ctx, stop, n, f); err != nil {
			return fmt.Errorf("writer %s at %s, event %d: %w", w.name, w.target, n, err)
		}
	}
}

// landing returns the n-th flight that lands at an airport of this check.
func landing(airport string, n int) flight {
	return flight{Date: fmt.Sprintf("2030/01/01 %08d", n), Delay: int64(n), Distance: 1, Origin: "CHECK", Destination: airport}
}

// eventHeader returns the attributes of a landing at an airport, in the binary mode of CloudEvents.
func eventHeader(airport string, n int) http.Header {
	return http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Source": {"urn:tidemark:compose-check"}, "Ce-Id": {airport + "-" + strconv.Itoa(n)},
		"Ce-Type": {"FlightLanded"}, "Ce-Subject": {"airport/" + airport}, "Content-Type": {"application/json"},
	}
}

// publish repeats one event until it is acknowledged.
func (w *writer) publish(ctx context.Context, stop <-chan struct{}, n int, f flight) error {
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	header := eventHeader(w.name, n)
	switch {
	case w.expect && w.last == 0:
		header.Set("Tidemark-Expect", "none")
	case w.expect:
		header.Set("Tidemark-Expect", strconv.FormatUint(w.last, 10))
	}
	begin := time.Now()
	var told time.Time // when the writers were told to stop
	for attempt := 1; ; attempt++ {
		text, _, err := ask(ctx, http.MethodPost, w.target+"/v1/events", header, body)
		done, err := w.answer(f, attempt, text, err)
		if done || err != nil {
			return err
		}
		if !w.expect && time.Since(begin) > repeatFor {
			return fmt.Errorf("%w: without an answer for %s; an event without expectation cannot be repeated longer", errCannot, repeatFor)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-stop:
			if told.IsZero() {
				told = time.Now()
			}
			if time.Since(told) > settleFor {
				return fmt.Errorf("not acknowledged within %s of the end: %w", settleFor, err)
			}
		default:
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(retryPause):
		}
	}
}

// answer says whether the event is acknowledged, and returns an error if it never can be.
func (w *writer) answer(f flight, attempt int, text []byte, err error) (done bool, broken error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts++
	var no *refusal
	switch {
	case err == nil:
		var receipt struct {
			Last      uint64 `json:"last"`
			Duplicate bool   `json:"duplicate"`
		}
		if err := json.Unmarshal(text, &receipt); err != nil {
			return false, err
		}
		if receipt.Duplicate {
			w.duplicates++
		}
		return true, w.stored(f, receipt.Last)
	case !errors.As(err, &no):
		w.unknown++ // the connection broke, or nothing listens
		return false, nil
	case no.Code == "conflict" && w.expect && attempt > 1 && no.Actual > w.last:
		// Nobody else writes about this airport, so what moved it is an earlier attempt of ours.
		w.duplicates++
		return true, w.stored(f, no.Actual)
	case no.Status == http.StatusGatewayTimeout:
		w.unknown++
		return false, nil
	case no.Status >= http.StatusInternalServerError:
		return false, nil
	}
	return false, no
}

func (w *writer) stored(f flight, last uint64) error {
	if last <= w.last {
		return fmt.Errorf("acknowledged at sequence %d, not after %d", last, w.last)
	}
	w.landed, w.last = append(w.landed, f), last
	return nil
}
