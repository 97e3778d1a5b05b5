// Package repotest tests the repository itself: which package may import which,
// the size of files and functions, the words that do not belong into a file,
// that the documents name commands, files, settings and dependencies that exist,
// and that the import graph and the metrics that they show are the real ones. It
// holds tests alone. Every check is a function of its input, and is shown to fail
// on a planted fault.
package repotest
