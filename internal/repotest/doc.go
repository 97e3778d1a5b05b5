// Package repotest tests the repository itself: import directions, sizes of files and functions,
// banned words, and that the documents name existing commands, files, settings and dependencies and
// show the real import graph and metrics. It only holds tests. Every check is a function of its input,
// and is proven to fail on a planted fault.
package repotest
