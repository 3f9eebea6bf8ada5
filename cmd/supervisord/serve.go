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
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"supervisord/internal/config"
	"supervisord/internal/dispatch"
	"supervisord/internal/process"
	"supervisord/internal/rpc"
	"supervisord/internal/workers"
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
			// Where no service manager does, a process of its own ends what the daemon leaves behind, whatever ends it.
			if status, kept := process.Keep(os.Args); kept {
				return &endedError{status}
			}
			dir, err := os.Getwd()
			if err != nil {
				return err //nolint:wrapcheck // says what could not be done
			}
			options := config.LoadOptions{Path: file, Flags: cmd.Flags(), Env: c.env, EUID: os.Geteuid(), WorkDir: dir}
			return serve(cmd.Context(), c, options)
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
	end        context.CancelFunc // stops the daemon at once
	stopping   context.Context    //nolint:containedctx // ends reloads, which come from any connection, when the daemon stops
	stopWork   context.CancelCauseFunc
	options    config.LoadOptions
	env        func(string) (string, bool)
	config     atomic.Pointer[config.Config]          // the last one that was valid
	invalid    atomic.Pointer[config.ValidationError] // of a daemon that was started by its socket and serves without pools
	log        *zap.Logger
	level      zap.AtomicLevel
	listener   *net.UnixListener
	socket     string       // where it listens
	release    func() error // gives up the listener
	host       *process.Host
	pipes      *workers.Pipes
	begun      *config.Config // that of the start, of which some keys hold until the end
	dispatcher *dispatch.Dispatcher
	backend    *backend
	server     *rpc.Server

	reloading chan struct{}  // holds a token while a reload is under way
	hups      chan struct{}  // holds a token while a SIGHUP waits for its reload
	reloads   sync.WaitGroup // those that a SIGHUP has begun
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
	ctx, end := context.WithCancel(ctx)
	defer end()
	stopping, stopWork := context.WithCancelCause(ctx)
	defer stopWork(nil)
	i := &instance{
		end: end, stopping: stopping, stopWork: stopWork, options: options, env: c.env, listener: activated,
		reloading: make(chan struct{}, 1), hups: make(chan struct{}, 1),
	}
	if err := i.configure(c); err != nil {
		return err
	}
	if err := i.start(ctx); err != nil {
		return err
	}
	return i.run(ctx, signals)
}

// configure loads the configuration and makes the logger.
func (i *instance) configure(c *cli) error {
	loaded, err := config.Load(i.options)
	invalid, ok := errors.AsType[*config.ValidationError](err)
	switch {
	case err == nil:
	case i.listener != nil && ok:
		// Ending would only make systemd refuse the clients that wait at its socket.
		loaded = invalid.Usable
	default:
		return &configError{err: err}
	}
	i.config.Store(loaded)
	i.level = zap.NewAtomicLevelAt(levelOf(loaded.Log.Level))
	i.log = newLogger(c.stderr, i.level, loaded.Log.Format)
	if ok {
		i.invalid.Store(invalid)
		logProblems(i.log, "invalid configuration", invalidConfig(invalid.Path, invalid))
	}
	i.logNotYet(loaded)
	return nil
}

// withoutPools is what a daemon that was started by its socket follows where a valid configuration cannot be on this
// machine: ending would only make systemd refuse the clients that wait. Whether the rules of access can be is not known,
// so it serves root and its own user alone.
func (i *instance) withoutPools(c *config.Config, fault error) (*next, error) {
	usable := *c
	usable.Pools = nil
	usable.Access = []config.AccessRule{{Users: []string{"0", strconv.Itoa(os.Geteuid())}, Methods: []string{"*"}}}
	invalid := &config.ValidationError{Path: c.File, Usable: &usable}
	for _, p := range invalidConfig(c.File, fault).Data.Problems {
		invalid.Problems = append(invalid.Problems, config.Problem(p))
	}
	i.config.Store(&usable)
	i.invalid.Store(invalid)
	logProblems(i.log, "invalid configuration", invalidConfig(invalid.Path, invalid))
	return i.check(&usable)
}

func (i *instance) logNotYet(c *config.Config) {
	for _, p := range c.NotYet() {
		i.log.Warn("setting has no effect in this version", zap.String("path", p.Path))
	}
}

// logUnlimited names the limits that this machine cannot enforce.
func (i *instance) logUnlimited(c *config.Config) {
	can := i.host.Limits()
	for k := range c.Pools {
		p := &c.Pools[k]
		for key, missing := range map[string]bool{
			"memory_limit": p.MemoryLimit > 0 && !can.Memory, "cpu_limit": p.CPULimit > 0 && !can.CPU, "tasks_limit": p.TasksLimit > 0 && !can.Tasks,
		} {
			if missing {
				i.log.Warn("limit cannot be enforced", zap.String("pool", p.Name), zap.String("key", key), zap.String("reason", i.host.Reason()))
			}
		}
	}
}

// start makes everything, from the listener to the pools; what it made before an error is taken back.
func (i *instance) start(ctx context.Context) (err error) {
	if i.host, err = process.Open(process.Options{Subreaper: true, Cgroups: true, Orphaned: i.end}); err != nil {
		return err //nolint:wrapcheck // says what could not be done
	}
	defer func() {
		if err != nil {
			i.host.Close()
		}
	}()
	i.log.Info("workers are ended with all their descendants", zap.String("by", i.host.TreeKill()), zap.String("reason", i.host.Reason()))
	o := i.config.Load()
	i.logUnlimited(o)
	i.pipes = workers.NewPipes()
	i.dispatcher = dispatch.New(dispatchLimits(o))
	defer func() {
		if err != nil {
			i.dispatcher.Close(ctx)
		}
	}()
	i.begun = o
	first, err := i.check(o)
	if err != nil && i.listener != nil {
		first, err = i.withoutPools(o, err)
	}
	if err != nil {
		return &configError{err: err}
	}
	o = first.config
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
	i.backend = newBackend(i)
	if i.server, err = rpc.New(i.serverOptions(first)); err != nil {
		return err //nolint:wrapcheck // a fault of this program
	}
	for k := range o.Pools {
		if err := i.dispatcher.Add(first.pools[o.Pools[k].Name]); err != nil {
			return err //nolint:wrapcheck // names the pool
		}
	}
	return nil
}

// run serves until a signal or the end of ctx, then stops in the reverse order of start.
func (i *instance) run(ctx context.Context, signals <-chan os.Signal) error {
	i.log.Info("daemon started", zap.String("version", version), zap.Int("pid", os.Getpid()),
		zap.String("config", i.config.Load().File), zap.String("socket", i.socket), zap.Int("pools", len(i.config.Load().Pools)))
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
	i.stopWork(errStopping)
	i.reloading <- struct{}{} // for good: the one that is under way ends soon, and none begins any more
	i.reloads.Wait()
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
		select {
		case i.hups <- struct{}{}:
			i.reloads.Go(i.hup)
		default: // the one that waits will see what this one would
		}
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
	if invalid := i.invalid.Load(); invalid != nil {
		return "STATUS=invalid configuration: " + invalid.Problems[0].Text(invalid.Path)
	}
	return fmt.Sprintf("STATUS=serving, pools: %d", len(i.config.Load().Pools))
}

// What follows shutdown_timeout, counted from its end: until workersGrace what still runs may end by itself, then it is
// killed; until answersGrace the last answers may be written.
const (
	workersGrace = 400 * time.Millisecond
	answersGrace = 800 * time.Millisecond
)

// sameSignal reports whether a signal that comes now is likely the one that began the stop: who signals the daemon and its
// keeper signals the daemon twice, since the keeper passes on what it gets.
func sameSignal(began time.Time) bool {
	const apart = 100 * time.Millisecond
	return process.Kept() && time.Since(began) < apart
}

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
				if (s == unix.SIGTERM || s == unix.SIGINT) && !sameSignal(began) {
					i.log.Warn("stopping at once", zap.Stringer("signal", s))
					cancel()
				}
			}
		}
	})
	limit := began.Add(i.config.Load().ShutdownTimeout)
	drained, drainedDone := context.WithDeadline(cut, limit)
	defer drainedDone()
	if err := i.dispatcher.Drain(drained); err != nil {
		i.dispatcher.EndAll(i.backend.registry.All())
	}
	workersGone, workersDone := context.WithDeadline(cut, limit.Add(workersGrace))
	defer workersDone()
	i.dispatcher.Close(workersGone)
	answered, answeredDone := context.WithDeadline(cut, limit.Add(answersGrace))
	defer answeredDone()
	i.server.Close(answered)
}
