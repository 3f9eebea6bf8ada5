// Package process is the operating system's side of a worker: it starts processes with their pipes, watches for their
// exit, signals and kills them with all their descendants, and reaps them.
package process
