package wire

import "io"

// Buffer holds the unread bytes of one stream. It is used by one goroutine.
type Buffer struct {
	buf   []byte
	start int // first unread byte
	end   int // behind the last unread byte
	room  int // a read is offered at least this many bytes
}

// NewBuffer returns a buffer of size bytes. It grows to the longest message that its user leaves unread, and never shrinks.
func NewBuffer(size int) *Buffer {
	return &Buffer{buf: make([]byte, size), room: size / 2}
}

// Unread returns the bytes that were read and not skipped; valid until the next Fill.
func (b *Buffer) Unread() []byte { return b.buf[b.start:b.end] }

// Skip drops the first n unread bytes.
func (b *Buffer) Skip(n int) { b.start += n }

// Fill does one Read of r behind the unread bytes. It returns nil whenever a byte was read, and r's error else.
func (b *Buffer) Fill(r io.Reader) error {
	if b.start > 0 && (b.start == b.end || len(b.buf)-b.end < b.room) {
		b.end = copy(b.buf, b.buf[b.start:b.end])
		b.start = 0
	}
	if len(b.buf)-b.end < b.room {
		grown := make([]byte, 2*len(b.buf))
		copy(grown, b.buf[:b.end])
		b.buf = grown
	}
	n, err := r.Read(b.buf[b.end:])
	b.end += n
	if n > 0 {
		return nil
	}
	return err
}
