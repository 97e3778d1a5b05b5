package atomicfile

import "os"

// State is what a file looked like, to see whether it has changed. The zero value equals no other.
type State struct {
	info os.FileInfo
	err  string // why info is nil
}

// Look returns the state of the file at path, through any link on the way.
func Look(path string) State {
	info, err := os.Stat(path)
	if err != nil {
		return State{err: err.Error()}
	}
	return State{info: info}
}

// Same reports whether nothing has changed.
func (s State) Same(as State) bool {
	if s.info == nil || as.info == nil {
		return s.info == as.info && s.err == as.err && s.err != ""
	}
	return os.SameFile(s.info, as.info) && s.info.Mode() == as.info.Mode() && s.info.Size() == as.info.Size() && s.info.ModTime().Equal(as.info.ModTime())
}
