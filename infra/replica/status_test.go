package replica

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tidemark.dev/events"
)

// TestAStartIsNoReasonToWarn: a copy that does not follow yet is normal for some seconds, and a warning then, once.
func TestAStartIsNoReasonToWarn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		count := func(level string) int { return strings.Count(log.String(), "level="+level) }
		s := newStatus(Config{Origin: "us", Region: "eu", Leader: "us"}, slog.New(slog.NewTextHandler(&log, nil)))
		ctx := context.Background()
		none := unknown(events.Position{}, events.Errorf(events.ErrNoLog, "nothing is copied yet"))
		away := unknown(events.Position{}, errors.New("the link is down"))
		s.set(ctx, none)
		s.set(ctx, away)
		if count("WARN") != 0 || count("INFO") == 0 {
			t.Errorf("a start says\n%s", &log)
		}
		for range 30 {
			time.Sleep(time.Second)
			s.set(ctx, away)
		}
		if count("WARN") != 1 {
			t.Errorf("a copy that does not begin says\n%s", &log)
		}
		log.Reset()
		s.set(ctx, view{state: events.CopyFollows})
		s.set(ctx, away)
		for range 30 {
			time.Sleep(time.Second)
			s.set(ctx, away)
		}
		s.set(ctx, view{state: events.CopyDiverged, err: events.Errorf(events.ErrForeignHistory, "it differs")})
		if count("INFO") != 1 || count("WARN") != 1 || count("ERROR") != 1 {
			t.Errorf("a link that breaks, and a leader that differs, say\n%s", &log)
		}
	})
}
