package query

// Seal makes an opaque text of any content, as somebody could who knows how.
func Seal(kind byte, texts ...string) string { return seal(kind, texts...) }

// Fingerprint is that of a listing by key.
func Fingerprint(projection string) string {
	l := listing{projection: projection}
	return l.fingerprint()
}
