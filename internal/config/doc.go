// Package config reads the daemon's configuration: one YAML file, variables and flags that override single values of
// it, defaults for the rest, and a verdict on all of it at once.
//
// The way of a file:
//
//	Load
//	├── find      the path given, $SUPERVISORD_CONFIG, or the first place of the search order that exists
//	├── parse     bytes → tree of YAML nodes, which know their lines; aliases and merge keys expanded
//	├── check     tree against the types: unknown and repeated keys, wrong types, values without unit
//	│             → a map of plain values; the config of each plugin is lifted out as JSON
//	├── build     viper layers flags over variables over the map over the defaults, and fills a Config
//	└── Validate  what single values cannot show: ranges, names, references
//
// What is read and checked but has no effect yet is listed in notyet.go, and told by Config.NotYet.
//
// A value that check or a variable's parser refuses is reported and then left out, so that the rest is still examined
// and all problems are told together.
//
// Viper folds keys to lower case and splits them at dots. Nothing of the user's ever is a key that it sees: names of
// pools, plugins and variables are values in lists, and the config of a plugin, whose keys are the user's, goes around it.
//
// Values. A duration carries a unit (ms, s, m, h, and combinations such as 1h30m); so does a size (B, KiB, MiB, GiB,
// TiB; KB and MB are refused, since half of the world means 1000 by them and half 1024). A plain 0 is accepted for
// both, since zero is zero in every unit. A key without a value (`user:`) is an error where the value is a scalar, and
// stands for the default where it is a section or a list. Keys are matched exactly, in lower case.
//
// Overrides. Every scalar outside of the lists, but for version, can be set by a variable and by a flag; both names
// follow from the key: limits.max_message is $SUPERVISORD_LIMITS_MAX_MESSAGE and --limits-max-message, socket.path
// also --socket. Overrides lists them. An empty variable counts as not set. Nothing else in the environment is looked
// at, since the variables of workers begin with the same prefix.
//
// Bounds. A file has at most 4 MiB and 250000 values, a list outside of a plugin's config at most 4096 elements; a file
// beyond that is refused before it takes memory and time.
//
// A loaded Config is not changed any more and may be read from any goroutine. The package watches no files and keeps
// no state; Reload is another Load. Diff says what came of it: which keys hold at once, which wait for the daemon's next
// start, and which pools need new workers.
package config
