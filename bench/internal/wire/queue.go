package wire

import (
	"errors"
	"io"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// File is what a Queue writes to: a socket or a pipe whose descriptor is non-blocking and known to Go's poller.
type File interface {
	io.WriteCloser
	syscall.Conn
}

// keepBytes is the largest emptied batch that a queue keeps for its next one.
const keepBytes = 1 << 20

// Queue collects what many goroutines have to say to one peer and writes it in as few writes as possible: whoever flushes while
// nobody writes becomes the writer and takes along whatever is appended meanwhile. That writer never blocks; what the kernel
// doesn't take at once goes to the queue's one drain goroutine. Safe for concurrent use.
type Queue struct {
	file  File
	raw   syscall.RawConn
	drain sync.WaitGroup

	// Owned by the writer, which is whoever set writing.
	try    func(fd uintptr) bool
	offer  []byte
	taken  int
	failed error

	mu      sync.Mutex
	shrunk  sync.Cond // a batch was taken or the queue failed
	batch   []byte
	spare   []byte
	writing bool
	err     error
}

// NewQueue returns the queue of file, which the queue closes in Close.
func NewQueue(file File) (*Queue, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	q := &Queue{file: file, raw: raw}
	q.shrunk.L = &q.mu
	q.try = func(fd uintptr) bool {
		for {
			q.taken, q.failed = unix.Write(int(fd), q.offer)
			if !errors.Is(q.failed, unix.EINTR) {
				return true // also for EAGAIN: RawConn must not wait for room
			}
		}
	}
	return q, nil
}

// Begin locks the queue and returns the batch to append to; End must follow with what came of it.
func (q *Queue) Begin() []byte {
	q.mu.Lock()
	return q.batch
}

// End puts the extended batch back and unlocks. Bytes for a queue that has failed are dropped. Nothing is written before Flush.
func (q *Queue) End(batch []byte) {
	if q.err != nil {
		batch = batch[:0]
	}
	q.batch = batch
	q.mu.Unlock()
}

// Append adds p to the batch.
func (q *Queue) Append(p []byte) { q.End(append(q.Begin(), p...)) }

// Above reports whether more than limit bytes wait for the writer.
func (q *Queue) Above(limit int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.batch) > limit && q.err == nil
}

// WaitBelow waits until at most limit bytes wait for the writer, and returns the queue's error once it has failed or was closed.
// What waits must have been flushed.
func (q *Queue) WaitBelow(limit int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.batch) > limit && q.err == nil {
		q.shrunk.Wait()
	}
	return q.err
}

// Flush writes what is queued unless somebody else is at it. It never blocks on the peer.
func (q *Queue) Flush() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.writing {
		return
	}
	q.writing = true
	for len(q.batch) > 0 && q.err == nil {
		batch := q.takeLocked()
		q.mu.Unlock()
		n, err := q.tryWrite(batch)
		q.mu.Lock()
		if err == nil && n < len(batch) && q.err == nil {
			q.drain.Go(func() { q.drainRest(batch, n) }) // under the lock, so never after Close began to wait
			return
		}
		q.doneLocked(batch, err)
	}
	q.writing = false
}

func (q *Queue) drainRest(batch []byte, n int) {
	_, err := q.file.Write(batch[n:])
	q.mu.Lock()
	defer q.mu.Unlock()
	q.doneLocked(batch, err)
	for len(q.batch) > 0 && q.err == nil {
		batch := q.takeLocked()
		q.mu.Unlock()
		_, err := q.file.Write(batch)
		q.mu.Lock()
		q.doneLocked(batch, err)
	}
	q.writing = false
}

func (q *Queue) tryWrite(batch []byte) (int, error) {
	q.offer = batch
	if err := q.raw.Write(q.try); err != nil {
		return 0, err
	}
	if errors.Is(q.failed, unix.EAGAIN) {
		return 0, nil
	}
	return q.taken, q.failed
}

func (q *Queue) takeLocked() []byte {
	batch := q.batch
	q.batch, q.spare = q.spare[:0], nil
	q.shrunk.Broadcast()
	return batch
}

func (q *Queue) doneLocked(batch []byte, err error) {
	if cap(batch) <= keepBytes {
		q.spare = batch[:0]
	}
	if err != nil && q.err == nil {
		q.failLocked(err)
	}
}

func (q *Queue) failLocked(err error) {
	q.err = err
	q.batch = q.batch[:0]
	q.shrunk.Broadcast()
}

// Close drops what is queued, closes the file and waits for the drain goroutine.
func (q *Queue) Close() error {
	q.mu.Lock()
	if q.err == nil {
		q.failLocked(io.ErrClosedPipe)
	}
	q.mu.Unlock()
	err := q.file.Close()
	q.drain.Wait()
	return err
}
