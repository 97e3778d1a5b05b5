package cache

import (
	"net/http"
	"strconv"

	"github.com/jewgo/gateway/internal/rfc9111"
)

// headUpdates lets the 200 to a HEAD update the stored response to a GET, or
// make it stale (RFC 9111, 4.3.5).
func (c *call) headUpdates(got head) {
	old := c.stored
	if old.Status != http.StatusOK {
		return
	}
	if !rfc9111.HeadConfirms(old.origin(), got.header, strconv.Itoa(len(old.Body))) {
		c.outdate(got.received)
		return
	}
	_, _ = c.freshened(got)
}
