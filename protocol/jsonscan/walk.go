package jsonscan

import "bytes"

// Members walks the members of an object that a Scanner has accepted. It does not validate again.
type Members struct {
	b []byte
	i int
}

// NewMembers begins a walk over object, which may have white space before it. A value that is not an object has none.
func NewMembers(object []byte) Members {
	i := skipSpace(object, 0)
	if i >= len(object) || object[i] != '{' {
		return Members{}
	}
	return Members{b: object, i: skipSpace(object, i+1)}
}

// Next returns the next member's raw name (the bytes between its quotes) and raw value; ok is false at the end.
func (m *Members) Next() (name, value []byte, ok bool) {
	if m.i >= len(m.b) || m.b[m.i] != '"' {
		return nil, nil, false
	}
	from := m.i + 1
	end := skipString(m.b, m.i)
	name = m.b[from : end-1 : end-1]
	from = skipSpace(m.b, skipSpace(m.b, end)+1)
	end = skipValue(m.b, from)
	m.next(end)
	return name, m.b[from:end:end], true
}

func (m *Members) next(end int) {
	m.i = skipSpace(m.b, end)
	if m.i < len(m.b) && m.b[m.i] == ',' {
		m.i = skipSpace(m.b, m.i+1)
	}
}

// Elements walks the elements of an array that a Scanner has accepted. It does not validate again.
type Elements struct{ m Members }

// NewElements begins a walk over array, which may have white space before it. A value that is not an array has none.
func NewElements(array []byte) Elements {
	i := skipSpace(array, 0)
	if i >= len(array) || array[i] != '[' {
		return Elements{}
	}
	return Elements{Members{b: array, i: skipSpace(array, i+1)}}
}

// Next returns the next element as raw bytes; ok is false at the end.
func (e *Elements) Next() (value []byte, ok bool) {
	m := &e.m
	if m.i >= len(m.b) || m.b[m.i] == ']' {
		return nil, false
	}
	from := m.i
	end := skipValue(m.b, from)
	m.next(end)
	return m.b[from:end:end], true
}

// AppendLine appends the value v with the newlines that may stand between its tokens turned into spaces, so that it
// fits a protocol of one message a line. Inside strings JSON allows no raw newline.
func AppendLine(dst, v []byte) []byte {
	at := len(dst)
	dst = append(dst, v...)
	for _, c := range [...]byte{'\n', '\r'} {
		for rest := dst[at:]; ; {
			i := bytes.IndexByte(rest, c)
			if i < 0 {
				break
			}
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
	return dst
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

// skipString returns the index after the string that begins at i.
func skipString(b []byte, i int) int {
	for j := i + 1; ; {
		n := bytes.IndexByte(b[j:], '"')
		if n < 0 {
			return len(b)
		}
		j += n
		slashes := 0
		for b[j-1-slashes] == '\\' {
			slashes++
		}
		j++
		if slashes%2 == 0 {
			return j
		}
	}
}

// skipValue returns the index after the value that begins at i.
func skipValue(b []byte, i int) int {
	if i >= len(b) {
		return i
	}
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		for depth := 0; i < len(b); {
			switch b[i] {
			case '"':
				i = skipString(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			i++
			if depth == 0 {
				return i
			}
		}
		return i
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && !isSpace(b[i]) {
		i++
	}
	return i
}
