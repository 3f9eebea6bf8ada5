package outq

import "time"

// Offset is where in the stream of all that was ever appended the next byte of the locked buffer b will stand.
func (q *Queue) Offset(b []byte) int64 { return q.taken + int64(q.size+len(b)-len(q.pending.buf)) }

// SetStall replaces Options.Stall from the next write on that waits.
func (q *Queue) SetStall(d time.Duration) {
	q.mu.Lock()
	q.stall = d
	q.mu.Unlock()
}

// Halt is End, frees a writer that is blocked in the kernel, and waits until nobody writes any more. It returns how many
// bytes of the stream the kernel has taken, also where the queue had ended by itself. It is for a descriptor that takes
// write deadlines, which is of no use for writing afterwards; a callback must not call it.
func (q *Queue) Halt() int64 {
	q.End()
	if q.deadline != nil {
		_ = q.deadline.SetWriteDeadline(time.Unix(1, 0)) // closed already: then nobody is blocked
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.writing {
		q.below.Wait()
	}
	return q.taken
}

func (q *Queue) hasEnded() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err != nil
}
