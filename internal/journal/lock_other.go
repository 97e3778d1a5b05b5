//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package journal

import (
	"errors"
	"fmt"
	"os"
)

// lockFile refuses: without a lock that dies with its holder, two processes
// could write one log.
func lockFile(name string) (*os.File, error) {
	return nil, fmt.Errorf("lock %s: %w", name, errors.ErrUnsupported)
}
