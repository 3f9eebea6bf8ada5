package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

// maxFile is how long a configuration file may be: 4 MiB.
const maxFile = 4 * mib

// LoadOptions says where Load looks.
type LoadOptions struct {
	// Path is the file, from --config or an argument; relative to WorkDir. Empty: search.
	Path string
	// Flags are the flags of the command; those that Overrides names and that were set on the command line count.
	// Nil: none.
	Flags *pflag.FlagSet
	// Env looks up a variable. Nil: os.LookupEnv.
	Env func(name string) (string, bool)
	// EUID is the user that the daemon runs as; 0 is root, for whom workers that run as root are an error.
	EUID int
	// WorkDir is what relative paths of Path, flags and variables are relative to. Empty: the process's at the time of
	// the call, which a daemon that reloads should not rely on: the directory may have been removed since.
	WorkDir string
}

// Load finds, reads and validates the configuration. It returns a *NotFoundError (errors.Is ErrNotFound) when there is
// no file in any place of the search order, a *ValidationError for a file that is not valid, and a wrapped fs error for
// one that cannot be read.
func Load(o LoadOptions) (*Config, error) {
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	if !filepath.IsAbs(o.WorkDir) {
		dir, err := filepath.Abs(o.WorkDir)
		if err != nil {
			return nil, fmt.Errorf("load configuration: working directory: %w", err)
		}
		o.WorkDir = dir
	}
	path, data, err := find(o)
	if err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	return load(path, data, o)
}

// Reload loads the file of a configuration that is in force again, and says what is different in it. It is a whole new
// Load with the same options, which share nothing with the one before, but for the path: the search is not made again,
// or a file that is missing for a moment would let another one take its place. The errors are those of Load, a missing
// file being a wrapped fs.ErrNotExist; current is as good as before then. A file that is being written may be valid and
// yet not whole: to change one that a daemon may read at any time, another one is renamed into its place.
func Reload(current *Config, o LoadOptions) (*Config, Changes, error) {
	o.Path = current.File
	next, err := Load(o)
	if err != nil {
		return nil, Changes{}, err
	}
	return next, Diff(current, next), nil
}

// find returns the path of the file that counts and what it holds. A file that was named has to be there; in the search,
// one that is there but cannot be read is an error and not passed over.
func find(o LoadOptions) (string, []byte, error) {
	named := o.Path
	if named == "" {
		named, _ = o.Env("SUPERVISORD_CONFIG")
	}
	if named != "" {
		path := absolute(named, o.WorkDir)
		data, err := read(path)
		return path, data, err
	}
	searched := searchOrder(o)
	for _, path := range searched {
		data, err := read(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		return path, data, err
	}
	return "", nil, &NotFoundError{Searched: searched}
}

func searchOrder(o LoadOptions) []string {
	order := []string{filepath.Join(o.WorkDir, "supervisord.yaml")}
	home, _ := o.Env("XDG_CONFIG_HOME")
	if user, _ := o.Env("HOME"); !filepath.IsAbs(home) && filepath.IsAbs(user) {
		home = filepath.Join(user, ".config")
	}
	if filepath.IsAbs(home) {
		order = append(order, filepath.Join(home, "supervisord", "config.yaml"))
	}
	return append(order, "/etc/supervisord/config.yaml")
}

// readPatience is how long a file that is a pipe may take to come.
const readPatience = 10 * time.Second

// read returns a file's bytes; of one that is too long, more than maxFile of them. It does not wait for the writer of a
// named pipe that has none, which would keep a daemon from its next reload for ever.
func read(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer file.Close()
	_ = file.SetReadDeadline(time.Now().Add(readPatience)) // a regular file has none, and needs none
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	return data, nil
}

// load does all that follows the reading of the file at path.
func load(path string, data []byte, o LoadOptions) (*Config, error) {
	var d *document
	if len(data) > maxFile {
		d = check(nil)
		d.problems = []Problem{{Message: "longer than 4MiB, the most that is read"}}
	} else {
		d = check(data)
	}
	set := overrides(d, o)
	c, err := build(d, set, path, o)
	if err != nil {
		return nil, fmt.Errorf("load configuration: %s: %w", path, err)
	}
	problems := d.problems
	for _, f := range append(findings(c, o.EUID), mixedAmounts(c, d.counts)...) {
		if d.isFaulty(f.Path) || slices.ContainsFunc(f.related, d.isFaulty) {
			continue
		}
		p := f.Problem
		if from, ok := set.origin(p.Path); ok {
			p.Message = "from " + from + ": " + p.Message
		} else {
			p.Line = d.line(p.Path, f.related)
		}
		problems = append(problems, p)
	}
	if len(problems) == 0 {
		expandSelf(c, o.EUID)
		return c, nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	usable, err := usableConfig(d, set, problems, path, o)
	if err != nil {
		return nil, fmt.Errorf("load configuration: %s: %w", path, err)
	}
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(problems[:maxProblems], Problem{Message: fmt.Sprintf("%d more problems", more)})
	}
	return nil, &ValidationError{Path: path, Problems: problems, Usable: usable}
}
