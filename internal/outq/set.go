package outq

import "time"

// Set collects the queues that one goroutine has appended to, so that each is flushed once after all that one read
// brought has been handled. The zero value is ready. It belongs to one goroutine.
type Set struct {
	queues []*Queue
	now    time.Time
}

// Now is the time at which the goroutine began to handle what it handles now: the clock is read once between two flushes,
// for what one read has brought belongs to one moment.
func (s *Set) Now() time.Time {
	if s.now.IsZero() {
		s.now = time.Now()
	}
	return s.now
}

// Add marks q to be flushed. Runs of messages go to the same few peers, so only the last few are compared: flushing a
// queue twice costs little, searching a thousand does not.
func (s *Set) Add(q *Queue) {
	for i := len(s.queues) - 1; i >= max(0, len(s.queues)-8); i-- {
		if s.queues[i] == q {
			return
		}
	}
	s.queues = append(s.queues, q)
}

// Flush flushes each marked queue once and empties the set. Queues that a callback adds meanwhile are flushed too.
func (s *Set) Flush() {
	for i := 0; i < len(s.queues); i++ {
		q := s.queues[i]
		s.queues[i] = nil
		q.Flush()
	}
	s.queues, s.now = s.queues[:0], time.Time{}
}
