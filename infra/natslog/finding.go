package natslog

import (
	"fmt"
	"strings"

	"tidemark.dev/events"
)

// Finding is one setting or state of a stream under which a guarantee of the log would not hold.
type Finding struct {
	// Setting is the name in the stream's configuration or state, as the server writes it: max_age.
	Setting string
	// Found and Wanted are the values.
	Found, Wanted string
	// Why says what would go wrong.
	Why string
	// Mend is what puts it right: an exact command of the nats tool where there is one, otherwise what has to be done.
	Mend string
}

// String returns the finding on one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s is %s, must be %s: %s Mend: %s", f.Setting, f.Found, f.Wanted, f.Why, f.Mend)
}

// unsafe returns the ErrUnsafeLog that lists all findings, or nil.
func unsafe(stream string, findings []Finding) error {
	if len(findings) == 0 {
		return nil
	}
	var text strings.Builder
	fmt.Fprintf(&text, "stream %s has %d setting(s) under which events could be lost or changed; it was not opened and nothing was changed:", stream, len(findings))
	for _, f := range findings {
		text.WriteString("\n  - ")
		text.WriteString(f.String())
	}
	return events.Errorf(events.ErrUnsafeLog, "%s", text.String()).Hint("Mend every setting above, then open the log again.")
}
