package natsstream

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"tidemark.dev/events"
)

// lineageDigits is the length of a lineage, like that of a log of ours.
const lineageDigits = 8

// lineageOf returns which history of its name a stream holds: digits of the SHA-256 of its name and the time it was made. A stream that was deleted and
// made again has another one; one whose settings were changed, whose servers were restarted or that has another leader has not.
func lineageOf(info *jetstream.StreamInfo) events.Lineage {
	text := "tidemark stream\x00" + info.Config.Name + "\x00" + strconv.FormatInt(info.Created.UnixNano(), 10)
	sum := sha256.Sum256([]byte(text))
	return events.Lineage(hex.EncodeToString(sum[:])[:lineageDigits])
}

// unreadable returns ErrUnsafeLog for a stream that reading would change, or that shows different readers different messages.
func unreadable(info *jetstream.StreamInfo) error {
	if r := info.Config.Retention; r != jetstream.LimitsPolicy {
		return events.Errorf(events.ErrUnsafeLog, "the stream %s has retention %s: messages vanish once consumers have acknowledged them, so nothing could be read again; nothing was read",
			info.Config.Name, r).
			Hint("Read a stream with limits retention. A copy keeps what passes through this one: nats stream add COPY --source %s.", info.Config.Name)
	}
	return nil
}

// superseded reports whether what lies before the first message that a stream retains can only have been replaced by a later message of its subject: the
// number of messages per subject is bounded, and nothing else is.
func superseded(c *jetstream.StreamConfig) bool {
	return c.MaxMsgsPerSubject > 0 && c.MaxMsgs <= 0 && c.MaxBytes <= 0 && c.MaxAge == 0 && !c.AllowMsgTTL
}
