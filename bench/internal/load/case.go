// Package load drives one system through one case and checks every answer: each request is answered exactly once and without an
// error, each stream is complete and in order.
//
// One goroutine a connection reads answers and sends what they trigger, all of one read in one write. It speaks raw frames (to
// the floor) or JSON-RPC lines (to the product), and finds its way in an answer by prefixes; every 256th answer is decoded whole
// and compared with what was asked for.
package load

// Case is one shape of load.
type Case struct {
	Name     string
	Conns    int
	InFlight int // calls in flight on each connection
	Payload  int // bytes of a unary call's payload each way, or of one chunk
	Chunks   int // 0: unary; else every call is a stream of so many
}

// Unit is what a case counts.
func (c Case) Unit() string {
	if c.Chunks > 0 {
		return "chunks"
	}
	return "calls"
}

// Cases are all cases in the order of the table.
func Cases() []Case {
	const kib = 1 << 10
	return []Case{
		{Name: "u100c1", Conns: 1, InFlight: 1, Payload: 100},
		{Name: "u100c16", Conns: 4, InFlight: 4, Payload: 100},
		{Name: "u100c64", Conns: 8, InFlight: 8, Payload: 100},
		{Name: "u100c512", Conns: 16, InFlight: 32, Payload: 100},
		{Name: "u100c1x64", Conns: 64, InFlight: 1, Payload: 100},
		{Name: "u64kc16", Conns: 4, InFlight: 4, Payload: 64 * kib},
		{Name: "s64", Conns: 1, InFlight: 1, Payload: 64, Chunks: 10_000},
		{Name: "s16k", Conns: 1, InFlight: 1, Payload: 16 * kib, Chunks: 1000},
		{Name: "s64x16", Conns: 16, InFlight: 1, Payload: 64, Chunks: 10_000},
	}
}
