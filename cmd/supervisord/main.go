// Command supervisord is the daemon that keeps pools of workers, the command line that calls it, and a built-in worker to
// try it with. README.md says what it is for; one file holds one command, run.go what all of them share.
package main

import (
	"context"
	"os"

	"supervisord/internal/process"
)

// version is set by the linker.
var version = "dev"

func main() {
	process.Main()
	os.Exit(run(context.Background(), os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}
