package rpc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"supervisord/protocol"
	"supervisord/protocol/jsonscan"
)

// maxHeaders is how many bytes the headers of one message may have.
const maxHeaders = 16 << 10

var headerContentLength = []byte("Content-Length")

// headed reads a message behind its headers. A message that is no JSON costs itself alone, since its length is known.
func (r *reader) headed() ([]byte, error) {
	n, err := r.headers()
	if err != nil {
		return nil, err
	}
	if n > int64(r.limit) {
		return nil, r.passBody(n)
	}
	for int64(r.to-r.from) < n {
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				offset := int64(r.to - r.from)
				r.from = r.to
				return nil, parseFault(offset, "unexpected end of input")
			}
			return nil, err
		}
	}
	message := bytes.TrimLeft(r.buf[r.from:r.from+int(n)], " \t\r\n")
	r.from += int(n)
	if err := r.envelope.Scan(&r.scanner, message, envelopeKeys, protocol.MaxDepth); err != nil {
		return nil, syntaxFault(err)
	}
	return message, nil
}

// headers reads the headers of a message and returns its length. Without a length nothing behind them can be found.
func (r *reader) headers() (int64, error) {
	lost := func(format string, args ...any) (int64, error) {
		f := parseFault(0, fmt.Sprintf(format, args...))
		f.last = true
		return 0, f
	}
	length := int64(-1)
	for total := 0; ; {
		line, err := r.headerLine(maxHeaders - total)
		switch {
		case errors.Is(err, errHeaders):
			return lost("headers of more than %d bytes", maxHeaders)
		case errors.Is(err, io.EOF):
			r.from = r.to
			return lost("unexpected end of input")
		case err != nil:
			return 0, err
		}
		total += len(line)
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			if length < 0 {
				return lost("headers without Content-Length")
			}
			return length, nil
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return lost("a line among the headers that is no header")
		}
		if !bytes.EqualFold(bytes.TrimSpace(name), headerContentLength) {
			continue
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 62)
		if err != nil || (length >= 0 && length != int64(n)) {
			return lost("no valid Content-Length")
		}
		length = int64(n)
	}
}

var errHeaders = errors.New("headers too long")

// headerLine returns the next line, its end included, of at most limit bytes.
func (r *reader) headerLine(limit int) ([]byte, error) {
	for {
		have := r.buf[r.from:r.to]
		if i := bytes.IndexByte(have, '\n'); i >= 0 && i < limit {
			r.from += i + 1
			return have[:i+1], nil
		}
		if len(have) >= limit {
			return nil, errHeaders
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// passBody drops the body of a message that is over the limit.
func (r *reader) passBody(n int64) error {
	if n > skipFactor*int64(r.limit) {
		f := tooLongFault(nil, r.limit)
		f.last = true
		return f
	}
	r.scanner.Reset(protocol.MaxDepth, envelopeKeys, &r.envelope)
	r.capture = jsonscan.Capture{}
	var id []byte
	status := jsonscan.More
	for left, first := n, true; ; first = false {
		window := r.buf[r.from:r.to]
		window = window[:min(int64(len(window)), left)]
		at := len(window) // of what is no JSON, or comes after it, nothing is kept
		if status == jsonscan.More {
			var scanned int
			if scanned, status = r.scanner.Scan(window, 0); status == jsonscan.More {
				at = scanned
			}
			switch {
			case first && status == jsonscan.More:
				r.capture.Begin(&r.scanner, window, at, keyID)
			case first && status == jsonscan.Done:
				id = bytes.Clone(soleID(window))
			case status == jsonscan.Done:
				id = validID(r.capture.Value())
			}
		}
		if int64(len(window)) == left {
			r.from += len(window)
			return tooLongFault(id, r.limit)
		}
		r.from += at
		left -= int64(at)
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				offset := n - left + int64(r.to-r.from)
				r.from = r.to
				return parseFault(offset, "unexpected end of input")
			}
			return err
		}
	}
}
