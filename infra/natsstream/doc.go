// Package natsstream reads a JetStream stream that is not ours: made by somebody else, filled by somebody else's publishers with whatever they like.
//
// It yields messages as they are stored, as records of events.KindMessage; what they mean is for a projection to say. Nothing is ever written to the stream, and
// nothing is made in it but a consumer that goes away by itself. Such a stream forgets: what it says it does not hold any more has records in its place, so that
// nothing is passed over without a word. README.md says what is guaranteed, and what is less than with a log of ours.
package natsstream
