package region

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/forward"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/infra/replica"
	"tidemark.dev/projections"
)

// logPoll is how often a mirror that is being made is looked at.
const logPoll = 100 * time.Millisecond

// openLog opens the region's copy of the log, and what belongs to its place: at the leader the answers to other regions, at a mirror
// the copying, and the way to the leader.
func (r *Region) openLog(ctx context.Context) error {
	if r.config.leads() {
		return r.lead(ctx)
	}
	return r.mirror(ctx)
}

func (r *Region) lead(ctx context.Context) error {
	c := &r.config
	cfg := natslog.Config{Origin: c.Origin, Replicas: c.Replicas}
	if c.Role.Tends() {
		if err := natslog.Setup(ctx, r.nats, cfg); err != nil {
			return err
		}
	}
	mode := natslog.Pipelined
	if r.address.GroupCommit || c.GroupCommit {
		mode = natslog.GroupCommit
	}
	log, err := natslog.Open(ctx, r.nats, cfg, natslog.Options{Commit: mode, Logger: c.Logger.With("region", c.Name)})
	if err != nil {
		return err
	}
	r.onClose(log.Close)
	r.log, r.copy = log, newLeading(c)
	if !c.Role.Tends() {
		return r.askFloors()
	}
	floors := shareFloors(replica.NewFloors(r.nats, c.Origin, c.Leader))
	r.floors = floors
	server, err := forward.NewServer(r.nats, c.forwarding(), log, floors, forward.ServerOptions{Logger: c.Logger, Head: headOf{log}})
	if err != nil {
		return err
	}
	r.keep(ctx, server.Run)
	return nil
}

func (c Config) forwarding() forward.Config {
	return forward.Config{Origin: c.Origin, Region: c.Name, Leader: c.Leader}
}

// headOf tells how far a log is that is the leader's own.
type headOf struct{ log events.Reader }

// Head asks the log.
func (h headOf) Head(ctx context.Context) (events.Position, error) {
	info, err := h.log.Info(ctx)
	if err != nil {
		return events.Position{}, err
	}
	return info.Head(), nil
}

// askFloors lets the floors, and the leader's head, be asked of the leader's writer.
func (r *Region) askFloors() error {
	floors, err := forward.NewFloors(r.nats, r.config.forwarding(), forward.Options{Logger: r.config.Logger})
	if err != nil {
		return err
	}
	r.onClose(floors.Close)
	r.floors = shareFloors(floors)
	if !r.config.leads() {
		r.head = floors
	}
	return nil
}

// mirrored is a log that is read here and written at its leader.
type mirrored struct {
	events.Reader
	events.Appender
}

func (r *Region) mirror(ctx context.Context) error {
	c := &r.config
	var heal *healer // nil: the copy is left as it is
	if c.Role.Tends() {
		m, err := replica.Follow(ctx, r.nats, replica.Config{Origin: c.Origin, Region: c.Name, Leader: c.Leader, Replicas: c.Replicas, From: c.LogFrom}, replica.Options{Logger: c.Logger})
		if err != nil {
			return err
		}
		if note := m.Note(); note != "" {
			r.notes = append(r.notes, note)
			c.Logger.WarnContext(ctx, "the copy of the log begins elsewhere than is configured, and stays so", "region", c.Name, "origin", c.Origin, "begins", m.Replication().Begins, "configured", c.LogFrom)
		}
		r.keep(ctx, m.Run)
		r.copy = m
		if err := r.openKV(ctx); err != nil {
			return err
		}
		if !c.KeepDamaged {
			heal = &healer{region: r, mirror: m}
		}
		if err := r.tellCopy(m); err != nil {
			return err
		}
	} else {
		asked := newAskedCopy(r.nats, c)
		asked.ask(ctx)
		r.keep(ctx, asked.run)
		r.copy = asked
	}
	log, err := r.awaitMirror(ctx, heal)
	if err != nil {
		return err
	}
	if heal != nil {
		r.keep(ctx, heal.run)
	}
	reader, err := r.wholeOf(ctx, log)
	if err != nil {
		return err
	}
	appender, err := forward.NewAppender(r.nats, c.forwarding(), forward.Options{Logger: c.Logger})
	if err != nil {
		return err
	}
	r.onClose(appender.Close)
	r.log = mirrored{reader, appender}
	return r.askFloors()
}

// wholeOf returns a reader of the whole log, of which the region's copy may hold only what is from some sequence on. Who tends such a copy keeps here what is needed all the time of what is below.
func (r *Region) wholeOf(ctx context.Context, log *natslog.Log) (*short, error) {
	s := &short{log: log, region: r}
	r.onClose(s.close)
	if log.Begins() == 1 || r.config.Role == Publisher {
		return s, nil
	}
	if r.kv == nil {
		if err := r.openKV(ctx); err != nil {
			return nil, err
		}
	}
	s.kept = newKept(r.kv, log)
	if !r.config.Role.Tends() {
		return s, nil
	}
	if err := s.fetch(ctx); err != nil { // the region begins all the same: what it has of the log is whole
		r.keep(ctx, s.keep)
	}
	return s, nil
}

// awaitMirror opens the region's copy of the log. One that does not exist yet is being made: that takes the leader, and a moment. One that the servers themselves say is not
// whole is made anew before anything is read from it.
func (r *Region) awaitMirror(ctx context.Context, heal *healer) (*natslog.Log, error) {
	c := &r.config
	cfg := natslog.Config{Origin: c.Origin, Replicas: c.Replicas, Mirror: true}
	deadline := time.Now().Add(logPatience)
	for {
		log, err := natslog.Open(ctx, r.nats, cfg, natslog.Options{Logger: c.Logger.With("region", c.Name)})
		if errors.Is(err, events.ErrUnsafeLog) && heal != nil { // its settings were looked at before
			why := heal.unopened(ctx)
			switch {
			case why == nil:
				heal = nil
				continue
			case !errors.Is(why, events.ErrUnreachable):
				return nil, fmt.Errorf("%w\nIt was not made anew from its leader either: %s", err, why.Error())
			case time.Now().After(deadline): // it is mended as soon as the leader answers, so it is worth waiting
				return nil, events.Errorf(events.ErrUnreachable, "the copy of the log %s in region %s is damaged, and can be made anew only once its leader %s answers: %s", c.Origin, c.Name, c.Leader, why.Error()).
					Hint("Check the link between the two regions.")
			}
			if err := pause(ctx, logPoll); err != nil { // the link may only just be coming up
				return nil, err
			}
			continue
		}
		if err == nil || !errors.Is(err, events.ErrNoLog) || !c.Role.Tends() {
			return log, err
		}
		now := r.copy.Replication()
		if now.State == events.CopyDiverged || now.Code == projections.ErrInvalidOffset { // waiting does not change it
			return nil, events.Errorf(now.Code, "region %s cannot use its copy of the log %s: %s", c.Name, c.Origin, now.Message)
		}
		if time.Now().After(deadline) {
			why := now.Message
			if why == "" {
				why = "nothing came from there yet"
			}
			return nil, events.Errorf(events.ErrNoLog, "region %s has no copy of the log %s yet, and cannot get one from its leader %s: %s", c.Name, c.Origin, c.Leader, why).
				Hint("Check the link between the two regions; a copy that was made once is read without it.")
		}
		if err := pause(ctx, logPoll); err != nil {
			return nil, err
		}
	}
}

// pause waits, and returns the cause of ctx's end.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
