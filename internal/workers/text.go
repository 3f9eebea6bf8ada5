package workers

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxReason is how much of a worker's own words a reason may hold, maxQuote how much of its bytes.
const (
	maxReason = 500
	maxQuote  = 64
)

// oneLine makes what a worker wrote fit for a message: one line without control characters, of bounded length.
func oneLine(s string) string {
	s = cut(s, maxReason)
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd")))
}

// cut cuts a text to at most n bytes, between characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// quote shows the first bytes of a frame, escaped.
func quote(b []byte) string {
	if len(b) > maxQuote {
		return fmt.Sprintf("%q...", b[:maxQuote])
	}
	return fmt.Sprintf("%q", b)
}
