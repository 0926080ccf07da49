package queryservice

// Name of the micro service, the same in every region: $SRV.PING.tidemark-query finds them all.
const Name = "tidemark-query"

const (
	// Version of the requests and answers, in the form that micro services want. Members are only ever added to answers; a request with a member that the service
	// does not know is refused.
	Version = "1.0.0"

	subjectPrefix = "q."
	queueGroup    = "tidemark-query"
)

// The operations.
const (
	Get    = "get"
	Lookup = "lookup"
	List   = "list"
	Count  = "count"
	Marks  = "marks"
	Status = "status"
	Watch  = "watch"
)

// Subject returns where a region's service hears the requests for an operation: q.<region>.<operation>.
func Subject(region, operation string) string { return subjectPrefix + region + "." + operation }

// discovery are the subjects by which micro services are found, as far as they are about this one.
func discovery() []string { return []string{"$SRV.*." + Name, "$SRV.*." + Name + ".*"} }

// ServerRights returns what the user of a region's query service may do: subscribe is what it hears. It answers wherever it is asked to (below _INBOX., where links let
// answers through).
func ServerRights(region string) (publish, subscribe []string) {
	verbs := []string{"$SRV.PING", "$SRV.INFO", "$SRV.STATS"} // every micro service answers these
	return []string{"_INBOX.>"}, append(append(verbs, discovery()...), Subject(region, "*"), "_INBOX.>")
}

// ReaderRights returns what a user needs that asks the query services of every region, and does nothing else. inbox is his prefix for answers, below _INBOX. where
// other regions are to answer: nats.CustomInboxPrefix. He must also be allowed to respond to what he is sent (allow_responses): a watch goes on as long as its reader says so.
func ReaderRights(inbox string) (publish, subscribe []string) {
	return append(discovery(), subjectPrefix+">"), []string{inbox + ".>"}
}

// Crossing returns what goes over a link to a region, beside answers: the questions that are for it. Not those for others: a message that two regions may hand on to
// each other, and that somebody in each of three hears, would go round for ever. That is also why looking for services ($SRV) stays in a region: every one of them hears it.
func Crossing(to string) []string { return []string{Subject(to, "*")} }
