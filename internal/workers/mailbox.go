package workers

import "sync"

// mailKind says what a letter tells the owner of a worker.
type mailKind uint8

const (
	mailStart      mailKind = iota + 1 // Pool.Start and Pool.Replace
	mailStop                           // Pool.Stop
	mailRevive                         // failures were forgotten, or a probe has succeeded
	mailProbe                          // this worker has to probe from now on
	mailNotice                         // another process of the slot has ended
	mailTuned                          // the options have changed
	mailSuperseded                     // the generation that its process is the pilot of was given up

	// The others are about an incarnation.

	mailReady        // the process has answered init
	mailLoadProgress // it is still loading
	mailClosed       // one of its pipes has ended; err says which
	mailFault        // it broke the protocol; err says how
	mailCancel       // a job shall end
	mailKill         // a job shall end at once
	mailJobEnded     // a job of an incarnation that drains has ended
	mailRetire       // Pool.Retire
	mailEnd          // Pool.Kill
	mailAsk          // a command waits to be sent
	mailAnswer       // it was answered
	mailFull         // it has ended as many jobs as it may
	mailLook         // a job has ended: its memory is to be looked at
	mailTorn         // it has begun a frame and not ended it
)

// letter is one thing told to the owner. Letters about an incarnation that is gone are dropped.
type letter struct {
	kind mailKind
	inc  *Incarnation
	job  string // link id
	err  error

	generation uint64 // with mailSuperseded
}

// mailbox takes letters from any goroutine without blocking. Its lock is a leaf. Letters are rare (never one for each
// chunk or result), so it need not be bounded.
type mailbox struct {
	mu      sync.Mutex
	letters []letter
	wake    chan struct{} // holds a token while there are letters
}

func newMailbox() mailbox { return mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) put(l letter) {
	m.mu.Lock()
	m.letters = append(m.letters, l)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default: // the token that is there will do
	}
}

// take empties the mailbox.
func (m *mailbox) take() []letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	letters := m.letters
	m.letters = nil
	return letters
}
