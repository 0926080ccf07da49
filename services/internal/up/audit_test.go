package up_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
	"tidemark.dev/services/internal/up"
)

// audited reads what the region knows about its log.
func audited(t *testing.T, app *up.App) (marks.Audit, uint64) {
	t.Helper()
	a, revision, err := projections.ReadJSON[marks.Audit](t.Context(), app.Region().KV(), marks.AuditKey("us"))
	if err != nil {
		t.Fatal(err)
	}
	return a, revision
}

// until waits a bounded time for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("in vain: %s", what)
		}
	}
}

func stateOf(t *testing.T, app *up.App, projection string) projections.Status {
	t.Helper()
	s, _, err := projections.ReadJSON[projections.Status](t.Context(), app.Region().KV(), projections.StatusKey(projection))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestProjectorsObeyTheAudit gives the region a memory of another log under the name of its own: nothing is applied, until a person says that this one is right.
func TestProjectorsObeyTheAudit(t *testing.T) {
	app, _ := run(t, config(t))
	at := publish(t, app)
	read := func(at events.Position, wait string) (int, string) {
		response, err := http.Get(app.Address().HTTP + "/v1/models/airports/ORD?wait=" + wait + "&at-least=" + at.String()) //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	if status, body := read(at, "30s"); status != http.StatusOK {
		t.Fatal(body)
	}
	until(t, "another log was audited", func() bool {
		known, revision := audited(t, app)
		if known.Full.IsZero() {
			return false
		}
		known.Lineage = "deadbeef"
		_, err := projections.WriteJSON(t.Context(), app.Region().KV(), marks.AuditKey("us"), known, revision)
		return err == nil
	})
	for _, name := range []string{"airports", "routes"} {
		until(t, name+" is refused", func() bool {
			s := stateOf(t, app, name)
			return s.State == projections.ProjectorRefused && s.Code == string(projections.ErrUntrustedLog) && strings.Contains(s.Message, "recreated")
		})
	}
	later := publish(t, app)
	if status, body := read(later, "1s"); status == http.StatusOK {
		t.Errorf("what was published later is answered: %s", body)
	}
	if status, body := read(at, "1s"); status != http.StatusOK || !strings.Contains(body, `"departures":1`) {
		t.Errorf("what was there before is not answered any more: %d %s", status, body)
	}
	until(t, "the finding is forgotten", func() bool {
		_, revision := audited(t, app)
		return app.Region().KV().Delete(t.Context(), marks.AuditKey("us"), revision) == nil
	})
	if status, body := read(later, "50s"); status != http.StatusOK || !strings.Contains(body, `"departures":2`) {
		t.Errorf("afterwards: %d %s", status, body)
	}
}

// TestReadModelsAreBuiltAgainAfterAFindingIsGone gives the region a finding that is not so any more.
func TestReadModelsAreBuiltAgainAfterAFindingIsGone(t *testing.T) {
	app, _ := run(t, config(t))
	publish(t, app)
	until(t, "there is a finding", func() bool {
		known, revision := audited(t, app)
		if known.Full.IsZero() {
			return false
		}
		known.Finding = &marks.Finding{Kind: marks.Hole, From: 2, To: 2, First: 2, Exact: true, Text: "a test", Found: time.Now()}
		_, err := projections.WriteJSON(t.Context(), app.Region().KV(), marks.AuditKey("us"), known, revision)
		return err == nil
	})
	for _, name := range []string{"airports", "routes"} {
		until(t, name+" is built again", func() bool {
			r, _, err := projections.ReadJSON[projections.Replay](t.Context(), app.Region().KV(), projections.ReplayKey(name))
			return err == nil && r.State == projections.ReplayDone && r.Reason == "the log was healed" && stateOf(t, app, name).State == projections.ProjectorFollowing
		})
	}
	until(t, "what was healed is written down", func() bool { // after the replays were asked for
		known, _ := audited(t, app)
		return known.Finding == nil && known.Healed != nil && len(known.Healed.Replays) == 0
	})
}
