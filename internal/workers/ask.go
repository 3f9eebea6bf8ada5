package workers

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"supervisord/protocol"
)

// Request is a command for a process.
type Request struct {
	// Type is protocol.TypeReload, TypeUnload or TypeGetState.
	Type string
	// Plugin is the plugin's name; not with TypeGetState.
	Plugin string
	// Config is the plugin's new config, any JSON value, with TypeReload alone.
	Config json.RawMessage
}

// Answer is what the process has said.
type Answer struct {
	// Error is empty after a success, else one line for people. Not with TypeGetState.
	Error string
	// State is the answer to TypeGetState, else nil.
	State *protocol.State
}

// Errors of Incarnation.Ask.
var (
	// ErrBusy is a fault of the caller: the process has a job, or another command.
	ErrBusy = errors.New("the worker has a job or another command")
	// ErrDown says that the incarnation takes nothing any more.
	ErrDown = errors.New("the worker takes no more commands")
)

// AskError says why a command that was taken has no answer.
type AskError struct {
	Worker, Type, Plugin string
	// Limit is the time that is over, 0 where that is not the reason.
	Limit time.Duration
	// Exit is how the process ended, nil where that is not the reason.
	Exit *Exit
	// Err is any other reason: ErrDown, or what was wrong with the answer.
	Err error
}

// Error says which command of which worker, and the reason.
func (e *AskError) Error() string {
	what := fmt.Sprintf("worker %s: %s", e.Worker, e.Type)
	if e.Plugin != "" {
		what += fmt.Sprintf(" of plugin %q", e.Plugin)
	}
	switch {
	case e.Exit != nil:
		return what + ": died: " + e.Exit.Message
	case e.Limit > 0:
		return fmt.Sprintf("%s: no answer within %s", what, e.Limit)
	}
	return what + ": " + e.Err.Error()
}

// Unwrap is Err.
func (e *AskError) Unwrap() error { return e.Err }

// asked is a command that has not been answered. Incarnation.mu guards it.
type asked struct {
	Request
	done   func(*Answer, error)
	id     string // with protocol.FeatureRequestID, else empty
	sent   bool
	loads  int // of load_progress
	answer *Answer
	wrong  error // what is wrong with the answer
}

// Ask gives the process a command, which it may have only while it has no job, and one at a time. done is called once, by
// the worker's owner and without any lock, with the answer or a *AskError; a process that does not answer in its time, or
// wrongly, is replaced, for its state is not known. The error is ErrBusy or ErrDown; then done is not called.
func (i *Incarnation) Ask(r Request, done func(*Answer, error)) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case !i.accepting:
		return ErrDown
	case len(i.jobs) > 0 || i.asked != nil:
		return ErrBusy
	}
	i.asks++
	i.asked = &asked{Request: r, done: done}
	if i.requestIDs {
		i.asked.id = strconv.FormatUint(i.asks, 10)
	}
	i.worker.mail.put(letter{kind: mailAsk, inc: i})
	return nil
}

// message is the command as it is sent.
func (a *asked) message() ([]byte, error) {
	var m protocol.Message
	switch a.Type {
	case protocol.TypeReload:
		m = &protocol.Reload{PluginName: a.Plugin, Config: a.Config, RequestID: a.id}
	case protocol.TypeUnload:
		m = &protocol.Unload{PluginName: a.Plugin, RequestID: a.id}
	case protocol.TypeGetState:
		m = &protocol.GetState{RequestID: a.id}
	default:
		return nil, fmt.Errorf("no such command: %q", a.Type)
	}
	return protocol.Encode(m) //nolint:wrapcheck // names the message and the member
}

// limit is the time that the command has.
func (a *asked) limit(o *Options) time.Duration {
	if a.Type == protocol.TypeReload {
		return o.ReloadTimeout
	}
	return o.UnloadTimeout
}

// ask sends the command that waits.
func (w *Worker) ask() {
	a := w.inc.pending()
	if a == nil || a.sent {
		return
	}
	if w.state != Ready {
		w.endAsk(a, nil, &AskError{Err: ErrDown})
		return
	}
	body, err := a.message()
	if err != nil {
		w.endAsk(a, nil, &AskError{Err: err})
		return
	}
	w.inc.sendAsk(body)
	w.inc.queue.Flush()
	w.armAsk()
}

// armAsk gives the command its time, or gives it anew.
func (w *Worker) armAsk() {
	a := w.inc.pending()
	if a == nil || w.state == Stopping {
		return
	}
	if d := a.limit(w.options()); d > 0 {
		w.alarm(alarmAsk, d)
	}
}

// answered passes an answer on.
func (w *Worker) answered() {
	a := w.inc.pending()
	switch {
	case a == nil:
	case a.wrong != nil:
		w.condemn(protocolFault(a.wrong))
		w.kill()
		w.endAsk(a, nil, &AskError{Err: a.wrong})
	default:
		w.endAsk(a, a.answer, nil)
	}
}

// unanswered is called when the time of a command is over.
func (w *Worker) unanswered() {
	a := w.inc.pending()
	switch {
	case a == nil || w.state == Stopping:
	case a.answer != nil || a.wrong != nil: // the word of it is on its way
	default:
		limit := a.limit(w.options())
		w.condemn(doom{kind: endKilled, cause: protocol.ExitStopped, message: fmt.Sprintf("%s was not answered within %s", a.Type, limit)})
		w.terminate()
		w.endAsk(a, nil, &AskError{Limit: max(limit, 1)})
	}
}

// unansweredAt deals with a command that the end of the process leaves open.
func (w *Worker) unansweredAt(exit *Exit) {
	switch a := w.inc.pending(); {
	case a == nil:
	case a.answer != nil: // the last that it said
		w.endAsk(a, a.answer, nil)
	default:
		w.endAsk(a, nil, &AskError{Exit: exit})
	}
}

func (w *Worker) endAsk(a *asked, answer *Answer, err *AskError) {
	w.inc.forgetAsk(a, answer)
	w.alarms.clear(alarmAsk)
	if err == nil {
		a.done(answer, nil)
	} else {
		err.Worker, err.Type, err.Plugin = w.slot.id, a.Type, a.Plugin
		a.done(nil, err)
	}
	w.jobEnded() // a process that drains may have waited for this
}

// pending is the command that has not been answered to whom asked, nil for none.
func (i *Incarnation) pending() *asked {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.asked == nil {
		return nil
	}
	a := *i.asked // what the reader writes is not to be read without the lock
	return &a
}

func (i *Incarnation) sendAsk(body []byte) {
	i.mu.Lock()
	i.asked.sent = true
	i.mu.Unlock()
	i.queue.Append(protocol.AppendFrame(nil, body))
}

// forgetAsk ends the command, and takes over what its answer says of the plugins.
func (i *Incarnation) forgetAsk(a *asked, answer *Answer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = nil
	if a.sent {
		i.plugins.changed(a.Request, answer)
	}
}

// loading reports whether a load_progress gives the pending reload its time anew.
func (i *Incarnation) loading() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	a := i.asked
	if a == nil || !a.sent || a.Type != protocol.TypeReload {
		return false
	}
	a.loads++
	return a.loads <= maxExtensions
}

// answer takes the answer to the pending command. False says that it is none: nobody has asked, or it comes late.
func (i *Incarnation) answer(message protocol.Message) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	a := i.asked
	if a == nil || !a.sent || a.answer != nil || a.wrong != nil {
		return false
	}
	var typ, id, plugin string
	answer := &Answer{}
	switch m := message.(type) {
	case *protocol.Response:
		typ, id, plugin = m.RequestType, m.RequestID, m.PluginName
		if m.Status != protocol.StatusSuccess {
			if answer.Error = oneLine(m.Error); answer.Error == "" {
				answer.Error = "the worker says no more than that it failed"
			}
		}
	case *protocol.State:
		typ, id = protocol.TypeGetState, m.RequestID
		answer.State = m
	}
	switch {
	case id != a.id && a.id != "", typ != a.Type && a.id == "":
		return false
	case typ != a.Type || plugin != "" && plugin != a.Plugin:
		a.wrong = fmt.Errorf("answer to %s %q where %s %q was asked", typ, plugin, a.Type, a.Plugin)
	default:
		a.answer = answer
	}
	i.worker.mail.put(letter{kind: mailAnswer, inc: i})
	return true
}
