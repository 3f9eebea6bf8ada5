package rpc_test

import "unsafe"

// pointer is where a list lies, for a system call.
func pointer(list []uint32) unsafe.Pointer { return unsafe.Pointer(&list[0]) }
