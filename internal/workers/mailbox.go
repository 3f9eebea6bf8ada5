package workers

import "sync"

// mailKind says what a letter tells the owner of a worker.
type mailKind uint8

const (
	mailStart        mailKind = iota + 1 // Pool.Start
	mailStop                             // Pool.Stop
	mailReady                            // the process has answered init
	mailLoadProgress                     // it is still loading
	mailClosed                           // one of its pipes has ended; err says which
	mailFault                            // it broke the protocol; err says how
	mailCancel                           // a job shall end
	mailKill                             // a job shall end at once
	mailJobEnded                         // a job of an incarnation that drains has ended
)

// letter is one thing told to the owner. Letters about an incarnation that is gone are dropped.
type letter struct {
	kind mailKind
	inc  *Incarnation
	job  string // link id
	err  error
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
