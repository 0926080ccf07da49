package replica

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"tidemark.dev/events"
)

// status is what Replication answers: the newest look, and when it was taken.
type status struct {
	cfg Config
	log *slog.Logger

	mu       sync.Mutex
	now      events.Replication
	at       time.Time
	begun    time.Time
	followed bool // it did, at least once
	warned   bool // that it does not follow now
}

// startPatience is how long a copy may take to follow for the first time before that is worth a warning.
const startPatience = 10 * time.Second

func newStatus(cfg Config, log *slog.Logger) *status {
	now := time.Now()
	return &status{cfg: cfg, log: log, begun: now, at: now, now: events.Replication{
		Origin: cfg.Origin, Region: cfg.Region, Leader: cfg.Leader, State: events.CopyUnknown, Since: now.UTC(),
		Code: events.ErrUnreachable, Message: "the leader " + cfg.Leader + " was not asked yet",
	}}
}

// view is what one look came to.
type view struct {
	state      events.CopyState
	err        error // why the state is not CopyFollows
	head       events.Position
	leaderHead events.Position // zero: not seen this time
	lag        *events.ReplicationLag
	begins     uint64 // the first sequence of a copy that does not begin with the log's; 0: it does, or that was not looked at
}

func unknown(head events.Position, err error) view {
	return view{state: events.CopyUnknown, err: err, head: head}
}

func (s *status) set(ctx context.Context, v view) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.now
	s.at = time.Now()
	s.now.State, s.now.Head, s.now.Lag, s.now.Looked = v.state, v.head, v.lag, s.at.UTC()
	if v.begins != 0 {
		s.now.Begins = v.begins
	}
	if !v.leaderHead.IsZero() {
		s.now.LeaderHead = v.leaderHead
	}
	s.now.Code, s.now.Message = "", ""
	if v.err != nil {
		s.now.Code, s.now.Message = explain(v.err)
	}
	if before.State != s.now.State {
		s.now.Since = s.at.UTC()
	}
	s.followed = s.followed || v.state == events.CopyFollows
	starting := !s.followed && v.state == events.CopyUnknown && s.at.Sub(s.begun) < startPatience
	overdue := v.state == events.CopyUnknown && !s.warned && !starting
	if before.State != s.now.State || before.Code != s.now.Code || overdue {
		s.tell(ctx, starting)
	}
}

// tell writes the one line of a change.
func (s *status) tell(ctx context.Context, starting bool) {
	level, n := slog.LevelInfo, &s.now
	attrs := []slog.Attr{
		slog.String("region", n.Region), slog.String("origin", n.Origin), slog.String("leader", n.Leader), slog.String("state", string(n.State)),
		slog.String("head", n.Head.String()),
	}
	s.warned = n.State != events.CopyFollows && !starting
	switch {
	case n.State == events.CopyDiverged:
		level = slog.LevelError
	case s.warned:
		level = slog.LevelWarn
	}
	if n.State != events.CopyFollows {
		attrs = append(attrs, slog.String("code", string(n.Code)), slog.String("reason", n.Message))
	}
	s.log.LogAttrs(ctx, level, "the copy of the log changed its state", attrs...)
}

// replication returns the newest look. One that is too old says nothing about now.
func (s *status) replication() events.Replication {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.now
	if out.Lag != nil {
		lag := *out.Lag
		out.Lag = &lag
	}
	if age := time.Since(s.at); out.State == events.CopyFollows && age > staleFor {
		out.State, out.Lag, out.Since = events.CopyUnknown, nil, s.at.UTC()
		out.Code = events.ErrUnreachable
		out.Message = fmt.Sprintf("the copy was not compared with its leader for %s", age.Round(time.Second))
	}
	return out
}

// explain returns an error's code, and its text without it.
func explain(err error) (events.Code, string) {
	code, ok := events.CodeOf(err)
	if !ok {
		return events.ErrUnreachable, err.Error()
	}
	return code, strings.TrimPrefix(err.Error(), string(code)+": ")
}
