package display

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
)

// plainInterval is how often a progress is written where there is no terminal to draw on.
const plainInterval = 3 * time.Second

// Bytes is the unit that is shown in larger ones.
const Bytes = "bytes"

// Progress shows how far a job is: a bar on a terminal, a line every few seconds elsewhere. It is not safe for concurrent use.
type Progress struct {
	w     io.Writer
	what  string
	unit  string
	paced bool                     // the job says itself how fast it is
	bar   *progressbar.ProgressBar // nil where there is no terminal
	begun time.Time
	told  time.Time
	now   func() time.Time
}

// NewProgress begins to show a job on w. unit is what is counted, in the plural.
func NewProgress(w io.Writer, what, unit string) *Progress { return newProgress(w, what, unit, false) }

// NewPaced begins to show a job that says itself how fast it is, and in which stage, because somebody else does it and began it some time ago. Use Tell.
func NewPaced(w io.Writer, what string) *Progress { return newProgress(w, what, "", true) }

func newProgress(w io.Writer, what, unit string, paced bool) *Progress {
	p := &Progress{w: w, what: what, unit: unit, paced: paced, now: time.Now}
	p.begun = p.now()
	p.told = p.begun
	if Terminal(w) {
		p.bar = progressbar.NewOptions64(-1,
			progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(30),
			progressbar.OptionShowCount(), progressbar.OptionSetItsString(unit),
			progressbar.OptionSetPredictTime(!paced), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
			progressbar.OptionUseANSICodes(true), progressbar.OptionShowBytes(unit == Bytes), progressbar.OptionSetElapsedTime(!paced),
		)
		if !paced {
			progressbar.OptionShowIts()(p.bar)
		}
	}
	return p
}

// Pace is what a job says of itself.
type Pace struct {
	Stage string // what it does now
	Unit  string // what is counted, in the plural
	// PerSecond is how many of them it does in a second, and Remaining how long the rest takes; 0: not known.
	PerSecond float64
	Remaining time.Duration
}

func (p Pace) String() string {
	var s strings.Builder
	if p.PerSecond >= 1 {
		fmt.Fprintf(&s, ", %s/s", Number(uint64(p.PerSecond)))
	}
	if p.Remaining > 0 {
		fmt.Fprintf(&s, ", %s left", Duration(p.Remaining))
	}
	return s.String()
}

// Tell shows that done of total are done, and how it goes. A total of 0 is not known.
func (p *Progress) Tell(done, total uint64, pace Pace) {
	if p.bar != nil {
		p.bar.Describe(p.what + ": " + pace.Stage + pace.String())
		p.draw(done, total)
		return
	}
	if now := p.now(); now.Sub(p.told) >= plainInterval {
		p.told = now
		_, _ = fmt.Fprintln(p.w, p.what+": "+pace.Stage+count(", ", done, total, pace.Unit)+pace.String())
	}
}

// Note writes a remark beside the bar.
func (p *Progress) Note(text string) {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	_, _ = fmt.Fprintln(p.w, text)
}

func count(before string, done, total uint64, unit string) string {
	if total == 0 {
		return before + Number(done) + " " + unit
	}
	return fmt.Sprintf("%s%s of %s %s (%d %%)", before, Number(done), Number(total), unit, 100*min(done, total)/total)
}

func (p *Progress) draw(done, total uint64) {
	if total > 0 && p.bar.GetMax64() != int64(total) { //nolint:gosec // counts of records and bytes
		p.bar.ChangeMax64(int64(total)) //nolint:gosec // as above
	}
	if done < total || total == 0 { // a bar that is full ends by itself, and the job has not
		_ = p.bar.Set64(int64(done)) //nolint:gosec // as above
	}
}

// Set shows that done of total are done. A total of 0 is not known.
func (p *Progress) Set(done, total uint64) {
	if p.bar != nil {
		p.draw(done, total)
		return
	}
	if now := p.now(); now.Sub(p.told) >= plainInterval {
		p.told = now
		_, _ = fmt.Fprintln(p.w, p.line(done, total, now.Sub(p.begun)))
	}
}

func (p *Progress) line(done, total uint64, spent time.Duration) string {
	rate := float64(done) / spent.Seconds()
	s := p.what + count(": ", done, total, p.unit)
	s += fmt.Sprintf(", %s/s", Number(uint64(rate)))
	if total > done && rate > 0 {
		s += ", " + Duration(time.Duration(float64(total-done)/rate*float64(time.Second))) + " left"
	}
	return s
}

// End takes the bar away.
func (p *Progress) End() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
