package field

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// Measures of the plot, in pixels.
const (
	plotWidth = 760
	plotLeft  = 160 // where bars begin, after the names
	plotBar   = 14
	plotRow   = 18
	plotGroup = 34 // above a group, with its title
	plotValue = 70 // right of the longest bar
)

// colors are those of the servers in the order in which they first play: they can be told apart by most
// colour-blind people, on white and on black (Okabe and Ito).
var colors = []string{"#0072b2", "#e69f00", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#9a9a00", "#888888"}

// plotHead is the begin of the plot. Its text is dark, or light where the page is dark; its ground is
// the page's. Values are its width, its height, and its title.
const plotHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img" aria-labelledby="title">
<title id="title">%[3]s</title>
<style>
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.group { font-weight: 600; }
.axis { stroke: #8c959f; }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .axis { stroke: #6e7681; } }
</style>
`

// SVG draws the CPU time of a request: a group of bars for each case, all on one scale.
func (r Report) SVG() string {
	height, longest := 30, 1.0
	for _, t := range r.Tables {
		height += plotGroup + plotRow*len(t.Rows)
		for _, row := range t.Rows {
			longest = max(longest, row.CPU)
		}
	}
	const title = "CPU time of one request in µs: less is better"
	servers, scale := r.servers(), (plotWidth-plotLeft-plotValue)/longest
	var b strings.Builder
	fmt.Fprintf(&b, plotHead, plotWidth, height, title)
	fmt.Fprintf(&b, "<text class=\"group\" x=\"8\" y=\"18\">%s</text>\n", title)
	y := 30
	for _, t := range r.Tables {
		fmt.Fprintf(&b, "<text class=\"group\" x=\"8\" y=\"%d\">%s</text>\n", y+plotGroup-14, html.EscapeString(t.Case+": "+t.About))
		y += plotGroup - 6
		fmt.Fprintf(&b, "<line class=\"axis\" x1=\"%[1]d\" y1=\"%[2]d\" x2=\"%[1]d\" y2=\"%[3]d\"/>\n", plotLeft, y-2, y+plotRow*len(t.Rows))
		for _, row := range t.Rows {
			color := colors[slices.Index(servers, row.Server)%len(colors)]
			width := row.CPU * scale
			fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", plotLeft-8, y+plotBar-3, html.EscapeString(row.Server))
			fmt.Fprintf(&b, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", plotLeft, y, width, plotBar, color)
			fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\">%.1f</text>\n", plotLeft+width+6, y+plotBar-3, row.CPU)
			y += plotRow
		}
		y += 6
	}
	return b.String() + "</svg>\n"
}
