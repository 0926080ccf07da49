// Package examples has programs that use Tidemark from other languages, over HTTP. Its tests run them against regions of their own.
package examples
