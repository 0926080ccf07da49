package region

import (
	"context"
	"errors"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/replica"
	"tidemark.dev/projections"
	"tidemark.dev/projections/marks"
)

const (
	// healPoll is how often it is looked whether the copy is to be made anew.
	healPoll = 2 * time.Second
	// healPause is how long a healing that did not come about is left alone.
	healPause = time.Minute
	// healRetry is how long one is left alone whose leader did not answer: after a start the link may only just be coming up.
	healRetry = 5 * time.Second
)

// healer makes a damaged copy of the log anew. It is deleted only after the leader's whole log was audited from here, so that nothing goes that the leader does not have.
type healer struct {
	region *Region
	mirror *replica.Mirror
	done   time.Time // the finding because of which it was made anew last
	told   events.Code
}

func (h *healer) run(ctx context.Context) error {
	for ctx.Err() == nil {
		wait := healPoll
		if err := h.look(ctx); err != nil && ctx.Err() == nil {
			if wait = healPause; errors.Is(err, events.ErrUnreachable) {
				wait = healRetry
			}
			if code, _ := events.CodeOf(err); code != h.told {
				h.told = code
				h.region.config.Logger.WarnContext(ctx, "the damaged copy of the log was not made anew; it is tried again", "region", h.region.config.Name, "reason", err.Error())
			}
		}
		_ = pause(ctx, wait) // the end of ctx ends the loop
	}
	return nil
}

// look makes the copy anew if its audit says that this mends it.
func (h *healer) look(ctx context.Context) error {
	c := &h.region.config
	audit, _, err := projections.ReadJSON[marks.Audit](ctx, h.region.kv, marks.AuditKey(c.Origin))
	if err != nil {
		return err
	}
	f := audit.Finding
	if f == nil || !f.Mirror || !f.Remirrored.IsZero() {
		return nil
	}
	if !f.Found.Equal(h.done) {
		if err := h.remake(ctx, &audit, string(f.Kind)+": "+f.Text); err != nil {
			return err
		}
		h.done = f.Found
	}
	return marks.Remirrored(ctx, h.region.kv, c.Origin, f.Found)
}

// remake makes the copy anew, if the leader's log, from where the copy begins, is of the history that was audited here and nothing is wrong with it.
func (h *healer) remake(ctx context.Context, audit *marks.Audit, why string) error {
	c := &h.region.config
	leader, err := h.region.other(ctx, c.Leader)
	if err != nil {
		return err
	}
	defer leader.Close()
	if err := marks.Check(ctx, leader, audit, c.Leader, max(h.mirror.Replication().Begins, 1)); err != nil {
		return err
	}
	c.Logger.WarnContext(ctx, "the copy of the log is damaged and the leader's log is not: the copy is deleted and made anew", "region", c.Name, "origin", c.Origin, "reason", why)
	return h.mirror.Remake(ctx)
}

// unopened makes a copy anew that cannot even be opened. One that was never audited is left alone: nothing tells that the leader's log is its history.
func (h *healer) unopened(ctx context.Context) error {
	c := &h.region.config
	audit, _, err := projections.ReadJSON[marks.Audit](ctx, h.region.kv, marks.AuditKey(c.Origin))
	if err != nil {
		return err
	}
	if audit.Lineage == "" {
		return events.Errorf(events.ErrForeignHistory, "the copy of origin %s in region %s was never audited, so it is not known whether the leader's log is its history", c.Origin, c.Name)
	}
	const why = "the servers say that records are missing from it"
	if err := h.remake(ctx, &audit, why); err != nil {
		return err
	}
	return marks.Broken(ctx, h.region.kv, c.Origin, why)
}
