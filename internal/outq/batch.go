package outq

// keepRefs is how many references a batch may have room for and still be used again.
const keepRefs = 64

// batch is a run of bytes in which references to large slices are interspersed.
type batch struct {
	buf  []byte
	refs []ref
}

type ref struct {
	at int // the slice comes before buf[at:]
	p  []byte
}

// piece is the run of b's bytes that lies in one slice and begins at byte at.
func (b *batch) piece(at int) []byte {
	from := 0 // in buf
	for _, r := range b.refs {
		if at < r.at-from {
			return b.buf[from+at : r.at]
		}
		at -= r.at - from
		from = r.at
		if at < len(r.p) {
			return r.p[at:]
		}
		at -= len(r.p)
	}
	return b.buf[from+at:]
}

// emptied is b's memory without what it held.
func (b *batch) emptied() batch {
	if cap(b.refs) > keepRefs {
		return batch{buf: b.buf[:0]}
	}
	clear(b.refs)
	return batch{buf: b.buf[:0], refs: b.refs[:0]}
}
