// Package repotest holds the rules of the repository as tests: what every package, file and document must keep, that the
// README's snippets run as they stand, and that the systemd units are valid. It has no code of its own.
package repotest
