// Package probe tries the servers of a topology, so that a person learns which one is missing, refuses the credentials, or is not what the file
// says, before anything runs on them. It only asks; nothing is written.
package probe

import (
	"context"
	"errors"
	"sync"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/topology"
)

const (
	// DefaultTimeout is how long one server gets to answer.
	DefaultTimeout = 5 * time.Second
	// atOnce bounds how many servers are tried at the same time.
	atOnce = 8
)

// ErrNotAsWritten says that a server answers, and is not what the topology file says: JetStream is off, or its domain is another one.
const ErrNotAsWritten = events.Code("not-as-written")

// Codes lists every code of this package.
func Codes() []events.Code { return []events.Code{ErrNotAsWritten} }

// Kinds of servers.
const (
	KindNATS  = "nats"
	KindRedis = "redis"
)

// Result is what came of trying one server.
type Result struct {
	Region  string `json:"region"`
	Kind    string `json:"kind"`
	Address string `json:"address"`
	OK      bool   `json:"ok"`
	// Found says what answered, for example "nats-server 2.15.2, domain us".
	Found string `json:"found,omitempty"`
	// Code, Message and Next say why a server cannot be used: events.ErrUnreachable, events.ErrUnauthorized, ErrNotAsWritten,
	// embedded.ErrUnsafeRedis, topology.ErrSecret, ErrSecretExposed or ErrTLS.
	Code    events.Code `json:"code,omitempty"`
	Message string      `json:"message,omitempty"`
	Next    string      `json:"next,omitempty"`
}

// Servers tries every server of a topology, each for at most timeout (0: DefaultTimeout), and returns the results in the order of regions, NATS before
// Redis. After the end of ctx no server is tried any more.
func Servers(ctx context.Context, t *topology.Topology, env topology.Environment, timeout time.Duration) []Result {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	var results []Result
	var tries []func(context.Context) (string, error)
	for _, r := range t.Regions {
		for _, url := range r.NATS.URLs {
			results = append(results, Result{Region: r.Name, Kind: KindNATS, Address: url})
			tries = append(tries, func(ctx context.Context) (string, error) {
				return tryNATS(ctx, r.NATS, url, t.Origin().Name, env, timeout)
			})
		}
		for _, address := range r.Redis.Addresses {
			results = append(results, Result{Region: r.Name, Kind: KindRedis, Address: address})
			tries = append(tries, func(ctx context.Context) (string, error) { return tryRedis(ctx, r.Redis, address, env, timeout) })
		}
	}
	slots := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i := range results {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			if err := ctx.Err(); err != nil {
				results[i].fill("", events.Errorf(events.ErrUnreachable, "it was not tried: %w", context.Cause(ctx)).Hint("Try again."))
				return
			}
			found, err := tries[i](ctx)
			results[i].fill(found, err)
		})
	}
	all.Wait()
	return results
}

func (r *Result) fill(found string, err error) {
	r.Found, r.OK = found, err == nil
	if err == nil {
		return
	}
	r.Code, r.Message, r.Next = events.ErrUnreachable, err.Error(), "Try again."
	if code, ok := events.CodeOf(err); ok {
		r.Code = code
	}
	if e, ok := errors.AsType[*events.Error](err); ok {
		r.Message, r.Next = e.What, e.Next // the code has a place of its own
	}
}
