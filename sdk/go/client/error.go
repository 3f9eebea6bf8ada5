package client

import (
	"errors"
	"fmt"
)

// ErrClosed is the error of calls on a Client that Close was called on, and of those that were waiting then.
var ErrClosed = errors.New("client: closed")

// ErrLost is the error of calls that got no answer because the connection has ended, and of all later ones. Whether the
// daemon has done the work is not known. It is wrapped with what ended the connection, a *protocol.Error where the daemon
// said why.
var ErrLost = errors.New("client: connection to the daemon lost")

// withCause joins the daemon's error with the cause of the context that had ended before. Both are found by errors.Is
// and errors.As.
func withCause(err, cause error) error {
	if err == nil || cause == nil {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}
