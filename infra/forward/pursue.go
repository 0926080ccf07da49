package forward

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"tidemark.dev/events"
	"tidemark.dev/infra/internal/natsconn"
)

// Pauses between attempts.
const (
	pauseFrom = 20 * time.Millisecond
	pauseTo   = 500 * time.Millisecond
)

// verdict is what one attempt came to.
type verdict uint8

const (
	// settled: the outcome of the append is known.
	settled verdict = iota + 1
	// refused: this attempt wrote nothing, and to try again is of no use.
	refused
	// absent: this attempt wrote nothing, since the leader was not reached.
	absent
	// busy: this attempt wrote nothing; another one may.
	busy
	// doubtful: this attempt may have written.
	doubtful
)

// pursue tries an entry until its outcome is known, or until nothing safe is left to try.
//
// While no attempt is in doubt, an error that says "nothing was written" is the outcome. Once one is, only an answer that tells about the append
// itself is: a receipt, or a conflict, since the leader looks for the append by its ids before it says so.
func (a *Appender) pursue(e *entry) (events.Receipt, error) {
	e.offered = time.Now()
	for tries := 0; ; tries++ {
		if a.isClosing() {
			if e.doubt != nil {
				return events.Receipt{}, a.unknown(e)
			}
			return events.Receipt{}, errClosed()
		}
		r, v, err := a.attempt(e)
		switch v {
		case settled:
			return r, err
		case refused:
			if e.doubt == nil {
				return events.Receipt{}, err
			}
		case doubtful:
			e.doubt = err
			if e.nameless && !e.guarded { // nobody would recognise it
				return events.Receipt{}, a.unknown(e)
			}
		case absent, busy:
		}
		left := a.left(e, v)
		if left <= 0 || !a.pause(left, tries, err) {
			switch {
			case e.doubt != nil:
				return events.Receipt{}, a.unknown(e)
			case v == absent && !a.isClosing():
				return events.Receipt{}, far(a.cfg.Leader, "nothing was written", err)
			case a.isClosing():
				return events.Receipt{}, errClosed()
			}
			return events.Receipt{}, err
		}
	}
}

// left returns how long the entry may still be tried.
func (a *Appender) left(e *entry, v verdict) time.Duration {
	if e.doubt != nil {
		return time.Until(e.sent.Add(a.span(e)))
	}
	if v == absent {
		return time.Until(e.offered.Add(a.options.Patience))
	}
	return time.Until(e.offered.Add(a.options.ResolveFor))
}

// span is how long after it was first sent an entry may be sent again. Without expectations it ends at half of the duplicate window: the
// other half is for the leader's log, which may itself take that long to store it.
func (a *Appender) span(e *entry) time.Duration {
	if e.guarded {
		return a.options.ResolveFor
	}
	return min(a.options.ResolveFor, a.options.DuplicateWindow/2)
}

// attempt sends the entry once.
func (a *Appender) attempt(e *entry) (events.Receipt, verdict, error) {
	if err := a.caller.greet(a.open); err != nil {
		return events.Receipt{}, a.notGreeted(err), err
	}
	if err := a.fits(e); err != nil {
		return events.Receipt{}, refused, err
	}
	if e.doubt == nil {
		e.sent = time.Now()
	}
	// A copy that is held up on its way is refused after this moment of the leader's clock.
	request := withDeadline(e.request, a.caller.leaderClock(e.sent.Add(a.span(e))))
	ans, unsent, err := a.caller.ask(context.Background(), request) // for its own time, also while the appender is being closed
	switch {
	case err != nil && unsent:
		return events.Receipt{}, a.lost(err), err
	case err != nil:
		return events.Receipt{}, doubtful, err
	}
	a.reached(true, nil)
	return a.judge(e, &ans)
}

// notGreeted judges a greeting without success: the append itself did not leave.
func (a *Appender) notGreeted(err error) verdict {
	switch code, _ := events.CodeOf(err); code {
	case events.ErrUnauthorized, ErrNotLeader, ErrProtocol:
		return refused
	}
	return a.lost(err)
}

func (a *Appender) lost(err error) verdict {
	if code, _ := events.CodeOf(err); code == events.ErrUnauthorized {
		return refused
	}
	a.reached(false, err)
	return absent
}

// judge turns an answer into a verdict.
func (a *Appender) judge(e *entry, ans *answer) (events.Receipt, verdict, error) {
	switch ans.what {
	case answerReceipt:
		return ans.receipt, settled, nil
	case answerConflict:
		if e.doubt != nil && e.nameless { // with its own first attempt, perhaps
			e.doubt = fmt.Errorf("%w; then an expectation did not hold, which an attempt of its own may have caused", e.doubt)
			return events.Receipt{}, settled, a.unknown(e)
		}
		return events.Receipt{}, settled, ans.err
	case answerExpired: // the leader's clock was heard with this answer
		return events.Receipt{}, busy, a.about(events.Errorf(events.ErrOverloaded, "the append reached the leader's writer too late; nothing was written"))
	case answerError:
	default:
		return events.Receipt{}, doubtful, malformed("the leader's writer answered %q to an append", ans.what)
	}
	switch code, _ := events.CodeOf(ans.err); code {
	case events.ErrIDConflict, events.ErrConflict:
		return events.Receipt{}, settled, ans.err
	case events.ErrUnknownOutcome:
		return events.Receipt{}, doubtful, ans.err
	case events.ErrOverloaded:
		return events.Receipt{}, busy, ans.err
	case events.ErrUnreachable:
		return events.Receipt{}, busy, a.about(ans.err)
	case events.ErrClosed: // not this appender: another writer may go on
		return events.Receipt{}, busy, a.about(events.Errorf(events.ErrUnreachable, "the leader's writer was shutting down; nothing was written"))
	}
	return events.Receipt{}, refused, a.about(ans.err)
}

// about says in the error where it comes from. Its code and hint stay.
func (a *Appender) about(err error) error {
	e, ok := errors.AsType[*events.Error](err)
	if !ok {
		return err
	}
	told := *e
	told.What = fmt.Sprintf("forwarded to region %s: %s", a.cfg.Leader, e.What)
	return &told
}

func (a *Appender) unknown(e *entry) error {
	err := events.Errorf(events.ErrUnknownOutcome, "it could not be found out whether region %s stored the append: %w", a.cfg.Leader, e.doubt)
	switch {
	case e.nameless:
		return err.Hint("Read its control records, and append again if they are not there.")
	case e.guarded:
		return err.Hint("Append the same events (same ids, same expectation) again: that resolves it.")
	}
	return err.Hint("Append the same events (same ids) again inside the log's duplicate window: that resolves it.")
}

// pause waits before the next attempt, longer each time; after a broken connection until it is back. False: the time is over, or the
// appender is being closed.
func (a *Appender) pause(left time.Duration, tries int, why error) bool {
	ctx, stop := context.WithTimeout(a.open, left)
	defer stop()
	d := min(pauseFrom<<min(tries, 8), pauseTo)
	if errors.Is(why, natsconn.ErrDisconnected) {
		if a.caller.link.Wait(ctx) != nil {
			return false
		}
		d = pauseFrom
	}
	t := time.NewTimer(d/2 + rand.N(d/2)) //nolint:gosec // a jitter needs no secrecy
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
