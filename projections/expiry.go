package projections

import "time"

// expiryLayout is how a document says when it expires: UTC and always of the same width, so that the texts have the order of the times.
const expiryLayout = "2006-01-02T15:04:05.000000000Z"

// FormatExpiry returns a time as the field that Definition.Expires names holds it. ok is false outside of the years 1970 to 9999.
func FormatExpiry(t time.Time) (text string, ok bool) {
	t = t.UTC()
	if t.Year() < 1970 || t.Year() > 9999 {
		return "", false
	}
	return t.Format(expiryLayout), true
}

// ParseExpiry reads such a text, and fails on any other. An empty one, never, is the zero time.
func ParseExpiry(text string) (at time.Time, ok bool) {
	if text == "" {
		return at, true
	}
	at, err := time.Parse(expiryLayout, text)
	if again, ok := FormatExpiry(at); err != nil || !ok || again != text {
		return time.Time{}, false
	}
	return at, true
}

// Expired reports whether a mark of this time removes a document: one that expires then or earlier. Nothing else removes it; until the next mark
// it is there. A document that is parked stays: the event that could not be applied might have given it more time.
func Expired(expires, parked string, mark time.Time) bool {
	at, ok := ParseExpiry(expires)
	return ok && !at.IsZero() && parked == "" && !at.After(mark)
}
