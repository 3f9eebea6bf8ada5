package jobs

import "encoding/binary"

// backlog is a queue of chunks in one slice of bytes: those that the caller has not taken yet, oldest first. Each is
// a header (lengths of chunk and metadata, final) and the bytes. One chunk always fits, whatever its size: the limit is
// the caller's business.
type backlog struct {
	buf   []byte
	head  int   // where the oldest begins
	count int64 // of chunks
}

const backlogHeader = 9

func (b *backlog) empty() bool { return b.count == 0 }

func (b *backlog) size() int { return len(b.buf) - b.head }

func (b *backlog) push(chunk, metadata []byte, final bool) {
	if b.head > 0 && b.head >= len(b.buf)/2 {
		n := copy(b.buf, b.buf[b.head:])
		b.buf, b.head = b.buf[:n], 0
	}
	var flag byte
	if final {
		flag = 1
	}
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(len(chunk)))    //nolint:gosec // bounded by the frame limit
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(len(metadata))) //nolint:gosec // bounded by the frame limit
	b.buf = append(b.buf, flag)
	b.buf = append(append(b.buf, chunk...), metadata...)
	b.count++
}

// first is the oldest chunk; produced is the number of chunks up to the youngest, from which its seq follows.
func (b *backlog) first(produced int64) (seq int64, chunk, metadata []byte, final bool) {
	p := b.buf[b.head:]
	n := int(binary.BigEndian.Uint32(p))
	m := int(binary.BigEndian.Uint32(p[4:]))
	final = p[8] == 1
	p = p[backlogHeader:]
	return produced - b.count, p[:n:n], p[n : n+m : n+m], final
}

func (b *backlog) pop() {
	p := b.buf[b.head:]
	b.head += backlogHeader + int(binary.BigEndian.Uint32(p)) + int(binary.BigEndian.Uint32(p[4:]))
	b.count--
	if b.count == 0 {
		b.buf, b.head = b.buf[:0], 0
	}
}
