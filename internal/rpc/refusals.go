package rpc

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// refusalInterval is how often refused connections are logged at most: who is refused can try again at once, and for ever.
const refusalInterval = time.Second

// refusals logs connections that were refused, many in one line where they come fast. The zero value is ready.
type refusals struct {
	mu     sync.Mutex
	logged time.Time // the last line
	held   int       // refused since then
}

// add counts a connection that was refused and logs it, with those that were not, unless the last line was just now.
func (r *refusals) add(log *zap.Logger, now time.Time, reason string) {
	r.mu.Lock()
	r.held++
	n := r.held
	due := now.Sub(r.logged) >= refusalInterval
	if due {
		r.logged, r.held = now, 0
	}
	r.mu.Unlock()
	if due {
		log.Warn("connections refused", zap.String("reason", reason), zap.Int("count", n))
	}
}

// flush logs those that were not.
func (r *refusals) flush(log *zap.Logger) {
	r.mu.Lock()
	n := r.held
	r.held = 0
	r.mu.Unlock()
	if n > 0 {
		log.Warn("connections refused", zap.Int("count", n))
	}
}
