package config

// KeysNotYet are the keys that NotYet speaks of, for tests.
var KeysNotYet = notYet
