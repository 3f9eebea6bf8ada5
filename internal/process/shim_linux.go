package process

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// execWord is the first argument of this program when it is to become another one.
	execWord = "__exec"
	// planFD is where the shim gets its plan and tells why it failed. The program does not get it.
	planFD = 5
	// workerOOMScore makes the kernel prefer a worker to the daemon and the rest of the system when memory runs out.
	workerOOMScore = 300

	// Exit statuses of a shim that failed, as shells have them.
	exitNotExecutable = 126
	exitNotFound      = 127
)

// mainCalled says that Main was called; without it a start would run the daemon in place of the shim.
var mainCalled bool

// Main is the first call of main, and of TestMain in tests that start processes. Where this process was started to
// become a worker it does that and never returns; where it was started by Keep it takes Keep's arguments away. It returns
// at once in any other.
func Main() {
	mainCalled = true
	if len(os.Args) < 2 {
		return
	}
	switch os.Args[1] {
	case execWord:
		shim()
	case keptWord:
		kept()
	}
}

// plan is what the daemon tells the shim. Strings are bytes, since JSON would mend what is not UTF-8.
type plan struct {
	Directory []byte   `json:"directory"`
	Argv      [][]byte `json:"argv"`
	Env       [][]byte `json:"env"`
}

func newPlan(directory string, argv, env []string) ([]byte, error) {
	p := plan{Directory: []byte(directory)}
	for _, s := range argv {
		p.Argv = append(p.Argv, []byte(s))
	}
	for _, s := range env {
		p.Env = append(p.Env, []byte(s))
	}
	return json.Marshal(p) //nolint:wrapcheck // cannot fail
}

func texts(list [][]byte) []string {
	s := make([]string, len(list))
	for i := range list {
		s[i] = string(list[i])
	}
	return s
}

// failure is what the shim tells the daemon where the program did not run: a StartError.
type failure struct {
	Step        Step          `json:"step"`
	Path        []byte        `json:"path"`
	Search      []byte        `json:"search"`
	Interpreter []byte        `json:"interpreter"`
	Errno       syscall.Errno `json:"errno"`
}

// parseFailure is the StartError in what a shim said; nil where it said nothing: the program was executed, or the shim
// was killed before.
func parseFailure(said []byte) error {
	var f failure
	if whole := json.Unmarshal(said, &f) == nil; !whole {
		return nil
	}
	return &StartError{
		Step: f.Step, Path: string(f.Path), Search: string(f.Search), Interpreter: string(f.Interpreter), Err: f.Errno,
	}
}

// shim makes this process the program of the plan. The attributes of a thread that stay over execve (no_new_privs, the
// signal mask) are those of the thread that calls it.
func shim() {
	runtime.LockOSThread()
	failed := runPlan()
	errno, _ := failed.Err.(syscall.Errno) //nolint:errorlint // they are as system calls return them
	said, err := json.Marshal(failure{
		Step: failed.Step, Path: []byte(failed.Path), Search: []byte(failed.Search),
		Interpreter: []byte(failed.Interpreter), Errno: errno,
	})
	if err == nil {
		_, err = unix.Write(planFD, said)
	}
	if err != nil { // no daemon at the other end: somebody tries the word by hand, or the daemon has died
		_, _ = os.Stderr.WriteString(failed.Error() + "\n") // the status tells too
	}
	status := exitNotFound
	if errors.Is(failed.Err, os.ErrPermission) {
		status = exitNotExecutable
	}
	unix.Exit(status) // not os.Exit, which lingers in a race-enabled build
}

// runPlan returns only where a step failed.
func runPlan() *StartError {
	p, err := readPlan()
	if err != nil {
		return &StartError{Step: StepPlan, Err: err}
	}
	directory, argv, env := string(p.Directory), texts(p.Argv), texts(p.Env)
	if err := syscall.Chdir(directory); err != nil {
		return &StartError{Step: StepDirectory, Path: directory, Err: err}
	}
	unix.Umask(unix.Umask(0) | 0o022)
	// No core files of what may be gigabytes of model. The Go runtime has raised the limit of descriptors; Exec puts it back.
	var core unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_CORE, &core) == nil {
		core.Cur = 0
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &core) // lowering is always allowed
	}
	raiseOOMScore()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return &StartError{Step: StepPrivileges, Err: err}
	}
	closeOnExec(planFD)
	resetSignals()
	return execute(argv, env)
}

// readPlan waits for the plan, which ends where the daemon shuts its side down.
func readPlan() (*plan, error) {
	var text []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Read(planFD, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err //nolint:wrapcheck // an errno, as failure wants it
		}
		if n == 0 {
			break
		}
		text = append(text, buf[:n]...)
	}
	var p plan
	if err := json.Unmarshal(text, &p); err != nil || len(p.Argv) == 0 {
		return nil, syscall.ECONNABORTED // the daemon died, or gave up, before it had sent all
	}
	return &p, nil
}

// raiseOOMScore has no error: where the kernel refuses it, the worker only loses an advantage that others have of it.
func raiseOOMScore() {
	const file = "/proc/self/oom_score_adj"
	text, err := os.ReadFile(file)
	if err != nil {
		return
	}
	if score, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && score < workerOOMScore {
		_ = os.WriteFile(file, []byte(strconv.Itoa(workerOOMScore)), 0) // see above
	}
}

// resetSignals gives the program the default action for all signals, none of them blocked. Caught ones become default by
// execve; ignored ones (nohup; a manager that ignores SIGPIPE) would stay so, in the program and all that it starts.
func resetSignals() {
	type action struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}
	const (
		lastSignal = 64
		ignored    = 1 // SIG_IGN
		maskSize   = 8
	)
	for n := uintptr(1); n <= lastSignal; n++ {
		var old, def action
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, 0, uintptr(unsafe.Pointer(&old)), maskSize, 0, 0) //nolint:gosec // there is no wrapper
		if errno == 0 && old.handler == ignored {
			_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, uintptr(unsafe.Pointer(&def)), 0, maskSize, 0, 0) //nolint:gosec // no wrapper; cannot fail
		}
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil) // cannot fail
}

// execute becomes the program. A name without a slash is looked for as execvp does it, in the PATH of env: a file that
// may not be executed is passed over, and told only if there is no other.
func execute(argv, env []string) *StartError {
	name := argv[0]
	if strings.Contains(name, "/") { // relative to the directory of the plan, in which we are
		return executeFile(name, argv, env)
	}
	search := searchPath(env)
	found := &StartError{Step: StepExec, Path: name, Search: search, Err: syscall.ENOENT}
	for _, dir := range filepath.SplitList(search) {
		if dir == "" {
			dir = "." // as POSIX has it
		}
		switch err := executeFile(dir+"/"+name, argv, env); {
		case err.Interpreter != "":
			return err
		case errors.Is(err, syscall.EACCES):
			found = err
		case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ESTALE),
			errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ETIMEDOUT): // not there, or not now
		default:
			return err
		}
	}
	return found
}

// searchPath is the PATH of an environment, or what execvp takes where it has none.
func searchPath(env []string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			return v
		}
	}
	return "/usr/local/bin:/usr/bin:/bin"
}

// executeFile returns only where it cannot be executed.
func executeFile(file string, argv, env []string) *StartError {
	failed := &StartError{Step: StepExec, Path: file, Err: syscall.Exec(file, argv, env)} //nolint:gosec // what the configuration says
	if errors.Is(failed.Err, syscall.ENOENT) {
		failed.Interpreter = missingInterpreter(file)
	}
	return failed
}

// missingInterpreter tells a file that is there and whose interpreter is not from one that is not there itself, which
// the kernel does not; "" for the latter.
func missingInterpreter(file string) string {
	f, err := os.Open(file) //nolint:gosec // see executeFile
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // only read
	line, _ := bufio.NewReader(f).ReadSlice('\n')
	rest, isScript := bytes.CutPrefix(line, []byte("#!"))
	if fields := bytes.Fields(rest); isScript && len(fields) > 0 {
		return string(fields[0])
	}
	return "of the program" // the loader of another C library or machine
}
