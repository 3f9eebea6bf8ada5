package rpc_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"supervisord/internal/rpc"
	"supervisord/protocol"
)

// TestChunks: what a caller that asked for a stream is sent, byte for byte: the chunks before the response, none after.
func TestChunks(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	for _, e := range []struct{ id, member, chunk, progress string }{
		{
			`"\u00e9"`, `"stream":true`,
			`{"jsonrpc":"2.0","method":"stream.chunk","params":{"job_id":"J","request_id":"\u00e9","seq":S,"chunk":C,"is_final":false,"metadata":{}}}`,
			`{"jsonrpc":"2.0","method":"job.progress","params":{"job_id":"J","request_id":"\u00e9","progress":P,"message":M}}`,
		},
		{
			`-1.50`, `"partialResultToken":"t\u002d1"`,
			`{"jsonrpc":"2.0","method":"$/progress","params":{"token":"t\u002d1","value":{"kind":"chunk","job_id":"J","request_id":-1.50,"seq":S,"chunk":C,"is_final":false,"metadata":{}}}}`,
			`{"jsonrpc":"2.0","method":"$/progress","params":{"token":"t\u002d1","value":{"kind":"progress","job_id":"J","request_id":-1.50,"progress":P,"message":M}}}`,
		},
		{
			`null`, `"partialResultToken":-7`,
			`{"jsonrpc":"2.0","method":"$/progress","params":{"token":-7,"value":{"kind":"chunk","job_id":"J","request_id":null,"seq":S,"chunk":C,"is_final":false,"metadata":{}}}}`,
			`{"jsonrpc":"2.0","method":"$/progress","params":{"token":-7,"value":{"kind":"progress","job_id":"J","request_id":null,"progress":P,"message":M}}}`,
		},
	} {
		c.send(run(e.id, "hold", e.member))
		j := d.hold(t)
		shape := func(s string, with ...string) string {
			return strings.NewReplacer(append([]string{`"J"`, `"` + j.id + `"`}, with...)...).Replace(s)
		}
		j.progress("null", `"soon \u00e9"`)
		c.want(shape(e.progress, ":P", ":null", ":M", `:"soon \u00e9"`))
		for i, chunk := range []string{`"<h>"`, `{"a":[1, null]}`, "12"} {
			j.push(chunk)
			c.want(shape(e.chunk, ":S", fmt.Sprint(":", i), ":C", ":"+chunk))
		}
		j.progress("0.50", `""`)
		c.want(shape(e.progress, ":P", ":0.50", ":M", `:""`))
		j.push("13")
		j.end(`"end"`, nil)
		c.want(shape(e.chunk, ":S", ":3", ":C", ":13"))
		c.want(`{"jsonrpc":"2.0","id":` + e.id + `,"result":{"job_id":"` + j.id + `","status":"success","data":"end","chunks":4}}`)
		j.push("14")
		c.ping()
	}
}

// TestChunksOfANotification: a stream that was asked for comes, and no response.
func TestChunksOfANotification(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	c.send(run("", "spell", `"stream":true`))
	c.wantLike(`{"method":"stream.chunk","params":{"request_id":null,"seq":0,"chunk":"h"}}`, `{"params":{"request_id":null,"seq":1}}`)
	c.ping()
}

// TestFinalChunkAndMetadata: these are the worker's, as it sent them.
func TestFinalChunkAndMetadata(t *testing.T) {
	d := start(t)
	c := d.dial(t)
	c.send(run("1", "hold", `"stream":true`))
	j := d.hold(t)
	j.direct(`""`, `{"index": 1}`, true)
	c.want(`{"jsonrpc":"2.0","method":"stream.chunk","params":{"job_id":"job-1","request_id":1,"seq":0,"chunk":"","is_final":true,"metadata":{"index": 1}}}`)
	j.end("{}", nil)
	c.wantLike(`{"id":1,"result":{"chunks":1}}`)
}

// TestRefusedChunks: while a client does not read, its streams are refused, and answers go on; when it reads, all chunks
// come, in order, before their responses.
func TestRefusedChunks(t *testing.T) {
	d := start(t, func(o *rpc.Options) { o.OutputBuffer = 8 << 20 })
	c := d.dial(t)
	c.send(run("1", "hold", `"stream":true`))
	j := d.hold(t)
	sent := 0
	pad := strings.Repeat("x", 1<<10)
	for ; j.refusals() < 500; sent++ {
		j.push(fmt.Sprintf(`"%d %s"`, sent, pad))
	}
	if sent < 600 || sent > 2000 {
		t.Errorf("%d chunks of 1 KiB were sent when 500 had been refused", sent)
	}
	j.end(`"end"`, nil)
	c.send(call("3", "daemon.ping", ""), run("2", "hold", ""))
	d.hold(t).end("{}", nil) // both are queued now
	answers := 0
	for seq := 0; seq < sent; {
		line := c.line()
		if !strings.Contains(line, `"stream.chunk"`) {
			if answers++; strings.Contains(line, `"id":1,`) {
				t.Fatalf("answered after %d of %d chunks", seq, sent)
			}
			continue
		}
		if !strings.Contains(line, fmt.Sprintf(`"seq":%d,"chunk":"%d x`, seq, seq)) {
			t.Fatalf("chunk %d is %.150s", seq, line)
		}
		seq++
		if seq == sent-10 && answers != 2 {
			t.Errorf("%d of 2 answers came before the refused chunks", answers)
		}
	}
	c.wantLike(fmt.Sprintf(`{"id":1,"result":{"data":"end","chunks":%d}}`, sent))
	c.ping()
}

// TestLargeChunk: one that is larger than all there is room for goes when nothing else waits.
func TestLargeChunk(t *testing.T) {
	d := start(t, func(o *rpc.Options) { o.OutputBuffer = 4 << 10 })
	c := d.dial(t)
	c.send(run("1", "hold", `"stream":true`))
	j := d.hold(t)
	large := strings.Repeat("x", 1<<20)
	for range 3 {
		j.push(`"` + large + `"`)
	}
	j.end("1", nil)
	for seq := range 3 {
		if line := c.line(); !strings.Contains(line, fmt.Sprintf(`"seq":%d`, seq)) || len(line) < 1<<20 {
			t.Fatalf("chunk %d is %.150s", seq, line)
		}
	}
	c.wantLike(`{"id":1,"result":{"chunks":3}}`)
}

// TestStreamsShareAConnection: of streams that are all refused none waits for the end of another.
func TestStreamsShareAConnection(t *testing.T) {
	const streams, chunks = 3, 3000
	d := start(t, func(o *rpc.Options) { o.OutputBuffer = 8 << 20 })
	c := d.dial(t)
	var jobs []*job
	for i := range streams {
		c.send(run(fmt.Sprint(i), "hold", `"stream":true`))
		jobs = append(jobs, d.hold(t))
	}
	pad := strings.Repeat("x", 1<<10)
	for range chunks {
		for _, j := range jobs {
			j.push(`"` + pad + `"`)
		}
	}
	for _, j := range jobs {
		if j.refusals() < chunks/2 {
			t.Fatalf("only %d chunks were refused", j.refusals())
		}
		j.end("1", nil)
	}
	var got [streams]int
	for finished := 0; finished < streams; {
		line := c.line()
		var id, seq int
		if _, err := fmt.Sscanf(line[strings.Index(line, `"id":`)+1:], `id":%d`, &id); err == nil && strings.Contains(line, `"result"`) {
			finished++
			continue
		}
		if _, err := fmt.Sscanf(line[strings.Index(line, `"request_id":`):], `"request_id":%d,"seq":%d`, &id, &seq); err != nil {
			t.Fatalf("%v in %.150s", err, line)
		}
		if seq != got[id] {
			t.Fatalf("stream %d: chunk %d instead of %d", id, seq, got[id])
		}
		got[id]++
		// The one that is ahead may be so by what fits into the queue and the socket twice, not by half of its stream.
		if least := min(got[0], got[1], got[2]); got[id]-least > chunks/3 && got[id] < chunks {
			t.Fatalf("stream %d is %d chunks ahead of another", id, got[id]-least)
		}
	}
	for id, n := range got {
		if n != chunks {
			t.Errorf("stream %d has %d chunks", id, n)
		}
	}
}

// TestNoWakeUpIsLost: many chunks against a reader that takes them in odd pieces: every refusal is followed by room.
func TestNoWakeUpIsLost(t *testing.T) {
	t.Run("one stream", func(t *testing.T) { pushAll(t, 1, 8000) })
	t.Run("four streams", func(t *testing.T) { pushAll(t, 4, 2000) })
}

func pushAll(t *testing.T, streams, chunks int) {
	d := start(t, func(o *rpc.Options) { o.OutputBuffer = 2 << 10 })
	c := d.dial(t)
	var wg sync.WaitGroup
	var jobs []*job
	for i := range streams {
		c.send(run(fmt.Sprint(i), "hold", `"stream":true`))
		jobs = append(jobs, d.hold(t))
	}
	for i, j := range jobs {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			pad := strings.Repeat("x", 4<<10)
			for n := range chunks {
				j.push(fmt.Sprintf(`"%d %s"`, n, pad[:r.IntN(len(pad))]))
			}
			j.end("1", nil)
		})
	}
	next := map[string]int{}
	for finished := 0; finished < streams; {
		line := c.line()
		id, rest, ok := strings.Cut(line[strings.Index(line, `id":`)+4:], `,"result"`)
		if ok && strings.HasSuffix(rest, fmt.Sprintf(`"chunks":%d}}`, chunks)) {
			if next[id] != chunks {
				t.Fatalf("answer %s after %d chunks", id, next[id])
			}
			finished++
			continue
		}
		_, rest, _ = strings.Cut(line, `"request_id":`)
		id, rest, _ = strings.Cut(rest, ",")
		if !strings.HasPrefix(rest, fmt.Sprintf(`"seq":%d,`, next[id])) {
			t.Fatalf("stream %s: after %d chunks %.100s", id, next[id], rest)
		}
		next[id]++
	}
	wg.Wait()
}

// TestReadingStops: a client with more than output_buffer unread is not read from, until it reads again.
func TestReadingStops(t *testing.T) {
	d := start(t, func(o *rpc.Options) { o.OutputBuffer = 64 << 10 })
	d.offer(protocol.Plugin{Name: strings.Repeat("p", 8<<10)})
	c := d.dial(t)
	const requests = 4000
	written := make(chan error, 1)
	go func() {
		for i := range requests {
			if _, err := fmt.Fprint(c.nc, call(fmt.Sprint(i), "plugin.list", "")); err != nil {
				written <- err
				return
			}
		}
		_, err := fmt.Fprint(c.nc, run(`"last"`, "hold", ""))
		written <- err
	}()
	// 32 MiB of answers must be in nobody's memory: the daemon takes up requests only as their answers leave.
	select {
	case <-d.held:
		t.Fatal("everything was read while nothing was taken")
	case err := <-written:
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-d.held:
			t.Fatal("everything was read while nothing was taken")
		case <-time.After(50 * time.Millisecond): // the time in which a daemon that reads on would have come to the end
		}
	case <-time.After(50 * time.Millisecond):
	}
	// What the queue may hold, and what the socket does.
	if n := d.tellings(); n > 100 {
		t.Errorf("%d requests were carried out while nothing was taken", n)
	}
	for i := range requests {
		if line := c.line(); !strings.HasPrefix(line, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"plugins":[`, i)) {
			t.Fatalf("answer %d is %.100s", i, line)
		}
	}
	d.hold(t).end("1", nil)
	c.wantLike(`{"id":"last","result":{}}`)
	if err := receive(t, written, "end of writing"); err != nil {
		t.Fatal(err)
	}
}

// TestResultsThatNobodyReads: beyond output_buffer + max_message a further result becomes 1010, also within a batch, whose
// answers wait in memory for the last one.
func TestResultsThatNobodyReads(t *testing.T) {
	d := start(t, func(o *rpc.Options) { o.OutputBuffer, o.MaxMessage = 256<<10, 256<<10 })
	tooSlow := func(line string) bool { return strings.Contains(line, `"code":1010`) }
	t.Run("queue", func(t *testing.T) {
		c := d.dial(t)
		jobs := make([]*job, 40)
		for i := range jobs {
			c.send(run(fmt.Sprint(i), "hold", ""))
			jobs[i] = d.hold(t)
		}
		for _, j := range jobs {
			j.end(`"`+strings.Repeat("x", 100<<10)+`"`, nil)
		}
		refused := 0
		for range jobs {
			if line := c.line(); tooSlow(line) {
				refused++
				var n int
				if _, err := fmt.Sscanf(line[strings.Index(line, `"buffered_bytes":`):], `"buffered_bytes":%d}}}`, &n); err != nil || n <= 512<<10 {
					t.Errorf("%v, %d in %s", err, n, line)
				}
			}
		}
		if refused < 25 || refused > 35 {
			t.Errorf("%d of 40 results were refused", refused)
		}
		c.ping()
	})
	t.Run("batch", func(t *testing.T) {
		c := d.dial(t)
		requests := make([]string, 40)
		for i := range requests {
			requests[i] = run(fmt.Sprint(i), "big", `"params":{"size":100000}`)
		}
		c.send("[" + strings.Join(requests, ",") + "]")
		line := c.line()
		if n := strings.Count(line, `"code":1010`); n != 40-6 {
			t.Errorf("%d of 40 results were refused", n)
		}
		c.ping()
		c.send(run("1", "big", `"params":{"size":100000}`)) // and the batch's are forgotten
		c.wantLike(`{"id":1,"result":{}}`)
	})
}

// TestClientThatNeverReads: it is ended when nothing was taken for the time that it has, and its jobs are told how much
// waited.
func TestClientThatNeverReads(t *testing.T) {
	d := start(t, func(o *rpc.Options) { o.SlowClientTimeout = 50 * time.Millisecond })
	c := d.dial(t)
	c.send(run("1", "hold", `"stream":true`), run("2", "hold", `"on_disconnect":"continue"`))
	slow, lasting := d.hold(t), d.hold(t)
	for slow.refusals() == 0 {
		slow.push(`"` + strings.Repeat("x", 10<<10) + `"`)
	}
	told := map[string]event{}
	for range 3 {
		e := receive(t, d.events, "end of the jobs")
		told[e.what+" "+e.job.id] = e
	}
	e, ok := told["too slow "+slow.id]
	if !ok || told["leave "+slow.id].job == nil || told["leave "+lasting.id].job == nil {
		t.Fatalf("the jobs were told %v", told)
	}
	if e.n <= 128<<10 {
		t.Errorf("%d bytes waited", e.n)
	}
	lasting.end("1", nil)
	d.dial(t).ping()
}
