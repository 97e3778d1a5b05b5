//go:build !linux

package faultproxy

import "net"

// shrinkBacklog does nothing: new connections stand in the backlog and are never
// accepted, so that they look half-open.
func shrinkBacklog(*net.TCPListener) error { return nil }
