//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package journal

import (
	"errors"
	"fmt"
	"os"
)

// lockFile fails: without a lock that ends with its holder, two processes could write one log.
func lockFile(name string) (*os.File, error) {
	return nil, fmt.Errorf("lock %s: %w", name, errors.ErrUnsupported)
}
