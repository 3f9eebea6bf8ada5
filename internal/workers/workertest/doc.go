// Package workertest gives tests real worker processes: the test binary, started again in a role.
//
//	func TestMain(m *testing.M) { workertest.Main(m) }
//
//	argv, env := workertest.Command("echo")   // for workers.Options.Command and Env
//
// A role is the whole of a process; the built-in ones are in roles.go, and a test may bring its own. It also checks that
// a test leaves nothing behind: see NoLeaks.
package workertest
