package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

const (
	// answerTimeout bounds one request to a service; a query waits up to 5 s by itself.
	answerTimeout = 15 * time.Second
	// maxAnswer bounds what is read of one, in bytes.
	maxAnswer = 32 << 20
	pageSize  = "1000"
)

// page is a page of a read model.
type page[D any] struct {
	Items []struct {
		Key      string `json:"key"`
		Document D      `json:"document"`
		Parked   string `json:"parked"`
	} `json:"items"`
	Next string `json:"next"`
}

// refusal is an answer that is none: a problem document.
type refusal struct {
	Status int
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Actual uint64 `json:"actual"`
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s: %s", r.Status, r.Code, r.Detail) }

// ask sends a request and returns the answer's body and headers; any other status than 200 or 201 is a *refusal.
func ask(ctx context.Context, method, target string, header http.Header, body []byte) ([]byte, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	maps.Copy(r.Header, header)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, nil, err
	}
	if answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusCreated {
		return text, answer.Header, nil
	}
	no := &refusal{}
	if json.Unmarshal(text, no) != nil {
		no.Detail = string(text[:min(len(text), quoted)])
	}
	no.Status = answer.StatusCode
	return nil, nil, no
}

// get decodes the answer to a GET. A member that is not expected is an error.
func get(ctx context.Context, target string, into any) error {
	text, _, err := ask(ctx, http.MethodGet, target, nil, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	return nil
}

// model reads a whole read model, page by page.
func model[D any](ctx context.Context, base, projection string) (map[string]D, error) {
	all := make(map[string]D)
	q := url.Values{"limit": {pageSize}}
	for {
		var p page[D]
		if err := get(ctx, base+"/v1/models/"+projection+"?"+q.Encode(), &p); err != nil {
			return nil, err
		}
		for _, i := range p.Items {
			if _, twice := all[i.Key]; twice || i.Parked != "" {
				return nil, fmt.Errorf("%s %s: listed twice: %v, parked: %q", projection, i.Key, twice, i.Parked)
			}
			all[i.Key] = i.Document
		}
		if p.Next == "" {
			return all, nil
		}
		q.Set("after", p.Next)
	}
}

// differs says what differs first between a read model and what it must hold; "" if nothing does.
func differs[D comparable](name string, got, want map[string]D) string {
	keys := slices.Sorted(maps.Keys(got))
	for key := range want {
		if _, ok := got[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		g, there := got[key]
		w, wanted := want[key]
		switch {
		case !there:
			return fmt.Sprintf("%s %s is missing; expected %+v", name, key, w)
		case !wanted:
			return fmt.Sprintf("%s %s should not be there: %+v", name, key, g)
		case g != w:
			return fmt.Sprintf("%s %s is %+v, expected %+v", name, key, g, w)
		}
	}
	return ""
}

// compare compares every document of a region. It returns how many there are, and what differs first or why they could not be read; "" if nothing.
func compare(ctx context.Context, base string, want expected) (documents int, difference string) {
	airports, err := model[airport](ctx, base, "airports")
	if err != nil {
		return 0, err.Error()
	}
	routes, err := model[route](ctx, base, "routes")
	if err != nil {
		return 0, err.Error()
	}
	if difference = differs("airports", airports, want.airports); difference == "" {
		difference = differs("routes", routes, want.routes)
	}
	return len(airports) + len(routes), difference
}

// copyState returns how a region says that its copy of the log stands: "leads", "follows, 0 behind", "unknown, lag unknown".
func copyState(ctx context.Context, base string) string {
	var status struct {
		Replication *struct {
			State string `json:"state"`
			Lag   *struct {
				Events uint64 `json:"events"`
			} `json:"lag"`
		} `json:"replication"`
	}
	if err := get(ctx, base+"/v1/status", &status); err != nil {
		return err.Error()
	}
	r := status.Replication
	switch {
	case r == nil:
		return "nothing about its copy"
	case r.State == "leads":
		return r.State
	case r.Lag == nil:
		return r.State + ", lag unknown"
	}
	return fmt.Sprintf("%s, %d behind", r.State, r.Lag.Events)
}
