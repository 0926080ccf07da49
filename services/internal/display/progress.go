package display

import (
	"fmt"
	"io"
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
	bar   *progressbar.ProgressBar // nil where there is no terminal
	begun time.Time
	told  time.Time
	now   func() time.Time
}

// NewProgress begins to show a job on w. unit is what is counted, in the plural.
func NewProgress(w io.Writer, what, unit string) *Progress {
	p := &Progress{w: w, what: what, unit: unit, now: time.Now}
	p.begun = p.now()
	p.told = p.begun
	if Terminal(w) {
		p.bar = progressbar.NewOptions64(-1,
			progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(30),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit),
			progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
			progressbar.OptionUseANSICodes(true), progressbar.OptionShowBytes(unit == Bytes),
		)
	}
	return p
}

// Set shows that done of total are done. A total of 0 is not known.
func (p *Progress) Set(done, total uint64) {
	if p.bar != nil {
		if total > 0 && p.bar.GetMax64() != int64(total) { //nolint:gosec // counts of records and bytes
			p.bar.ChangeMax64(int64(total)) //nolint:gosec // as above
		}
		if done < total || total == 0 { // a bar that is full ends by itself, and the job has not
			_ = p.bar.Set64(int64(done)) //nolint:gosec // as above
		}
		return
	}
	if now := p.now(); now.Sub(p.told) >= plainInterval {
		p.told = now
		_, _ = fmt.Fprintln(p.w, p.line(done, total, now.Sub(p.begun)))
	}
}

func (p *Progress) line(done, total uint64, spent time.Duration) string {
	rate := float64(done) / spent.Seconds()
	s := fmt.Sprintf("%s: %s", p.what, Number(done))
	if total > 0 {
		s += fmt.Sprintf(" of %s %s (%d %%)", Number(total), p.unit, 100*done/total)
	} else {
		s += " " + p.unit
	}
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
