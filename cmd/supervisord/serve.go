package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"supervisord/internal/config"
	"supervisord/internal/dispatch"
	"supervisord/internal/process"
	"supervisord/internal/rpc"
	"supervisord/protocol"
)

func newServeCommand(c *cli) *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Run the daemon in the foreground until SIGTERM or SIGINT; a second one ends it at once.

Without --config the configuration is $SUPERVISORD_CONFIG, ./supervisord.yaml,
$XDG_CONFIG_HOME/supervisord/config.yaml or /etc/supervisord/config.yaml, whichever is there first. Every value outside
of its lists has a flag and a variable, which win over the file.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), c, config.LoadOptions{Path: file, Flags: cmd.Flags(), Env: c.env, EUID: os.Geteuid()})
		},
	}
	command.Flags().StringVar(&file, "config", "", "the configuration `file`")
	for _, o := range config.Overrides() {
		for _, name := range o.Flags {
			if name != "socket" { // all commands have it
				command.Flags().String(name, "", "overrides "+o.Key)
			}
		}
	}
	return command
}

// gcPercent lets the heap grow to three times what is live before it is collected. What the daemon holds is small, a few
// megabytes, and bounded by limits; at Go's own 100 it would be collected dozens of times a second under load.
const gcPercent = 200

// instance is one running daemon: what serve has made, in the order in which it was.
type instance struct {
	config     *config.Config
	invalid    *config.ValidationError // of a daemon that was started by its socket and serves without pools
	log        *zap.Logger
	listener   *net.UnixListener
	socket     string       // where it listens
	release    func() error // gives up the listener
	host       *process.Host
	dispatcher *dispatch.Dispatcher
	backend    *backend
	server     *rpc.Server
}

// serve runs the daemon until a signal stops it.
func serve(ctx context.Context, c *cli, options config.LoadOptions) error {
	// Before anything slow, so that a stop that comes early is not lost.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1)
	defer signal.Stop(signals)
	// Without a handler Go ends the process for a closed stdout or stderr, also where the signal is ignored. Not
	// signal.Ignore, which workers would inherit.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, unix.SIGPIPE)
	defer signal.Stop(pipes)

	if _, set := c.env("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	activated, err := activatedListener()
	if err != nil {
		return err
	}
	i := &instance{listener: activated}
	if err := i.configure(c, options); err != nil {
		return err
	}
	if err := i.start(ctx, c); err != nil {
		return err
	}
	return i.run(ctx, signals)
}

// configure loads the configuration and makes the logger.
func (i *instance) configure(c *cli, options config.LoadOptions) error {
	loaded, err := config.Load(options)
	switch {
	case err == nil:
		i.config = loaded
	case i.listener != nil && errors.As(err, &i.invalid):
		// Ending would only make systemd refuse the clients that wait at its socket.
		i.config = i.invalid.Usable
	default:
		return &configError{err: err}
	}
	if i.log, err = newLogger(c.stderr, i.config.Log.Level, i.config.Log.Format); err != nil {
		return &configError{err: err}
	}
	if i.invalid != nil {
		for _, p := range i.invalid.Problems {
			i.log.Error("invalid configuration", zap.String("file", i.invalid.Path), zap.Int("line", p.Line),
				zap.String("path", p.Path), zap.String("problem", p.Message))
		}
	}
	for _, p := range i.config.NotYet() {
		i.log.Warn("setting has no effect in this version", zap.String("path", p.Path))
	}
	return nil
}

// start makes everything, from the listener to the pools; what it made before an error is taken back.
func (i *instance) start(ctx context.Context, c *cli) (err error) {
	o := i.config
	access, err := rpc.NewAccess(accessRules(o.Access), uint32(os.Geteuid())) //nolint:gosec // never negative on Linux
	if err != nil {
		return &configError{err: err}
	}
	if i.listener != nil {
		i.socket, i.release = i.listener.Addr().String(), i.listener.Close // the file is systemd's
	} else {
		made, err := rpc.Listen(o.Socket.Path, o.Socket.FileMode(), o.Socket.Group) //nolint:contextcheck // does not wait
		if err != nil {
			return err //nolint:wrapcheck // says what it is about
		}
		i.listener, i.socket, i.release = made.UnixListener, o.Socket.Path, made.Close
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.release())
		}
	}()
	pools, err := i.makePools(ctx, c)
	if err != nil {
		return &configError{err: err}
	}
	i.backend.started = time.Now()
	i.server, err = rpc.New(rpc.Options{
		MaxConnections: o.Limits.MaxConnections, MaxConnectionsPerUID: o.Limits.MaxConnectionsPerUID,
		MaxInFlight: o.Limits.MaxInFlight, MaxInFlightPerUID: o.Limits.MaxInFlightPerUID,
		MaxQueuedBytes: o.Limits.MaxQueuedBytes, MaxMessage: int(o.Limits.MaxMessage), MaxBatch: o.Limits.MaxBatch,
		OutputBuffer: int(o.Limits.OutputBuffer), SlowClientTimeout: o.Limits.SlowClientTimeout,
		Version: version, Access: access, Backend: i.backend, Invalid: i.invalidError(), Log: i.log.Named("rpc"),
	})
	if err != nil {
		return err //nolint:wrapcheck // a fault of this program
	}
	for _, p := range pools {
		i.dispatcher.Add(p.pool, p.spec)
	}
	return nil
}

// invalidError is what all methods but those about the daemon answer while its configuration is invalid; nil while it is
// valid.
func (i *instance) invalidError() *protocol.Error {
	if i.invalid == nil {
		return nil
	}
	err := protocol.NewError(protocol.CodeConfigInvalid, "the daemon's configuration is invalid")
	for _, p := range i.invalid.Problems {
		err.Data.Problems = append(err.Data.Problems, protocol.Problem(p))
	}
	return err
}

func accessRules(rules []config.AccessRule) []rpc.Rule {
	list := make([]rpc.Rule, len(rules))
	for i, r := range rules {
		list[i] = rpc.Rule{Users: r.Users, Groups: r.Groups, Methods: r.Methods}
	}
	return list
}

// run serves until a signal or the end of ctx, then stops in the reverse order of start.
func (i *instance) run(ctx context.Context, signals <-chan os.Signal) error {
	i.log.Info("daemon started", zap.String("version", version), zap.Int("pid", os.Getpid()),
		zap.String("config", i.config.File), zap.String("socket", i.socket), zap.Int("pools", len(i.config.Pools)))
	failed := make(chan error, 1)
	var accepting sync.WaitGroup
	accepting.Go(func() { failed <- i.server.Serve(ctx, i.listener) })

	var failure error
	settled := i.dispatcher.Settled()
	for stopping := false; !stopping; {
		select {
		case <-settled:
			settled = nil
			notify(i.log, daemon.SdNotifyReady, i.status())
		case <-ctx.Done():
			stopping = true
		case failure = <-failed:
			stopping = true
		case s := <-signals:
			stopping = i.signalled(s)
		}
	}
	i.stop(ctx, signals)
	failure = errors.Join(failure, i.release())
	accepting.Wait()
	i.host.Close()
	i.log.Info("daemon stopped")
	return failure
}

// signalled does what a signal asks for and reports whether that is to stop.
func (i *instance) signalled(s os.Signal) bool {
	switch s {
	case unix.SIGHUP:
		i.log.Warn("reload is not served by this version: restart the daemon instead")
	case unix.SIGUSR1:
		var stacks bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 1); err != nil {
			i.log.Error("cannot dump goroutines", zap.Error(err))
		}
		i.log.Info("goroutines", zap.String("stacks", stacks.String()))
	default:
		i.log.Info("stopping", zap.Stringer("signal", s))
		return true
	}
	return false
}

// status is the line that `systemctl status` shows.
func (i *instance) status() string {
	if i.invalid != nil {
		return "STATUS=invalid configuration: " + i.invalid.Problems[0].Text(i.invalid.Path)
	}
	return fmt.Sprintf("STATUS=serving, pools: %d", len(i.config.Pools))
}

// killGrace is what workers get after shutdown_timeout, with nothing left to wait for, before they are killed.
const killGrace = time.Second

// stop lets running jobs end within shutdown_timeout, ends the rest, then the workers, and then the connections, which
// have all their answers by then. A second signal, like the end of ctx, cuts it short.
func (i *instance) stop(ctx context.Context, signals <-chan os.Signal) {
	notify(i.log, daemon.SdNotifyStopping)
	began := time.Now()
	cut, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch sync.WaitGroup
	defer watch.Wait()
	done := make(chan struct{})
	defer close(done)
	watch.Go(func() {
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				if s == unix.SIGTERM || s == unix.SIGINT {
					i.log.Warn("stopping at once", zap.Stringer("signal", s))
					cancel()
				}
			}
		}
	})
	limit := i.config.ShutdownTimeout
	drained, drainedDone := context.WithTimeout(cut, limit)
	err := i.dispatcher.Drain(drained)
	drainedDone()
	if err != nil {
		i.dispatcher.EndAll(i.backend.registry.All())
	}
	workersGone, workersDone := context.WithTimeout(cut, max(0, limit-time.Since(began))+killGrace)
	i.dispatcher.Close(workersGone)
	workersDone()
	answered, answeredDone := context.WithTimeout(cut, killGrace)
	i.server.Close(answered)
	answeredDone()
}
