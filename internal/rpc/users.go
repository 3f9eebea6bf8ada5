package rpc

import (
	"sync"
	"sync/atomic"
)

// users counts what each user has. The zero value is ready.
type users struct {
	mu    sync.Mutex
	byUID map[uint32]*userCount
}

// userCount is what one user has. It is shared by the user's connections, which hold it as long as they are open.
type userCount struct {
	connections int // guarded by users.mu
	inFlight    atomic.Int64
}

// connect counts one more connection of a user, unless there are limit of them; 0 is no limit. It returns nil then.
func (u *users) connect(uid uint32, limit int) *userCount {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.byUID[uid]
	if c == nil {
		c = &userCount{}
		if u.byUID == nil {
			u.byUID = map[uint32]*userCount{}
		}
		u.byUID[uid] = c
	}
	if limit > 0 && c.connections >= limit {
		return nil
	}
	c.connections++
	return c
}

func (u *users) disconnect(uid uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.byUID[uid]
	if c.connections--; c.connections == 0 {
		delete(u.byUID, uid)
	}
}

// enter counts one more request in flight, unless there are limit of them; 0 is no limit.
func (c *userCount) enter(limit int) bool {
	if n := c.inFlight.Add(1); limit > 0 && n > int64(limit) {
		c.inFlight.Add(-1)
		return false
	}
	return true
}

// leave counts n requests out.
func (c *userCount) leave(n int) { c.inFlight.Add(-int64(n)) }
