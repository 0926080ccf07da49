package declared

// key is a key of the file. The tables of them are what the reader, the schema and the README go by.
type key struct {
	name     string
	required bool
	fallback string // what it is when it is left out, for a person
	example  string
	help     string
}

// place is a mapping of the file: what it is called in findings, and its keys.
type place struct {
	name string
	keys []key
}

func (p place) names() []string {
	names := make([]string, len(p.keys))
	for i, k := range p.keys {
		names[i] = k.name
	}
	return names
}

// places returns every mapping of the file by the name that the schema has for it.
func places() map[string]place {
	return map[string]place{
		"file": filePlace(), "field": fieldPlace(), "rule": rulePlace(), "step": stepPlace(), "upcast": upcastPlace(), "literal": literalPlace(),
		"case": casePlace(), "event": eventPlace(), "mark": markPlace(), "stream": streamPlace(), "entity": entityPlace(), "time": timePlace(),
		"message": messagePlace(),
	}
}

func filePlace() place {
	return place{name: "the file", keys: []key{
		{name: "projection", required: true, example: "airports", help: "Name of the projection: [a-z][a-z0-9-]{0,47}."},
		{name: "version", required: true, example: "1", help: "From 1. Raise it whenever the meaning of the file changes."},
		{name: "fields", required: true, example: "{flights: int}", help: "Fields of a document by name, in the order in which documents show them."},
		{name: "stream", fallback: "the installation's log", example: "{name: ORDERS, type: \"subject[1]\", entity: {type: {text: order}, id: data.id}}",
			help: "A stream that is not ours, whose messages become events."},
		{name: "indexes", fallback: "none", example: "{by_delay: delay_total, by_place: [country, city]}",
			help: "Ordered indexes by name, each of 1 to 4 fields of kind int, string or bool: by them documents are found and listed."},
		{name: "upcast", fallback: "none", example: "[{event: FlightLanded, rename: {late: delay}}]",
			help: "How the data of old versions of events becomes that of today, before any rule sees it."},
		{name: "on", required: true, example: "[{event: FlightLanded, do: [{count: flights}]}]",
			help: "Rules: which events change which document, and how."},
		{name: "tests", fallback: "none", example: "[{name: one flight, given: […], expect: {ORD: {flights: 1}}}]",
			help: "Given events and expected documents, for tidemark projection test. Not part of the projection's meaning."},
	}}
}

func fieldPlace() place {
	return place{name: "a field", keys: []key{
		{name: "kind", required: true, example: "int", help: "int (64 bits), string (UTF-8, at most 65,536 bytes), bool, list or set (of these)."},
		{name: "default", fallback: "0, empty or false", example: "1", help: "What the field is in a new document, and after unset."},
		{name: "keep", fallback: "append is refused", example: "20", help: "How many elements a list keeps: the oldest leave it. 1 to 1,000."},
	}}
}

func rulePlace() place {
	return place{name: "a rule", keys: []key{
		{name: "event", required: true, example: "FlightLanded", help: "Type of the events, or a list of types."},
		{name: "entity", fallback: "any", example: "airport", help: "Type of the entities that the events are about."},
		{name: "when", fallback: "always", example: "data.delay > 0",
			help: "Condition (CEL) over the event; doc is not known yet. An event that does not meet it changes nothing."},
		{name: "key", fallback: "the entity's id", example: `"{data.origin}-{data.destination}"`,
			help: "Key of the document; what is in braces is CEL over the event."},
		{name: "do", required: true, example: "[{count: flights}]",
			help: "Steps, in this order. A later step sees what an earlier one did. If one fails, none counts."},
	}}
}

func stepPlace() place {
	return place{name: "a step", keys: []key{
		{name: "when", fallback: "always", example: "doc.flights == 0", help: "Condition (CEL) over the event and the document."},
		{name: "set", example: "{last: data.date}", help: "Fields and their new values."},
		{name: "unset", example: "[last]", help: "Fields that become their default again."},
		{name: "add", example: "{delay_total: data.delay}", help: "Fields of kind int and what is added to them; over 64 bits is a failure."},
		{name: "count", example: "flights", help: "Fields of kind int that become larger by 1."},
		{name: "max", example: "{last: data.date}", help: "Fields of kind int or string that become the value if it is larger; strings in byte order."},
		{name: "min", example: "{first: data.date}", help: "Fields of kind int or string that become the value if it is smaller."},
		{name: "append", example: "{last_flights: data.date}",
			help: "Lists and what comes to their end: a value, or every item of a list. What is more than the field keeps leaves it at its beginning."},
		{name: "collect", example: "{carriers: data.carrier}",
			help: "Sets and what is to be in them: a value, or every item of a list. A set of more than 1,000 elements is a failure."},
		{name: "remove", example: "{carriers: data.carrier}", help: "Lists or sets and what leaves them: a value, or every item of a list. What is not there is no failure."},
		{name: "expire", example: `event.time + duration("24h")`,
			help: "When the document expires: an expression that gives a time, or never. It gives documents the field expires. The first mark at or after that time removes the document."},
		{name: "delete", example: "true", help: "The document is removed. No step may follow in the same item."},
	}}
}

func upcastPlace() place {
	return place{name: "an upcast", keys: []key{
		{name: "event", required: true, example: "FlightLanded", help: "Type of the events, or a list of types."},
		{name: "when", fallback: "always", example: `event.schema == "urn:flight:v1"`, help: "Condition (CEL) over the event as it stands at this upcast."},
		{name: "rename", example: "{late: delay}", help: "Old names of the data and their new ones. A name that is not there is left alone."},
		{name: "default", example: "{distance: 0}", help: "Names of the data and the value of each that is not there."},
		{name: "set", example: "{delay: data.hours * 60}", help: "Names of the data and their new values."},
	}}
}

func literalPlace() place {
	return place{name: "a literal", keys: []key{{name: "text", required: true, example: "open", help: "The text itself, not an expression."}}}
}

func casePlace() place {
	return place{name: "a test", keys: []key{
		{name: "name", required: true, example: "one flight", help: "What the test shows."},
		{name: "given", required: true, example: "[{event: FlightLanded, entity: airport/ORD, data: {delay: 3}}]",
			help: "Events and marks, in the order of the log; of a projection with a stream, its messages."},
		{name: "expect", fallback: "no document", example: "{ORD: {flights: 1}}",
			help: "Exactly these documents by key; of each, the fields that are named."},
		{name: "parked", fallback: "none", example: "{ORD: data.delay is missing}",
			help: "Exactly these documents are parked, and the reason contains the text."},
		{name: "unrouted", fallback: "0", example: "1", help: "How many events have no document because their key cannot be told."},
	}}
}

func eventPlace() place {
	return place{name: "an event", keys: []key{
		{name: "event", required: true, example: "FlightLanded", help: "Type of the event."},
		{name: "entity", required: true, example: "airport/ORD", help: "The entity: type/id."},
		{name: "data", fallback: "{}", example: "{delay: 3}", help: "The payload, as YAML."},
		{name: "id", fallback: "its number in the test", example: `"42"`, help: "The event's id."},
		{name: "source", fallback: "urn:test", example: "urn:shop:checkout", help: "The event's source."},
		{name: "schema", fallback: "none", example: "urn:flight:v1", help: "The event's schema."},
		{name: "time", fallback: "none", example: "2001-01-31T09:15:00Z", help: "When it happened, in RFC 3339."},
	}}
}

func markPlace() place {
	return place{name: "a mark", keys: []key{
		{name: "mark", required: true, example: "2001-02-01T00:00:00Z", help: "The time of the mark, in RFC 3339: what has expired by then is removed."},
	}}
}
