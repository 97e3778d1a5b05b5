package admin

import "net/http"

// Warm fills the cache, one run at a time. Results are encoded as JSON.
type Warm interface {
	// Start begins a run with what selection, a JSON object, names. The error wraps ErrBusy if one is in
	// progress.
	Start(selection []byte) (any, error)
	// Progress returns that of the last run. The error wraps ErrUnknown if there was none.
	Progress() (any, error)
	// Stop stops the run, if one is in progress, and returns its Progress when its last request has ended.
	Stop() (any, error)
}

// maxWarm bounds the body that names what the cache is filled with, in bytes.
const maxWarm = 16 << 20

func (c *Config) warm(w http.ResponseWriter, r *http.Request) {
	selection, ok := readSelection(w, r, maxWarm)
	if !ok {
		return
	}
	begun, err := c.Warm.Start(selection)
	answered(w, begun, err)
}

func (c *Config) warmed(w http.ResponseWriter, _ *http.Request) {
	progress, err := c.Warm.Progress()
	answered(w, progress, err)
}

func (c *Config) stopWarming(w http.ResponseWriter, _ *http.Request) {
	stopped, err := c.Warm.Stop()
	answered(w, stopped, err)
}
