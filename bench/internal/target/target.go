package target

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supervisord/bench/internal/load"
)

// startTimeout is how long a system may take until it answers its first call.
const startTimeout = 30 * time.Second

// Target is one running system.
type Target struct {
	Name     string
	Socket   string
	Protocol load.Protocol

	process *process
	pid     int
}

// Pid returns the process that holds the socket, which need not be the one that was started.
func (t *Target) Pid() int { return t.pid }

// Stop ends the system and all its processes. An error says that it had died, or didn't end by itself.
func (t *Target) Stop() error { return t.process.stop() }

// Explain adds to an error of a run what the system itself has to say: its exit or its last output.
func (t *Target) Explain(err error) error {
	return fmt.Errorf("%s: %w%s", t.Name, err, t.process.tail())
}

// Floor starts the relay: executable, which must know the roles, with its socket and log in the directory dir.
func Floor(executable, dir string) (*Target, error) {
	t := &Target{Name: "floor", Socket: filepath.Join(dir, "floor.sock"), Protocol: load.Raw}
	return t, t.start(exec.Command(executable, "floor", t.Socket), filepath.Join(dir, "floor.log"))
}

// Product starts the daemon binary with one pool: one built-in worker that takes concurrency calls at once.
func Product(binary, dir string, concurrency int) (*Target, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	t := &Target{Name: "product", Socket: filepath.Join(dir, "product.sock"), Protocol: load.JSONRPC}
	config := filepath.Join(dir, "product.yaml")
	if err := os.WriteFile(config, []byte(productConfig(binary, t.Socket, concurrency, os.Geteuid() == 0)), 0o600); err != nil {
		return nil, err
	}
	return t, t.start(exec.Command(binary, "serve", "--config", config), filepath.Join(dir, "product.log"))
}

func productConfig(binary, socket string, concurrency int, root bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nsocket: {path: %s, mode: \"0600\"}\n", strconv.Quote(socket))
	fmt.Fprintf(&b, "limits: {max_in_flight: %d}\n", max(256, concurrency))
	fmt.Fprintf(&b, "log: {level: warn}\n")
	fmt.Fprintf(&b, "pools:\n  - name: bench\n    command: [%s, worker, demo]\n    concurrency: %d\n", strconv.Quote(binary), concurrency)
	if root {
		fmt.Fprintf(&b, "    allow_root: true\n")
	}
	return b.String()
}

// start returns once a first call of one connection was answered.
func (t *Target) start(cmd *exec.Cmd, log string) error {
	var err error
	if t.process, err = start(cmd, log); err != nil {
		return fmt.Errorf("start %s: %w", t.Name, err)
	}
	if err := t.ready(); err != nil {
		err = t.Explain(fmt.Errorf("not ready: %w", err))
		_ = t.Stop() // err says more
		return err
	}
	return nil
}

func (t *Target) ready() error {
	deadline := time.Now().Add(startTimeout)
	for {
		conn, err := (&net.Dialer{}).DialContext(context.Background(), "unix", t.Socket)
		if err == nil {
			t.pid, err = peer(conn)
			_ = conn.Close()
			if err != nil {
				return err
			}
			break
		}
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-t.process.exited:
			if t.process.err != nil {
				return fmt.Errorf("it has exited: %w", t.process.err)
			}
			return errors.New("it has exited with status 0")
		case <-time.After(10 * time.Millisecond):
		}
	}
	// The daemon holds a call until its worker is up: draining waits for the answer.
	return load.Once(t.Socket, t.Protocol, time.Until(deadline))
}

// peer is the process that listens where conn leads to.
func peer(conn net.Conn) (int, error) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("credentials of the listener: %w", err)
	}
	return int(cred.Pid), nil
}
