package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
	"tidemark.dev/infra/natslog"
	"tidemark.dev/projections"
)

// follower takes the looks. It belongs to one goroutine.
type follower struct {
	cfg    Config
	nc     *nats.Conn
	own    api
	leader api
	gate   *gate
	here   *natslog.Log // the copy; nil until it could be opened
	there  *natslog.Log // the leader's log; nil until it could be opened

	mine   events.Info // of the copy, as of the last full comparison
	theirs events.Info // of the leader's log

	full   time.Time // of the last full comparison; zero: one is due
	begins uint64    // the first sequence of a copy that does not begin with the log's; 0: it does
	made   time.Time // of the copy: when its stream was created
	led    time.Time // of the leader's log
	seen   uint64    // the leader's highest head
	anchor place     // the copy's head when it was compared last
	short  int       // looks in a row that found the leader's log shorter than the copy
	closed bool      // the consumer was taken away since the copy diverged
}

func (f *follower) close() {
	if f.gate != nil {
		f.gate.close()
	}
	if f.here != nil {
		f.here.Close()
	}
	if f.there != nil {
		f.there.Close()
	}
}

// asked yields when the mirror asks to be fed.
func (f *follower) asked() <-chan struct{} {
	if f.gate == nil {
		return nil
	}
	return f.gate.asked
}

// look compares once. The copy is read before the leader, so that a leader never seems to be behind because of the time between.
func (f *follower) look(ctx context.Context) view {
	if f.gate == nil {
		g, err := openGate(f.nc, f.cfg)
		if err != nil {
			return unknown(events.Position{}, err)
		}
		f.gate = g
	}
	reply := f.gate.waiting()
	copied, err := f.own.streamInfo(ctx, f.cfg.stream())
	if errors.Is(err, events.ErrNoLog) {
		return f.make(ctx, f.cfg.From)
	}
	if err != nil {
		f.full = time.Time{}
		return unknown(f.head(0), err)
	}
	v := f.judge(ctx, copied, reply)
	if v.head.IsZero() {
		v.head = f.head(copied.State.LastSeq)
	}
	v.begins = f.begins
	if v.err != nil {
		f.full = time.Time{} // when it is mended, everything is compared again
	}
	if v.state != events.CopyDiverged {
		f.closed = false
	} else if !f.closed {
		// Nothing more shall come. If the leader does not hear it, the mirror still has to pass the gate after the next break.
		f.closed = f.cfg.deleteConsumer(ctx, f.leader) == nil
	}
	return v
}

// judge says how an existing copy stands, and lets its mirror in if it may and waits at reply.
func (f *follower) judge(ctx context.Context, copied *jetstream.StreamInfo, reply string) view {
	b, err := natslog.BeginningOf(copied.Config)
	if err != nil {
		return unknown(events.Position{}, err)
	}
	f.begins = b.From
	// A copy that was made to begin later holds nothing until its first record has come, and is where that follows all the same.
	last, held := max(copied.State.LastSeq, b.First()-1), copied.State.LastSeq
	if copied.State.Msgs == 0 {
		held = 0
	}
	diverged := func(err error) view { return view{state: events.CopyDiverged, err: err} }
	if s := copied.State; s.NumDeleted > 0 || s.FirstSeq > b.First() || s.Lost != nil && len(s.Lost.Msgs) > 0 {
		return diverged(f.cfg.hole(fmt.Sprintf("it has %d records from %d to %d, and was made to begin with %d", s.Msgs, s.FirstSeq, s.LastSeq, b.First())))
	}
	if err := f.cfg.audit(copied); err != nil {
		return unknown(f.head(last), err)
	}
	led, err := f.leader.streamInfo(ctx, f.cfg.stream())
	if err != nil {
		return unknown(f.head(last), f.whyUnreachable(err))
	}
	head := led.State.LastSeq
	if held == 0 && head+1 < b.From {
		return unknown(f.head(0), events.Errorf(events.ErrUnreachable, "leader %s says that its log of origin %s ends at sequence %d, and the copy was made to begin with %d; it is asked again",
			f.cfg.Leader, f.cfg.Origin, head, b.From))
	}
	if !copied.Created.Equal(f.made) || !led.Created.Equal(f.led) || head < f.seen || reply != "" {
		f.full = time.Time{}
	}
	f.made, f.led, f.seen = copied.Created, led.Created, head
	switch err := f.compare(ctx, held, head); {
	case held > 0 && (errors.Is(err, events.ErrForeignHistory) || errors.Is(err, events.ErrHole)):
		v := diverged(err)
		v.leaderHead = f.leaderHead(head)
		return v
	case err != nil:
		return unknown(f.head(last), err)
	}
	silent := active(copied)
	err = f.gate.let(ctx, f.leader, reply, last)
	if fed := silent >= 0 && silent <= quietFor; err == nil && !fed {
		if err = f.gate.denied(); err == nil {
			err = f.gate.revive(ctx, f.leader, last)
		}
	}
	if err != nil {
		v := unknown(f.head(last), err)
		v.leaderHead = f.leaderHead(head)
		return v
	}
	v := f.lag(ctx, last, led, silent)
	if held == 0 && b.From > 1 {
		v.head = f.leaderHead(last) // the copy does not know it yet
	}
	return v
}

// active returns for how long the mirror has heard nothing; negative: it never did. Its own lag and error are not looked at: they are zero and
// none in every case that went wrong.
func active(copied *jetstream.StreamInfo) time.Duration {
	if copied.Mirror == nil {
		return -1
	}
	return copied.Mirror.Active
}

// lag returns the view of a copy that is on the leader's history.
func (f *follower) lag(ctx context.Context, last uint64, led *jetstream.StreamInfo, silent time.Duration) view {
	head := led.State.LastSeq
	v := view{state: events.CopyFollows, head: f.head(last), leaderHead: f.leaderHead(head)}
	if silent < 0 || silent > quietFor {
		text := "nothing has come from there since the region's servers started"
		if silent >= 0 {
			text = fmt.Sprintf("nothing has come from there for %s", silent.Round(time.Second))
		}
		v.state = events.CopyUnknown
		v.err = events.Errorf(events.ErrUnreachable, "the mirror of origin %s is not connected to its leader %s: %s", f.cfg.Origin, f.cfg.Leader, text)
		return v
	}
	v.lag = &events.ReplicationLag{}
	if head > last {
		oldest, err := f.there.Record(ctx, last+1)
		if err != nil {
			v.state, v.err, v.lag = events.CopyUnknown, err, nil
			return v
		}
		v.lag.Events = head - last
		v.lag.Seconds = max(0, led.TimeStamp.Sub(oldest.Time).Seconds())
	}
	return v
}

// compare returns nil when the copy, which ends at last, is on the history of the leader, whose log ends at head.
func (f *follower) compare(ctx context.Context, last, head uint64) error {
	if last == 0 && head == 0 {
		return f.notBegun()
	}
	if err := f.open(ctx, last); err != nil {
		return err
	}
	if f.full.IsZero() || time.Since(f.full) > fullEvery || last > 0 && f.mine.Origin == "" {
		if err := f.compareAll(ctx, last); err != nil {
			return err
		}
	}
	if head < last {
		if f.short++; f.short < shortLooks {
			f.full = time.Time{}
			return events.Errorf(events.ErrUnreachable, "leader %s says that its log of origin %s ends at sequence %d, and the copy holds %d; it is asked again",
				f.cfg.Leader, f.cfg.Origin, head, last)
		}
	} else {
		f.short = 0
	}
	both := min(last, head)
	if a := f.anchor.sequence; a > 0 && a < both {
		// What was the head a second ago must still be there: between two looks the leader can be put back and be written to past the copy's head.
		if _, err := f.cfg.compareRecords(ctx, f.here, f.there, a); err != nil {
			return err
		}
	}
	if both > 0 && both >= f.begins {
		at, err := f.cfg.compareRecords(ctx, f.here, f.there, both)
		if err != nil {
			return err
		}
		f.anchor = at
	}
	if head < last {
		return f.cfg.foreign("the copy holds %d records, the last at sequence %d, and the leader's log ends at sequence %d", last, last, head)
	}
	return nil
}

// compareAll compares lineage and terms.
func (f *follower) compareAll(ctx context.Context, last uint64) error {
	theirs, err := f.there.Info(ctx)
	if errors.Is(err, events.ErrForeignHistory) || errors.Is(err, events.ErrDamaged) {
		return f.cfg.foreign("the leader's log cannot be read: %v", err)
	}
	if err != nil {
		return err
	}
	f.theirs = theirs
	if last > 0 {
		mine, err := f.here.Info(ctx)
		if errors.Is(err, events.ErrForeignHistory) || errors.Is(err, events.ErrDamaged) {
			return f.cfg.foreign("the copy cannot be read: %v", err)
		}
		if err != nil {
			return err
		}
		f.mine = mine
		if err := f.cfg.compareTerms(mine, theirs); err != nil {
			return err
		}
	}
	f.full = time.Now()
	return nil
}

// open opens the two logs, the copy only once it holds something.
func (f *follower) open(ctx context.Context, last uint64) error {
	o := natslog.Options{AttemptTimeout: recordTimeout}
	if f.there == nil {
		log, err := natslog.Open(ctx, f.nc, f.cfg.there(), o)
		if err != nil {
			return err
		}
		f.there = log
	}
	if f.here == nil && last > 0 {
		log, err := natslog.Open(ctx, f.nc, f.cfg.here(), o)
		if errors.Is(err, events.ErrForeignHistory) {
			return f.cfg.foreign("the copy cannot be read: %v", err)
		}
		if err != nil {
			return err
		}
		f.here = log
	}
	return nil
}

// make makes the copy, once the leader has shown that its log is one.
func (f *follower) make(ctx context.Context, from uint64) view {
	f.full, f.anchor, f.mine, f.begins = time.Time{}, place{}, events.Info{}, 0
	led, err := f.leader.streamInfo(ctx, f.cfg.stream())
	if err == nil && led.State.LastSeq == 0 {
		err = f.notBegun()
	}
	if err == nil {
		err = f.open(ctx, 0)
	}
	if err == nil {
		var b natslog.Beginning
		if b, err = f.beginAt(ctx, from, led.State.LastSeq); err == nil {
			err = f.own.createStream(ctx, b.In(f.cfg.here().MirrorStream(f.cfg.Region, f.cfg.gate())))
			f.begins = b.From
		}
	}
	if err != nil {
		return unknown(events.Position{}, f.whyUnreachable(err))
	}
	v := unknown(events.Position{}, events.Errorf(events.ErrNoLog, "the copy of origin %s in region %s was just made; nothing is copied yet", f.cfg.Origin, f.cfg.Region))
	v.leaderHead, v.begins = f.leaderHead(led.State.LastSeq), f.begins
	return v
}

// beginAt returns the beginning of a copy that is to begin with a sequence, of a leader's log that ends at head. The servers do not let a mirror that is fed by a consumer of its leader say where it
// begins, and do not need to: the gate sets that consumer to it. What the copy cannot know of the history below is written into its settings.
func (f *follower) beginAt(ctx context.Context, from, head uint64) (natslog.Beginning, error) {
	if from <= 1 {
		return natslog.Beginning{}, nil
	}
	if from > head+1 {
		return natslog.Beginning{}, events.Errorf(projections.ErrInvalidOffset, "the copy of origin %s in region %s is to begin with sequence %d, and the log of its leader %s ends at %d; nothing was made",
			f.cfg.Origin, f.cfg.Region, from, f.cfg.Leader, head).Hint("Begin with the sequence of a snapshot that is to be copied, or with %d at most.", head+1)
	}
	theirs, err := f.there.Info(ctx)
	if err != nil {
		return natslog.Beginning{}, err
	}
	f.theirs = theirs
	return natslog.BeginAt(from, theirs.Terms), nil
}

// notBegun is the error of a leader whose log has no genesis yet.
func (f *follower) notBegun() error {
	return events.Errorf(events.ErrNoLog, "the log of origin %s in region %s, which leads it, has no first record yet", f.cfg.Origin, f.cfg.Leader).
		Hint("Start the leader's writer, which sets the log up.")
}

// whyUnreachable says of a leader without a log that it is the leader's.
func (f *follower) whyUnreachable(err error) error {
	if errors.Is(err, events.ErrNoLog) {
		return events.Errorf(events.ErrNoLog, "region %s, which is to lead origin %s, has no log of it", f.cfg.Leader, f.cfg.Origin).
			Hint("Start the leader's writer, which sets the log up, or correct the leader's name.")
	}
	return err
}

// head returns the copy's position, zero while its history is not known.
func (f *follower) head(last uint64) events.Position { return position(f.mine, last) }

func (f *follower) leaderHead(last uint64) events.Position { return position(f.theirs, last) }

func position(info events.Info, seq uint64) events.Position {
	if info.Origin == "" || seq == 0 {
		return events.Position{}
	}
	return info.Position(seq)
}
