package httpapi

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// decodeHeader returns the value of an attribute in a header: percent-encoded UTF-8, possibly in double quotes with backslash escapes. It
// returns false when it is neither.
//
// Source: CloudEvents HTTP Protocol Binding 1.0.2, section 3.1.3.2.
func decodeHeader(s string) (string, bool) {
	if n := len(s); n >= 2 && s[0] == '"' && s[n-1] == '"' {
		s = unquote(s[1 : n-1])
	}
	out, err := url.PathUnescape(s)
	return out, err == nil && utf8.ValidString(out)
}

func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
