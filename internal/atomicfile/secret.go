package atomicfile

import (
	"fmt"
	"io"
	"os"
)

// maxSecret bounds a file that ReadSecret reads, in bytes.
const maxSecret = 64 << 10

// ReadSecret reads a file of keys or passwords. It refuses one that others than its owner may read
// or write, since its content is not secret.
func ReadSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading only
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o: only its owner may have access; run chmod 600 on it", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(text) > maxSecret {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxSecret)
	}
	return text, err
}
