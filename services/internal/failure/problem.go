package failure

import (
	"encoding/json"
	"net/http"
)

// Problem is a problem document.
//
// Source: RFC 9457, "Problem Details for HTTP APIs".
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// The members below are ours. Code is the last part of Type.
	Code     string  `json:"code"`
	Next     string  `json:"next,omitempty"` // what to do next
	Entity   string  `json:"entity,omitempty"`
	Expected *uint64 `json:"expected,omitempty"`
	Actual   *uint64 `json:"actual,omitempty"`
	Position string  `json:"position,omitempty"`
}

const (
	// ProblemType is the media type of a problem document.
	ProblemType = "application/problem+json"
	problemURN  = "urn:tidemark:problem:"
	// retryAfter is the Retry-After of what may succeed later, in seconds.
	retryAfter = "1"
)

// ProblemOf returns the problem document of an error. An internal error tells no details: they are for the log, not for the caller.
func ProblemOf(err error) Problem {
	class, report := Of(err), Tell(err)
	if report.Code == ErrInternal {
		report.Message = "something went wrong that has no name; the service's log has it"
	}
	return Problem{
		Type: problemURN + string(report.Code), Title: class.Title, Status: class.Status, Detail: report.Message,
		Code: string(report.Code), Next: report.Next,
		Entity: report.Entity, Expected: report.Expected, Actual: report.Actual, Position: report.Position,
	}
}

// WriteProblem answers a request with an error's problem document.
func WriteProblem(w http.ResponseWriter, err error) {
	problem := ProblemOf(err)
	text, marshalErr := json.Marshal(problem)
	if marshalErr != nil {
		text = []byte(`{}`) // strings and numbers always marshal
	}
	h := w.Header()
	h.Set("Content-Type", ProblemType)
	h.Set("Cache-Control", "no-store")
	if Of(err).Later {
		h.Set("Retry-After", retryAfter)
	}
	w.WriteHeader(problem.Status)
	_, _ = w.Write(append(text, '\n')) // the client is gone: nobody is left to be told
}
