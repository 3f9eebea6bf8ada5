package workers

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"

	"supervisord/protocol"
)

// sendInit appends the first message of the link.
func (i *Incarnation) sendInit() error {
	init := i.gen.opts.init()
	init.Worker, init.Incarnation = i.worker.slot.id, int64(i.number) //nolint:gosec // a process each nanosecond would take centuries
	body, err := protocol.Encode(init)
	if err != nil {
		return err //nolint:wrapcheck // names the message and the member
	}
	i.queue.Append(protocol.AppendFrame(nil, body))
	return nil
}

// init is the message but for what differs from one process to the next.
func (o *Options) init() *protocol.Init {
	configs := make(map[string]json.RawMessage, len(o.Plugins))
	for _, p := range o.Plugins {
		if configs[p.Name] = p.Config; len(p.Config) == 0 {
			configs[p.Name] = json.RawMessage("{}")
		}
	}
	return &protocol.Init{
		PluginConfigs: configs, Protocol: protocol.Version, Pool: o.Name, MaxMessage: int64(o.MaxMessage),
	}
}

// checkInit checks that the first message of the link can be sent.
func (o *Options) checkInit() error {
	_, err := protocol.Encode(o.init())
	return err //nolint:wrapcheck // names the message and the member
}

// sendExecute appends the message of a job, its params spliced in as they are, and returns where in the stream of requests
// it begins. It reports false when the queue has ended.
func (i *Incarnation) sendExecute(e *Execution) (begin int64, ok bool) {
	params := inside(e.Params)
	b := i.queue.Lock()
	begin = i.queue.Offset(b)
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = append(b, `{"type":"execute","job_id":"`...)
	b = append(b, e.LinkID...)
	b = append(b, `","plugin_name":`...)
	b = i.appendName(b, e.Plugin)
	if e.Stream {
		b = append(b, `,"stream":true`...)
	}
	if i.meta && (e.DeadlineMS != nil || e.Metadata != nil) {
		b = appendMeta(b, e)
	}
	if len(params) > 0 {
		b = append(b, ',')
	}
	n := len(b) - at - protocol.HeaderSize + len(params) + len("}")
	binary.BigEndian.PutUint32(b[at:], uint32(n)) //nolint:gosec // the limits on a message keep it far below
	b = i.queue.Ref(b, params)
	b = append(b, '}')
	return begin, i.queue.Unlock(b)
}

func appendMeta(b []byte, e *Execution) []byte {
	b = append(b, `,"$meta":{`...)
	if e.DeadlineMS != nil {
		b = append(b, `"deadline_ms":`...)
		b = strconv.AppendInt(b, *e.DeadlineMS, 10)
	}
	if e.Metadata != nil {
		if e.DeadlineMS != nil {
			b = append(b, ',')
		}
		b = append(b, `"metadata":`...)
		b = append(b, e.Metadata...)
	}
	return append(b, '}')
}

// appendName appends a plugin's name as a JSON string.
func (i *Incarnation) appendName(b []byte, name string) []byte {
	if q := i.quoted[name]; q != nil {
		return append(b, q...)
	}
	return append(b, quoteJSON(name)...)
}

// quoteJSON is s as a JSON string; bytes that are not UTF-8 become U+FFFD.
func quoteJSON(s string) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // of no use outside of HTML, and other characters in another language's logs
	if encoder.Encode(s) != nil {
		return []byte(`""`) // not reached: a string can be encoded, and a buffer takes it
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// inside is what stands between the braces of a JSON object, without white space around it.
func inside(object []byte) []byte {
	object = trimSpace(object)
	if len(object) < 2 {
		return nil
	}
	return trimSpace(object[1 : len(object)-1])
}

func trimSpace(b []byte) []byte { return bytes.Trim(b, " \t\r\n") }

func (i *Incarnation) sendCancel(linkID string) {
	i.send(`{"type":"cancel","job_id":"`, linkID, `"}`)
}

func (i *Incarnation) sendStop() { i.send(`{"type":"stop"}`) }

// send appends one message that is made of parts.
func (i *Incarnation) send(parts ...string) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := protocol.AppendHeader(i.queue.Lock(), n)
	for _, p := range parts {
		b = append(b, p...)
	}
	i.queue.Unlock(b)
}
