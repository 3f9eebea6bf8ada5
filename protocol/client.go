package protocol

import "encoding/json"

// Methods a client may call. PROTOCOL.md says for each which params it takes and which release serves it;
// daemon.info lists those that the running daemon serves.
const (
	MethodExecute = "execute"

	MethodJobStart  = "job.start"
	MethodJobGet    = "job.get"
	MethodJobList   = "job.list"
	MethodJobResult = "job.result"
	MethodJobAttach = "job.attach"
	MethodJobCancel = "job.cancel"
	MethodJobClear  = "job.clear"
	MethodJobWhy    = "job.why"

	MethodPluginList   = "plugin.list"
	MethodPluginLoad   = "plugin.load"
	MethodPluginReload = "plugin.reload"
	MethodPluginUnload = "plugin.unload"
	MethodPluginLease  = "plugin.lease"

	MethodPoolList    = "pool.list"
	MethodPoolGet     = "pool.get"
	MethodPoolScale   = "pool.scale"
	MethodPoolRestart = "pool.restart"
	MethodPoolPause   = "pool.pause"
	MethodPoolResume  = "pool.resume"

	MethodWorkerList     = "worker.list"
	MethodWorkerGetState = "worker.get_state"
	MethodWorkerStop     = "worker.stop"

	MethodEventSubscribe   = "event.subscribe"
	MethodEventUnsubscribe = "event.unsubscribe"

	MethodDaemonInfo   = "daemon.info"
	MethodDaemonStatus = "daemon.status"
	MethodDaemonReload = "daemon.reload"
	MethodDaemonPing   = "daemon.ping"
	MethodRPCDiscover  = "rpc.discover"
)

// Notifications. All but CancelRequest go from the daemon to a client that asked for them.
const (
	NotificationStreamChunk   = "stream.chunk"
	NotificationJobProgress   = "job.progress"
	NotificationProgress      = "$/progress"
	NotificationEvent         = "event"
	NotificationCancelRequest = "$/cancelRequest"
)

// Methods returns every method that a client may call, in the order of PROTOCOL.md, notifications left out.
func Methods() []string {
	return []string{
		MethodExecute,
		MethodJobStart, MethodJobGet, MethodJobList, MethodJobResult, MethodJobAttach, MethodJobCancel, MethodJobClear, MethodJobWhy,
		MethodPluginList, MethodPluginLoad, MethodPluginReload, MethodPluginUnload, MethodPluginLease,
		MethodPoolList, MethodPoolGet, MethodPoolScale, MethodPoolRestart, MethodPoolPause, MethodPoolResume,
		MethodWorkerList, MethodWorkerGetState, MethodWorkerStop,
		MethodEventSubscribe, MethodEventUnsubscribe,
		MethodDaemonInfo, MethodDaemonStatus, MethodDaemonReload, MethodDaemonPing, MethodRPCDiscover,
	}
}

// Values of ExecuteParams.OnDisconnect.
const (
	OnDisconnectCancel   = "cancel"
	OnDisconnectContinue = "continue"
)

// Bounds of what a caller chooses.
const (
	// MaxJobIDLength is how many bytes of [A-Za-z0-9._:-] a caller's job_id may have; the least is 1.
	MaxJobIDLength = 128
	// MaxPriority and its negative bound ExecuteParams.Priority.
	MaxPriority = 100
)

// ValidJobID reports whether id may be a caller's job_id: 1 to MaxJobIDLength of [A-Za-z0-9._:-].
func ValidJobID[T string | []byte](id T) bool {
	if len(id) == 0 || len(id) > MaxJobIDLength {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

// ExecuteParams are the params of execute. Only PluginName is required.
type ExecuteParams struct {
	PluginName         string          `json:"plugin_name"`
	Params             json.RawMessage `json:"params,omitempty"` // an object; absent: {}
	Pool               string          `json:"pool,omitzero"`    // absent: any pool that offers the plugin
	Stream             bool            `json:"stream,omitzero"`
	JobID              string          `json:"job_id,omitzero"`      // the caller's own; see ValidJobID
	TimeoutMS          *int64          `json:"timeout_ms,omitzero"`  // from the request on, waiting included; absent: the pool's job_timeout
	MaxWaitMS          *int64          `json:"max_wait_ms,omitzero"` // in the queue; 0: only if it can start now
	Priority           int             `json:"priority,omitzero"`    // -MaxPriority to MaxPriority
	AffinityKey        string          `json:"affinity_key,omitzero"`
	SupersedeKey       string          `json:"supersede_key,omitzero"`
	KeepAliveMS        *int64          `json:"keep_alive_ms,omitzero"`
	OnDisconnect       string          `json:"on_disconnect,omitzero"`       // absent: OnDisconnectCancel
	PartialResultToken json.RawMessage `json:"partialResultToken,omitempty"` // a string or an integer; implies Stream
	Metadata           json.RawMessage `json:"metadata,omitempty"`           // an object; absent: {}
}

// ExecuteResult is the result of execute. Errors come as Error instead, so Status is always "success".
type ExecuteResult struct {
	JobID  string          `json:"job_id"`
	Status string          `json:"status"`
	Data   json.RawMessage `json:"data"`   // what the worker answered, {} where it answered nothing
	Chunks int64           `json:"chunks"` // how many there were; the result does not repeat them
}

// JobCancelParams are the params of job.cancel.
type JobCancelParams struct {
	JobID string `json:"job_id"`
	Force bool   `json:"force,omitzero"` // SIGKILL at once
}

// JobCancelResult is the result of job.cancel, sent when the job has ended.
type JobCancelResult struct {
	JobID  string    `json:"job_id"`
	Status JobStatus `json:"status"`
	How    *How      `json:"how"` // null where the job had ended before
}

// CancelRequestParams are the params of $/cancelRequest.
type CancelRequestParams struct {
	ID json.RawMessage `json:"id"` // of the request, as it was sent
}

// StreamChunkParams are the params of stream.chunk.
type StreamChunkParams struct {
	JobID     string          `json:"job_id"`
	RequestID json.RawMessage `json:"request_id"` // the id of the execute or job.attach request, byte for byte
	Seq       int64           `json:"seq"`        // from 0, without gaps
	Chunk     json.RawMessage `json:"chunk"`
	IsFinal   bool            `json:"is_final"`
	Metadata  json.RawMessage `json:"metadata"` // an object
}

// JobProgressParams are the params of job.progress.
type JobProgressParams struct {
	JobID     string          `json:"job_id"`
	RequestID json.RawMessage `json:"request_id"`
	Progress  *float64        `json:"progress"` // 0 to 1, null where unknown
	Message   string          `json:"message"`
}

// Values of kind in the value of a $/progress notification.
const (
	ProgressKindChunk    = "chunk"
	ProgressKindProgress = "progress"
)

// ProgressParams are the params of $/progress, which a caller with a partialResultToken gets instead of stream.chunk
// and job.progress.
type ProgressParams struct {
	Token json.RawMessage `json:"token"` // the partialResultToken, byte for byte
	// Value is one object: kind (ProgressKindChunk or ProgressKindProgress) and the members of StreamChunkParams or
	// JobProgressParams.
	Value json.RawMessage `json:"value"`
}
