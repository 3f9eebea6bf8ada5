package rpc

import (
	"fmt"

	"supervisord/protocol"
	"supervisord/protocol/jsonscan"
)

// request is a valid request. Its slices are parts of the message.
type request struct {
	id     []byte // raw; nil for a notification
	method string
	params []byte // raw object, nil for none
	list   bool   // params are by position, which no method here takes
}

// maxID is how many bytes an id may have: it is kept as long as its request, and repeated with each of its chunks.
const maxID = jsonscan.CaptureLimit

// methodNames are the known methods and notifications, so that a request's own takes no memory.
var methodNames = func() map[string]string {
	names := map[string]string{protocol.NotificationCancelRequest: protocol.NotificationCancelRequest}
	for _, name := range protocol.Methods() {
		names[name] = name
	}
	return names
}()

// parseRequest says what an object asks for. A response, to which nothing here has been a question, is neither a request
// nor a fault.
func parseRequest(o *jsonscan.Object, message []byte) (r request, isRequest bool, f *fault) {
	id := idIn(o, message)
	if kind, key := o.Fault(); kind != jsonscan.NoFault && key <= keyParams {
		reason := "member " + envelopeKeys.Name(key) + " stands twice"
		if kind == jsonscan.CaseVariant {
			reason = "a member differs from " + envelopeKeys.Name(key) + " by case alone"
		}
		return r, false, invalidFault(id, reason)
	}
	method := o.In(message, keyMethod)
	if method == nil && (o.In(message, keyResult) != nil || o.In(message, keyError) != nil) {
		return r, false, nil
	}
	switch rawID := o.In(message, keyID); {
	case string(o.In(message, keyJSONRPC)) != `"2.0"`:
		return r, false, invalidFault(id, `member jsonrpc is not "2.0"`)
	case len(rawID) > maxID:
		return r, false, invalidFault(nil, fmt.Sprintf("member id is longer than %d bytes", maxID))
	case rawID != nil && id == nil:
		return r, false, invalidFault(nil, "member id is neither string nor number nor null")
	case len(method) == 0 || method[0] != '"':
		return r, false, invalidFault(id, "member method is not a string")
	}
	r.id = id
	if string(method) == `"execute"` {
		r.method = protocol.MethodExecute
	} else if name, known := methodNames[string(method[1:len(method)-1])]; known {
		r.method = name
	} else {
		name, err := jsonscan.Unquote(method[1 : len(method)-1])
		if err != nil {
			return r, false, invalidFault(id, "member method is not a string")
		}
		r.method = name
	}
	params := o.In(message, keyParams)
	switch {
	case len(params) == 0 || params[0] == 'n': // null is as good as none: many clients send it
	case params[0] == '{':
		r.params = params
	case params[0] == '[':
		r.list = true // not a fault of the message: it may be a notification, which gets no answer
	default:
		return r, false, invalidFault(id, "member params is neither object nor array")
	}
	return r, true, nil
}
