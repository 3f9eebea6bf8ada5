package rpc

import (
	"fmt"
	"strconv"

	"supervisord/internal/outq"
	"supervisord/protocol"
)

// streamWindow is how many bytes a connection may have unsent before its streams are refused more: enough for full
// writes, and so little that an answer never stands behind much.
const streamWindow = 128 << 10

// call is an execute in flight: the Caller of its job.
type call struct {
	reply
	c      *conn
	key    string // in conn.calls
	job    Job    // set before its Start, so before any other goroutine knows the call
	stream bool
	token  string // partialResultToken as raw JSON, "" for none

	kept    int  // bytes of its result that the job keeps, or Keep has refused them; guarded by the job
	refused bool // likewise

	waits bool   // in conn.waiting; guarded by conn.mu
	head  []byte // of its chunk notifications, made for the first; guarded by the job
}

var _ Caller = (*call)(nil)

// execute begins a job. It is the reader goroutine's.
func (c *conn) execute(r *request, to reply) {
	k := &call{reply: to, c: c}
	x := Execution{UID: c.peer.UID, PID: c.peer.PID, Created: c.set.Now()}
	if err := parseExecute(r.params, &x, k); err != nil {
		c.answerError(&to, err, &c.set)
		return
	}
	if err := c.enter(&k.key, k.id, k); err != nil {
		c.answerError(&to, err, &c.set)
		return
	}
	job, err := c.s.backend.Make(x, k)
	if err != nil {
		c.leave(k.key)
		c.answerError(&to, err, &c.set)
		c.answered()
		return
	}
	k.job = job
	job.Start(&c.set)
}

// Chunk implements Caller.
func (k *call) Chunk(seq int64, chunk, metadata []byte, final bool, set *outq.Set) bool {
	c := k.c
	b, ok := c.out.LockBelow(c.window)
	if !ok {
		// It has to be known who waits before there can be room, or nobody would be told.
		c.wait(k)
		if b, ok = c.out.LockBelow(c.window); !ok {
			return false
		}
	}
	from := len(b)
	if k.head == nil {
		k.head = k.appendNotification(nil, protocol.NotificationStreamChunk, protocol.ProgressKindChunk, `,"seq":`)
	}
	b = strconv.AppendInt(append(b, k.head...), seq, 10)
	b = append(append(b, `,"chunk":`...), chunk...)
	b = strconv.AppendBool(append(b, `,"is_final":`...), final)
	b = append(append(b, `,"metadata":`...), metadata...)
	c.out.Unlock(c.end(k.closeNotification(b), from))
	set.Add(c.out)
	return true
}

// Progress implements Caller. Of a client that does not read, progress is dropped.
func (k *call) Progress(progress, message []byte, set *outq.Set) {
	c := k.c
	if c.out.Size() > c.window {
		return
	}
	b := c.out.Lock()
	from := len(b)
	b = k.appendNotification(b, protocol.NotificationJobProgress, protocol.ProgressKindProgress, `,"progress":`)
	b = append(append(b, progress...), `,"message":`...)
	b = append(b, message...)
	c.out.Unlock(c.end(k.closeNotification(b), from))
	set.Add(c.out)
}

// appendNotification appends the beginning of a notification up to the member next.
func (k *call) appendNotification(b []byte, method, kind, next string) []byte {
	b = append(b, `{"jsonrpc":"2.0","method":"`...)
	if k.token == "" {
		b = append(append(b, method...), `","params":{`...)
	} else {
		b = append(append(b, protocol.NotificationProgress...), `","params":{"token":`...)
		b = append(append(b, k.token...), `,"value":{"kind":"`...)
		b = append(append(b, kind...), `",`...)
	}
	b = append(append(b, `"job_id":"`...), k.job.JobID()...)
	b = append(b, `","request_id":`...)
	if k.id == "" {
		b = append(b, "null"...)
	}
	return append(append(b, k.id...), next...)
}

func (k *call) closeNotification(b []byte) []byte {
	if k.token != "" {
		b = append(b, '}')
	}
	return append(b, "}}"...)
}

// Keep implements Caller. What a job keeps for a client that does not read counts as if it were queued.
func (k *call) Keep(n int) bool {
	c := k.c
	c.kept.Add(int64(n))
	if c.unsent() > c.outputBuffer+c.maxMessage {
		c.kept.Add(int64(-n))
		k.refused = true
		return false
	}
	k.kept = n
	return true
}

// Done implements Caller. A worker's error may be as long as its result.
func (k *call) Done(data []byte, chunks int64, err *protocol.Error, set *outq.Set) {
	c := k.c
	c.leave(k.key)
	defer c.answered()
	c.kept.Add(int64(-k.kept))
	long := err == nil || err.Code == protocol.CodeJobFailed
	if unsent := c.unsent(); long && (k.refused || unsent > c.outputBuffer+c.maxMessage) {
		err = protocol.NewError(protocol.CodeClientTooSlow, fmt.Sprintf("%d bytes wait to be read, too many to queue this result", unsent))
		err.Data.Buffered, err.Data.JobID = new(int64(unsent)), k.job.JobID()
	}
	if err != nil {
		c.answerError(&k.reply, err, set)
		return
	}
	c.answer(&k.reply, func(b []byte) []byte {
		b = append(append(b, `"result":{"job_id":"`...), k.job.JobID()...)
		b = append(b, `","status":"success","data":`...)
		if len(data) == 0 {
			b = append(b, "{}"...)
		}
		b = append(append(b, data...), `,"chunks":`...)
		return append(strconv.AppendInt(b, chunks, 10), '}')
	}, set)
}
