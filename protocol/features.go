package protocol

// Features that a worker may name in ready.features. A worker that names none is a full citizen of the base profile,
// and nothing of what a feature adds is ever sent to it. Names the daemon does not know are ignored.
const (
	// FeatureCancel lets the daemon send Cancel; the worker answers with a Result of status "cancelled".
	FeatureCancel = "cancel"
	// FeatureProgress lets the worker send Progress, which also keeps a job from counting as stalled.
	FeatureProgress = "progress"
	// FeatureLog lets the worker send Log.
	FeatureLog = "log"
	// FeatureMetrics lets the worker send Metric.
	FeatureMetrics = "metrics"
	// FeatureConcurrent says that the worker accepts up to the pool's concurrency jobs at once, whether or not it
	// runs them at the same time. It counts only together with FeatureCancel.
	FeatureConcurrent = "concurrent"
	// FeatureRequestID puts request_id into Reload, Unload and GetState; the worker repeats it in its answer.
	FeatureRequestID = "request_id"
	// FeatureMeta puts the object $meta into Execute.
	FeatureMeta = "meta"
	// FeatureLoadProgress lets the worker send LoadProgress, before Ready and during a reload.
	FeatureLoadProgress = "load_progress"
)

// Features returns every feature of this version, in the order of PROTOCOL.md.
func Features() []string {
	return []string{
		FeatureCancel, FeatureProgress, FeatureLog, FeatureMetrics,
		FeatureConcurrent, FeatureRequestID, FeatureMeta, FeatureLoadProgress,
	}
}
