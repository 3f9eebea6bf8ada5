package rpc_test

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supervisord/internal/rpc"
)

// someone is a user who is neither root nor the daemon's own, in group and supplementary group of the same number.
const (
	someone      = 54321
	someonesMore = 54322
)

// dialAs dials as another user, which only root can. The thread that has become that user ends with the goroutine.
func (d *daemon) dialAs(t *testing.T, uid, gid int, groups ...int) *client {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	type dialed struct {
		file *os.File
		err  error
	}
	result := make(chan dialed, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread is of no more use
		fd, err := func() (int, error) {
			list := make([]uint32, len(groups)+1)
			for i, g := range groups {
				list[i] = uint32(g)
			}
			for _, step := range [][4]uintptr{
				{unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(pointer(list)), 0},
				{unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
				{unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
			} {
				if _, _, errno := syscall.RawSyscall(step[0], step[1], step[2], step[3]); errno != 0 {
					return 0, errno
				}
			}
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return 0, err
			}
			return fd, unix.Connect(fd, &unix.SockaddrUnix{Name: d.path})
		}()
		result <- dialed{os.NewFile(uintptr(fd), "socket"), err}
	}()
	r := receive(t, result, "connection")
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.file.Close()
	nc, err := net.FileConn(r.file)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, nc.(*net.UnixConn))
}

func access(t testing.TB, rules ...rpc.Rule) *rpc.Access {
	t.Helper()
	a, err := rpc.NewAccess(rules, uint32(os.Geteuid()))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// may says which of some methods a client may call: e(xecute), j(ob.cancel), p(lugin.list), i(nfo) and P(ing).
func (c *client) may() (allowed string) {
	c.t.Helper()
	for _, m := range []struct{ letter, method, params string }{
		{"e", "execute", `{"plugin_name":"echo"}`}, {"j", "job.cancel", `{"job_id":"none"}`}, {"p", "plugin.list", ""}, {"i", "daemon.info", ""}, {"P", "daemon.ping", ""},
	} {
		c.send(call("1", m.method, m.params))
		line := c.line()
		denied := fmt.Sprintf(`"error":{"code":1009,"message":"this user may not call %s","data":{"kind":"permission_denied","retryable":false,"method":%q,"uid":`, m.method, m.method)
		if !strings.Contains(line, denied) {
			if strings.Contains(line, "1009") {
				c.t.Errorf("got %s", line)
			}
			allowed += m.letter
		}
	}
	return allowed
}

// TestAccess: the first rule that matches allows; without one that does, only what is open to all.
func TestAccess(t *testing.T) {
	self, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(self.Gid)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		rules []rpc.Rule
		own   string
	}{
		{"none", nil, "ejpiP"},
		{"all", []rpc.Rule{{Users: []string{"*"}, Methods: []string{"*"}}}, "ejpiP"},
		{"no method", []rpc.Rule{{Users: []string{"*"}}}, "iP"},
		{"nobody", []rpc.Rule{{Methods: []string{"*"}}}, "iP"},
		{"by name", []rpc.Rule{{Users: []string{self.Username}, Methods: []string{"execute"}}}, "eiP"},
		{"by number", []rpc.Rule{{Users: []string{self.Uid}, Methods: []string{"execute"}}}, "eiP"},
		{"by group", []rpc.Rule{{Groups: []string{group.Name}, Methods: []string{"plugin.list"}}}, "piP"},
		{"by group number", []rpc.Rule{{Groups: []string{group.Gid}, Methods: []string{"plugin.list"}}}, "piP"},
		{"somebody else", []rpc.Rule{{Users: []string{"4294967294"}, Groups: []string{"4294967294"}, Methods: []string{"*"}}}, "iP"},
		{"wildcard", []rpc.Rule{{Users: []string{"*"}, Methods: []string{"job.*", "plugin.*"}}}, "jpiP"},
		{"two rules", []rpc.Rule{{Users: []string{"*"}, Methods: []string{"job.*"}}, {Users: []string{self.Uid}, Methods: []string{"execute"}}}, "ejiP"},
		{"no prefix", []rpc.Rule{{Users: []string{"*"}, Methods: []string{"plugin.", "exec"}}}, "iP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := start(t, func(o *rpc.Options) { o.Access = access(t, c.rules...) })
			if got := d.dial(t).may(); got != c.own {
				t.Errorf("may %q, want %q", got, c.own)
			}
		})
	}
}

// TestAccessOfOthers: a client is who the kernel says it is, with all its groups.
func TestAccessOfOthers(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules []rpc.Rule
		want  string
	}{
		{"none", nil, "ejpiP"},
		{"by number", []rpc.Rule{{Users: []string{strconv.Itoa(someone)}, Methods: []string{"execute"}}}, "eiP"},
		{"by group", []rpc.Rule{{Groups: []string{strconv.Itoa(someone)}, Methods: []string{"plugin.*"}}}, "piP"},
		{"by another group", []rpc.Rule{{Groups: []string{strconv.Itoa(someonesMore)}, Methods: []string{"job.*"}}}, "jiP"},
		{"root", []rpc.Rule{{Users: []string{"root"}, Groups: []string{"root"}, Methods: []string{"*"}}}, "iP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := start(t, func(o *rpc.Options) { o.Access = access(t, c.rules...) })
			many := make([]int, 100) // more than are asked for at first
			for i := range many {
				many[i] = 60000 + i
			}
			if got := d.dialAs(t, someone, someone, append(many, someonesMore)...).may(); got != c.want {
				t.Errorf("may %q, want %q", got, c.want)
			}
		})
	}
}

// TestJobsOfOthers: only administrators may end them.
func TestJobsOfOthers(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules []rpc.Rule
		admin bool
	}{
		{"none", nil, false},
		{"all methods", []rpc.Rule{{Users: []string{"*"}, Methods: []string{"*"}}}, true},
		{"all of job", []rpc.Rule{{Users: []string{"*"}, Methods: []string{"execute", "job.*"}}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := start(t, func(o *rpc.Options) { o.Access = access(t, c.rules...) })
			own := d.dial(t)
			own.send(run("1", "hold", `"job_id":"own"`))
			j := d.hold(t)
			other := d.dialAs(t, someone, someone)
			other.send(call("1", "job.cancel", `{"job_id":"own"}`))
			if !c.admin {
				other.wantLike(`{"id":1,"error":{"code":1006}}`)
				j.end("1", nil)
				return
			}
			d.want(t, j, "cancel operator")
			other.wantLike(`{"id":1,"result":{"status":"cancelled"}}`)
		})
	}
	t.Run("root", func(t *testing.T) {
		d := start(t)
		other := d.dialAs(t, someone, someone)
		other.send(run("1", "hold", `"job_id":"other"`))
		j := d.hold(t)
		if j.x.UID != someone || j.x.PID != os.Getpid() {
			t.Errorf("the job is of uid %d, pid %d", j.x.UID, j.x.PID)
		}
		own := d.dial(t)
		own.send(call("1", "job.cancel", `{"job_id":"other"}`))
		d.want(t, j, "cancel operator")
		own.wantLike(`{"id":1,"result":{"status":"cancelled"}}`)
	})
}

// TestUnknownNames: all of them are told.
func TestUnknownNames(t *testing.T) {
	_, err := rpc.NewAccess([]rpc.Rule{{Users: []string{"*", "root", "no-such-user"}}, {Groups: []string{"no-such-group", "99999999999"}}}, 0)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`access[0]: user "no-such-user"`, `access[1]: group "no-such-group"`, `access[1]: group "99999999999"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if strings.Contains(err.Error(), `"root"`) {
		t.Errorf("%q", err)
	}
}
