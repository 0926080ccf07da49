// Package forward writes to an origin from a region that only mirrors it. Event subjects never cross the links between regions, so an append
// travels as a request to the leader's region, and the leader's own log stores it. What the log promises holds at the far end too: order for
// each entity, expectations, all or nothing, and an outcome that is known or said to be unknown, never guessed.
package forward
