package jsonscan

// CaptureLimit is how many bytes of a name or a value a Capture keeps. A longer value counts as absent.
const CaptureLimit = 1 << 10

// Capture reads on in a value that its caller no longer stores, because it is too long, and still learns the raw value
// of one member of the outermost object, wherever that stands: the id to be named in the refusal of a request whose
// params are too large. It holds at most CaptureLimit bytes. The zero value is ready for Begin.
type Capture struct {
	s      *Scanner
	key    int
	read   int    // bytes of the whole value that are behind
	window []byte // given to Scan, for as long as that runs

	inKey bool // the member whose name was last read is the one that is wanted
	seen  int  // how often it has stood
	piece []byte
	spilt bool // piece was longer than CaptureLimit
	value []byte
}

// Begin makes s, for which Scan(b, i) was the last call and gave More, go on in windows: from now on the caller may drop
// every byte before the index that Scan returns with More, and give the rest with what has come since as the next b,
// with the index at which it begins there. s must have been Reset with an object; its spans no longer hold, and key is
// the index of the wanted member in its keys. Offsets of errors still count from the start of the value. Reset ends it.
func (c *Capture) Begin(s *Scanner, b []byte, i, key int) {
	*c = Capture{s: s, key: key, read: i, piece: c.piece[:0]}
	switch o := s.obj; {
	case o.twice&(1<<key) != 0:
		c.seen = 2
	case o.spans[key].to > 0:
		c.seen = 1
		c.keep(b[o.spans[key].from:o.spans[key].to])
		c.take()
	}
	if c.inKey = s.member == key && c.seen == 0; c.inKey {
		c.seen = 1
	}
	s.capture, s.obj = c, nil
	c.pause(b, i)
}

// Value is the raw value of the wanted member, nil while it has not been read. It is also nil where the value is longer
// than CaptureLimit or the name stands twice: nobody can say then which one counts.
func (c *Capture) Value() []byte {
	if c.seen != 1 {
		return nil
	}
	return c.value
}

// scan is Scanner.Scan over one window.
func (c *Capture) scan(b []byte, i int) (int, Status) {
	s := c.s
	s.nameFrom, s.valueAt = i, i // what has begun goes on here
	c.window = b
	at, st := s.scan(b, i)
	c.window = nil
	if st == Invalid {
		s.errAt += c.read - i
	}
	if st == More {
		c.pause(b, at)
	}
	c.read += at - i
	return at, st
}

// pause keeps what has come of a name or a value that goes on after b[:i].
func (c *Capture) pause(b []byte, i int) {
	switch s := c.s; {
	case s.depth == 1 && s.st == stNameStr:
		c.keep(b[s.nameFrom:i])
	case c.inKey && s.inValue():
		c.keep(b[s.valueAt:i])
	}
}

// name takes the name of a member of the outermost object, which ends before index end of the window.
func (c *Capture) name(end int) {
	c.keep(c.window[c.s.nameFrom:end])
	i, m := c.s.keys.find(c.piece)
	c.inKey = i == c.key && m == exact && !c.spilt
	if c.inKey {
		c.seen++
	}
	c.piece, c.spilt = c.piece[:0], false
}

// end notes that the value of a member of the outermost object, or an element of the outermost array, ended.
func (c *Capture) end(end int) {
	if c.inKey {
		c.keep(c.window[c.s.valueAt:end])
		c.take()
	}
}

// take makes the piece the value.
func (c *Capture) take() {
	if c.seen == 1 && !c.spilt {
		c.value = append([]byte(nil), c.piece...)
	}
	c.inKey, c.piece, c.spilt = false, c.piece[:0], false
}

func (c *Capture) keep(b []byte) {
	if c.spilt = c.spilt || len(c.piece)+len(b) > CaptureLimit; !c.spilt {
		c.piece = append(c.piece, b...)
	}
}
