// Package jsonscan recognises JSON text without building values.
//
// One validating pass over the bytes (RFC 8259, strict UTF-8, bounded depth) finds where a value ends and where the
// members of its outermost object lie, so that ids, params, chunks and results can be spliced from one peer's message
// into another's as the bytes they are:
//
//	Scanner   resumable: fed a growing buffer, finds the end of one value; needs no newline between messages
//	Object    the spans of the known members of one object (Keys says which), and what is wrong with its names
//	Capture   lets a Scanner go on without the buffer, and keeps one small member all the same
//	Members   walks the members of an object that a Scanner has already accepted
//	Elements  walks the elements of an array that a Scanner has already accepted
//
// A reader of messages scans as bytes arrive. One that is over the limit need not be stored to its end, but its end must
// be found, since the next message begins there, and so must its id, since the refusal names it. From where the limit is
// passed, a Capture takes over and the buffer becomes a window:
//
//	s.Reset(depth, keys, &object)
//	at, st := s.Scan(buf, 0)
//	for st == More && len(buf) <= limit {
//		buf = ...                              // and what has arrived since, appended
//		at, st = s.Scan(buf, at)               // goes on where it was
//	}
//	if st == More {
//		capture.Begin(&s, buf, at, keyID)
//	}
//	for st == More {
//		buf = ...                              // buf[at:], which is five bytes at most, and what has arrived since
//		at, st = s.Scan(buf, 0)
//	}
//	id := capture.Value()                          // nil: there is none that could be told
//
// Nothing here allocates in proportion to the input, keeps a reference to it, or recurses. encoding/json is not used on
// this path because it takes the last of duplicate names and differently-cased ones, replaces invalid UTF-8, and costs
// up to ten times as much. No type is safe for concurrent use.
package jsonscan
