package marks

import (
	"context"
	"errors"
	"strings"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/projections"
)

// healed trusts the log again. What was applied from it since the last good mark may be wrong, so every read model that is folded from it is to be built again. Which of them that
// is still to be asked for is written down in the same step.
func (a *Auditor) healed(ctx context.Context) error {
	f := a.audit.Finding
	h := &Healing{Kind: f.Kind, First: f.First, Found: f.Found, At: time.Now().UTC(), Replays: map[string]string{}}
	prefix := projections.PointerKey("")
	keys, err := a.kv.Keys(ctx, prefix)
	if err != nil {
		return err
	}
	for _, key := range keys {
		name := strings.TrimPrefix(key, prefix)
		pointer, _, err := projections.ReadPointer(ctx, a.kv, name)
		if err != nil {
			return err
		}
		if pointer.Generation == 0 || pointer.Source != nil {
			continue // nothing was folded, or not from this log
		}
		before, _, err := projections.ReadJSON[projections.Replay](ctx, a.kv, projections.ReplayKey(name))
		if err != nil {
			return err
		}
		h.Replays[name] = before.ID
	}
	a.audit.Finding, a.audit.Healed = nil, h
	if err := a.save(ctx); err != nil {
		return err
	}
	a.say(ctx, nil)
	return nil
}

// rebuild asks for the replays that are still to be asked for. One that was asked for before the log was healed may have read what was wrong: its end is waited for.
func (a *Auditor) rebuild(ctx context.Context) error {
	if a.audit.Healed == nil || len(a.audit.Healed.Replays) == 0 {
		return nil
	}
	changed := false
	for name, before := range a.audit.Healed.Replays {
		last, _, err := projections.ReadJSON[projections.Replay](ctx, a.kv, projections.ReplayKey(name))
		if err != nil {
			return err
		}
		if last.ID == before {
			if last.Running() {
				continue
			}
			_, err = projections.RequestReplay(ctx, a.kv, name, "the log was healed", time.Now())
			switch {
			case errors.Is(err, projections.ErrReplayRunning):
				continue // somebody asked just now
			case err != nil && !errors.Is(err, projections.ErrUnknownProjection): // it was removed
				return err
			}
		}
		delete(a.audit.Healed.Replays, name)
		changed = true
	}
	if !changed {
		return nil
	}
	return a.save(ctx)
}

// Remirrored writes down that a region begins to mirror the log again because of the finding that was found at a time. It returns projections.ErrRevision when there is another one by now.
func Remirrored(ctx context.Context, kv projections.KV, origin string, found time.Time) error {
	a, revision, err := projections.ReadJSON[Audit](ctx, kv, AuditKey(origin))
	if err != nil {
		return err
	}
	if a.Finding == nil || !a.Finding.Found.Equal(found) {
		return events.Errorf(projections.ErrRevision, "the finding about the log of %s is another one by now", origin)
	}
	a.Finding.Remirrored = time.Now().UTC()
	_, err = projections.WriteJSON(ctx, kv, AuditKey(origin), a, revision)
	return err
}

// Broken writes down that the servers themselves say of a copy that it is not whole, and that it is made anew for that. It is trusted after the next full pass, like after any other finding.
func Broken(ctx context.Context, kv projections.KV, origin, text string) error {
	a, revision, err := projections.ReadJSON[Audit](ctx, kv, AuditKey(origin))
	if err != nil || a.Finding != nil {
		return err
	}
	now := time.Now().UTC()
	a.Finding = &Finding{Kind: Hole, From: 1, First: 1, Text: text, Found: now, Mirror: true, Remirrored: now}
	_, err = projections.WriteJSON(ctx, kv, AuditKey(origin), a, revision)
	return err
}
