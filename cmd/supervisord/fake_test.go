package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func contextWithPatience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// fake is a daemon that plays a list of steps, one a line, over as many connections as clients make:
//
//	< METHOD PARAMS     the client must send this; no PARAMS: none, "*": any
//	> LINE              send this, $ID being the id of the last request that had one
//	repeat N LINE       send it N times, or until the client has left
//	kill SIGNAL         send a signal to the client
//	close               close the connection
type fake struct {
	listener *net.UnixListener
	done     chan struct{} // closed once the goroutine has ended

	steps []string // those not reached yet
	err   error
}

// scriptFake is the command fake. t is the test of all scripts: what goes wrong is known only when the script has ended.
func scriptFake(t *testing.T, ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fake FILE")
	}
	socket := ts.Getenv("SUPERVISORD_SOCKET")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	ts.Check(err)
	f := &fake{listener: listener, done: make(chan struct{})}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			f.steps = append(f.steps, line)
		}
	}
	go f.serve()
	ts.Defer(func() {
		listener.Close()
		<-f.done
		if f.err != nil {
			t.Errorf("%s: fake daemon: %v", ts.Name(), f.err)
		}
		if len(f.steps) > 0 {
			t.Errorf("%s: fake daemon: %d steps were not reached, the first is %s", ts.Name(), len(f.steps), f.steps[0])
		}
	})
}

func (f *fake) serve() {
	defer close(f.done)
	defer os.Remove(f.listener.Addr().String())
	for {
		conn, err := f.listener.AcceptUnix()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		if err := f.play(conn); err != nil {
			f.err = errors.Join(f.err, err)
			fmt.Fprintf(conn, `{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":%q,"data":{"kind":"internal_error"}}}`+"\n", "the test failed: "+err.Error())
		}
		conn.Close()
	}
}

// play goes on with the steps until the client has left.
func (f *fake) play(conn *net.UnixConn) error {
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	id := "null"
	for len(f.steps) > 0 {
		word, rest, _ := strings.Cut(f.steps[0], " ")
		if word == "<" {
			if !lines.Scan() {
				return nil
			}
			var r struct {
				ID     json.RawMessage
				Method string
				Params json.RawMessage
			}
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				return fmt.Errorf("%s: %w", lines.Bytes(), err)
			}
			method, params, _ := strings.Cut(rest, " ")
			if r.Method != method || params != "*" && params != string(r.Params) {
				return fmt.Errorf("got %s, want %s", lines.Bytes(), rest)
			}
			if r.ID != nil {
				id = string(r.ID)
			}
		} else if err := f.act(conn, word, strings.ReplaceAll(rest, "$ID", id)); err != nil {
			return err
		}
		f.steps = f.steps[1:]
		if word == "close" {
			return nil
		}
	}
	for lines.Scan() {
		return fmt.Errorf("got %s after the last step", lines.Bytes())
	}
	return nil
}

func (f *fake) act(conn *net.UnixConn, word, rest string) error {
	switch word {
	case ">":
		_, err := fmt.Fprintln(conn, rest)
		return err
	case "repeat":
		count, line, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			return err
		}
		for range n {
			if !sent(conn, line) {
				break
			}
		}
		return nil
	case "kill":
		raw, err := conn.SyscallConn()
		if err != nil {
			return err
		}
		var peer *unix.Ucred
		var peerErr error
		if err := raw.Control(func(fd uintptr) {
			peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		}); err != nil || peerErr != nil {
			return errors.Join(err, peerErr)
		}
		return unix.Kill(int(peer.Pid), unix.SignalNum("SIG"+rest))
	case "close":
		return nil
	}
	return fmt.Errorf("unknown step %s %s", word, rest)
}

// sent writes a line and reports whether the client is still there to take it.
func sent(conn *net.UnixConn, line string) bool {
	_, err := fmt.Fprintln(conn, line)
	return err == nil
}
