package rpc_test

import (
	"fmt"
	"strings"
	"testing"

	"supervisord/internal/rpc"
	"supervisord/protocol"
)

// A worker's long errors must be bounded for a client that does not read, as its results are.
func TestErrorsThatNobodyReads(t *testing.T) {
	d := start(t, func(o *rpc.Options) { o.OutputBuffer, o.MaxMessage = 256<<10, 256<<10 })
	c := d.dial(t)
	jobs := make([]*job, 40)
	for i := range jobs {
		c.send(run(fmt.Sprint(i), "hold", ""))
		jobs[i] = d.hold(t)
	}
	for _, j := range jobs {
		j.end("", protocol.NewError(protocol.CodeJobFailed, strings.Repeat("x", 200<<10)))
	}
	// What was queued is read only now.
	total := 0
	for range jobs {
		total += len(c.line())
	}
	if total > 2*(512<<10) {
		t.Errorf("%d bytes were queued for a client that read nothing, with a bound of %d", total, 512<<10)
	}
}
