package protocol

import "encoding/json"

// Values of the member type.
const (
	TypeInit     = "init"
	TypeExecute  = "execute"
	TypeReload   = "reload"
	TypeUnload   = "unload"
	TypeGetState = "get_state"
	TypeStop     = "stop"
	TypeCancel   = "cancel"

	TypeReady        = "ready"
	TypeStreamChunk  = "stream_chunk"
	TypeResult       = "result"
	TypeResponse     = "response"
	TypeState        = "state"
	TypeError        = "error"
	TypeProgress     = "progress"
	TypeLog          = "log"
	TypeMetric       = "metric"
	TypeLoadProgress = "load_progress"
)

// Values of Result.Status and Response.Status. StatusCancelled stands in results alone.
const (
	StatusSuccess   = "success"
	StatusError     = "error"
	StatusCancelled = "cancelled"
)

// Message is one message of the worker protocol, always a pointer to one of the structs below. A member whose Go value
// is the zero value counts as absent, but for those that are required.
//
// Payloads (chunk, data, config, fields, metadata, params) are JSON text and keep their bytes.
type Message interface {
	// MessageType returns the value of the member type.
	MessageType() string
}

// Init is the first message to a worker.
type Init struct {
	// PluginConfigs holds a config, any JSON value, for each plugin that the worker shall load.
	PluginConfigs map[string]json.RawMessage
	Protocol      int // Version
	Pool          string
	Worker        string // pool/slot
	Incarnation   int64  // from 1
	MaxMessage    int64  // bytes of a payload; a frame may hold FrameOverhead more
}

// Execute starts a job.
type Execute struct {
	JobID      string
	PluginName string
	Stream     bool // chunks are wanted
	// Params is an object whose members stand at the top level of the message, in their order. Nil is {}. CheckParams
	// says which ones cannot be sent.
	Params json.RawMessage
	// Meta is the object $meta (see Meta), with FeatureMeta alone.
	Meta json.RawMessage
}

// Meta is what Execute.Meta holds. Members that are not declared here come in later versions and are to be ignored.
type Meta struct {
	DeadlineMS  *int64          `json:"deadline_ms,omitzero"` // what is left when the message is written
	Traceparent string          `json:"traceparent,omitzero"` // as in W3C Trace Context
	Metadata    json.RawMessage `json:"metadata,omitempty"`   // the caller's, an object
}

// Reload gives a plugin a new config, and loads it where it is not loaded.
type Reload struct {
	PluginName string
	Config     json.RawMessage
	RequestID  string // with FeatureRequestID alone
}

// Unload unloads a plugin.
type Unload struct {
	PluginName string
	RequestID  string // with FeatureRequestID alone
}

// GetState asks for a State.
type GetState struct {
	RequestID string // with FeatureRequestID alone
}

// Stop tells the worker to exit.
type Stop struct{}

// Cancel asks the worker to end a job early. With FeatureCancel alone.
type Cancel struct {
	JobID string
}

// Ready is a worker's answer to Init.
type Ready struct {
	LoadedPlugins []string // required
	Protocol      int
	Features      []string
	Plugins       []PluginInfo
}

// PluginInfo is what a worker tells of one plugin.
type PluginInfo struct {
	Name        string          `json:"name"`
	Streaming   bool            `json:"streaming"`
	Schema      json.RawMessage `json:"schema,omitempty"` // JSON Schema of the params
	Description string          `json:"description,omitzero"`
}

// StreamChunk is one piece of a job's stream.
type StreamChunk struct {
	JobID    string          // required
	Chunk    json.RawMessage // required, any JSON value
	IsFinal  bool
	Metadata json.RawMessage // an object; nil is {}
}

// Result ends a job.
type Result struct {
	JobID     string          // required
	Status    string          // required: StatusSuccess, StatusError, or StatusCancelled with FeatureCancel
	Data      json.RawMessage // any JSON value, with StatusSuccess
	Error     string          // with StatusError
	ErrorInfo *ErrorInfo      // with StatusError
}

// ErrorInfo is what a worker may tell of an error beyond its text.
type ErrorInfo struct {
	Category          string          `json:"category,omitzero"` // a Category constant
	Retriable         *bool           `json:"retriable,omitzero"`
	RetryAfterSeconds *float64        `json:"retry_after_seconds,omitzero"`
	Traceback         string          `json:"traceback,omitzero"`
	FieldsInvalid     json.RawMessage `json:"fields_invalid,omitempty"` // any JSON value that says which params were wrong
}

// Values of ErrorInfo.Category.
const (
	CategoryUserInput = "user_input"
	CategoryTransient = "transient"
	CategoryResource  = "resource"
	CategoryFatal     = "fatal"
)

// Response answers Reload and Unload.
type Response struct {
	RequestType string // required: TypeReload or TypeUnload
	Status      string // required: StatusSuccess or StatusError
	PluginName  string
	Error       string
	RequestID   string // with FeatureRequestID alone
}

// State answers GetState.
type State struct {
	CurrentPlugin string // empty is none
	CurrentConfig json.RawMessage
	LoadedPlugins []string // what is configured
	RequestID     string   // with FeatureRequestID alone
}

// ErrorMessage says that the worker is about to die, and why.
type ErrorMessage struct {
	Error string
}

// Progress tells how far a job is. With FeatureProgress alone.
type Progress struct {
	JobID    string   // required
	Progress *float64 // 0 to 1, nil where unknown
	Message  string
}

// Log is one line for the daemon's log. With FeatureLog alone.
type Log struct {
	Level   string // a Level constant; empty is LevelInfo
	Message string // required
	JobID   string
	Fields  json.RawMessage // an object
}

// Values of Log.Level.
const (
	LevelDebug = "debug"
	LevelInfo  = "info"
	LevelWarn  = "warn"
	LevelError = "error"
)

// Metric is one value of a named series. With FeatureMetrics alone.
type Metric struct {
	Name  string  // required
	Value float64 // required
	JobID string
}

// LoadProgress tells how far the loading of a plugin is, and arms the start timeout anew. With FeatureLoadProgress alone.
type LoadProgress struct {
	PluginName string   // required
	Progress   *float64 // 0 to 1, nil where unknown
	Message    string
}

// MessageType implements Message.
func (*Init) MessageType() string { return TypeInit }

// MessageType implements Message.
func (*Execute) MessageType() string { return TypeExecute }

// MessageType implements Message.
func (*Reload) MessageType() string { return TypeReload }

// MessageType implements Message.
func (*Unload) MessageType() string { return TypeUnload }

// MessageType implements Message.
func (*GetState) MessageType() string { return TypeGetState }

// MessageType implements Message.
func (*Stop) MessageType() string { return TypeStop }

// MessageType implements Message.
func (*Cancel) MessageType() string { return TypeCancel }

// MessageType implements Message.
func (*Ready) MessageType() string { return TypeReady }

// MessageType implements Message.
func (*StreamChunk) MessageType() string { return TypeStreamChunk }

// MessageType implements Message.
func (*Result) MessageType() string { return TypeResult }

// MessageType implements Message.
func (*Response) MessageType() string { return TypeResponse }

// MessageType implements Message.
func (*State) MessageType() string { return TypeState }

// MessageType implements Message.
func (*ErrorMessage) MessageType() string { return TypeError }

// MessageType implements Message.
func (*Progress) MessageType() string { return TypeProgress }

// MessageType implements Message.
func (*Log) MessageType() string { return TypeLog }

// MessageType implements Message.
func (*Metric) MessageType() string { return TypeMetric }

// MessageType implements Message.
func (*LoadProgress) MessageType() string { return TypeLoadProgress }
