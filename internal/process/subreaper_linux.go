package process

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// subreaper ends those descendants of processes that outlive their parents and so have become children of this process.
// Nothing is polled: an orphan comes when a process ends, whose parent is either this process, which gets a SIGCHLD, or
// a descendant of a process that lives, in which case the orphan may live as long.
type subreaper struct {
	registry *registry
	signals  chan os.Signal
	wake     chan struct{}
	requests chan *reapRequest
	quit     chan struct{}
	done     chan struct{}

	// Of the goroutine alone.
	earlier map[int]bool // children that were there before the host: they are reaped alone
	known   map[int]*stranger
	waiting []*reapRequest
}

// stranger is a child that the host has not started.
type stranger struct {
	killed  time.Time // first; zero: not yet
	owner   *Process  // nil: none that lived then
	unknown bool      // whether it has an owner is not known yet
	spared  bool      // it has a live owner, for now
}

// reapRequest is a process whose strangers are to be gone; nil: all of them.
type reapRequest struct {
	process *Process
	gone    chan struct{}
}

// newSubreaper makes this process adopt orphans from now on.
func newSubreaper(r *registry) (*subreaper, error) {
	if err := canListChildren(); err != nil {
		return nil, fmt.Errorf("list children: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	s := &subreaper{
		registry: r, known: make(map[int]*stranger), earlier: make(map[int]bool),
		signals: make(chan os.Signal, 1), wake: make(chan struct{}, 1), requests: make(chan *reapRequest),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	for _, pid := range children() {
		s.earlier[pid] = true
	}
	signal.Notify(s.signals, syscall.SIGCHLD)
	go s.run() // close waits for it
	return s, nil
}

func (s *subreaper) close() {
	close(s.quit)
	<-s.done
}

// look makes it look again: a process is dying.
func (s *subreaper) look() {
	select {
	case s.wake <- struct{}{}:
	default: // it will
	}
}

// await returns once the strangers of p, nil: all, are gone, or false at the deadline.
func (s *subreaper) await(p *Process, deadline time.Time) bool {
	q := &reapRequest{process: p, gone: make(chan struct{})}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case s.requests <- q:
	case <-s.done:
		return true
	case <-timer.C:
		return false
	}
	select {
	case <-q.gone:
		return true
	case <-s.done:
		return true
	case <-timer.C:
		return false
	}
}

func (s *subreaper) run() {
	defer close(s.done)
	defer signal.Stop(s.signals)
	for {
		select {
		case <-s.signals:
		case <-s.wake:
		case q := <-s.requests:
			s.waiting = append(s.waiting, q)
		case <-s.quit:
			return
		}
		for s.sweep() && !s.isClosing() { // what has been reaped may have left children in turn
		}
		s.answer()
	}
}

func (s *subreaper) isClosing() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

// sweep looks at all strangers once and reports whether it has reaped any.
func (s *subreaper) sweep() (reaped bool) {
	here := s.registry.strangers()
	found := make(map[int]*stranger, len(here))
	for _, pid := range here {
		if reapChild(pid) {
			delete(s.earlier, pid)
			reaped = true
			continue
		}
		if s.earlier[pid] {
			continue
		}
		k := s.known[pid]
		if k == nil {
			k = &stranger{unknown: true}
		}
		if k.unknown {
			k.owner, k.unknown = s.registry.owner(pid)
		}
		k.spared = k.unknown || k.owner != nil && s.registry.isLive(k.owner)
		if !k.spared {
			if k.killed.IsZero() {
				k.killed = time.Now()
			}
			killStranger(pid, s.registry.isGroup)
		}
		found[pid] = k
	}
	s.known = found
	return reaped
}

// answer tells those whose strangers are gone. Requests that nobody waits for any more go the same way.
func (s *subreaper) answer() {
	waiting := s.waiting[:0]
	for _, q := range s.waiting {
		if s.isDone(q) {
			close(q.gone)
		} else {
			waiting = append(waiting, q)
		}
	}
	clear(s.waiting[len(waiting):])
	s.waiting = waiting
}

// isDone: whose an orphan was cannot always be told, so a request waits for all that are dying, but not for those of
// others that the kernel has not ended in the time that they had.
func (s *subreaper) isDone(q *reapRequest) bool {
	for _, k := range s.known {
		if !k.spared && (k.owner == q.process || time.Since(k.killed) < reapPatience) {
			return false
		}
	}
	return true
}
