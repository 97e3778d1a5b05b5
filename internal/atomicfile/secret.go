package atomicfile

import (
	"fmt"
	"io"
	"os"
)

// maxSecret bounds a file that ReadSecret reads, in bytes.
const maxSecret = 64 << 10

// ReadSecret reads a file of keys or passwords. It refuses one to which others than its owner and group
// have access, or that its group may write, since its content is not secret. The group may read it: a
// container's secrets belong to root, and an application shares some keys with the gateway.
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
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return nil, fmt.Errorf("%s has mode %04o: only its owner, and its group to read it, may have access; run chmod 640 on it, or 600", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(text) > maxSecret {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxSecret)
	}
	return text, err
}
