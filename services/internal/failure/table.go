package failure

import (
	"net/http"

	"tidemark.dev/events"
	"tidemark.dev/infra/topology"
	"tidemark.dev/projections"
	"tidemark.dev/projections/catalog"
	"tidemark.dev/projections/declared"
	"tidemark.dev/projections/reconcile"
	"tidemark.dev/services/internal/importer"
)

// The tables. A switch, because the compiler refuses a code that appears twice; that none is missing is tested.

func ofLog(code events.Code) Class {
	switch code {
	case events.ErrInvalidEvent:
		return bad(http.StatusBadRequest, "The event is not valid")
	case events.ErrInvalidEntity:
		return bad(http.StatusBadRequest, "The entity is not valid")
	case events.ErrInvalidData:
		return bad(http.StatusBadRequest, "The data is not valid")
	case events.ErrInvalidBatch:
		return bad(http.StatusBadRequest, "The append is not valid")
	case events.ErrInvalidPosition:
		return bad(http.StatusBadRequest, "Not a position")
	case events.ErrImpossiblePosition:
		return bad(http.StatusBadRequest, "The event claims to have observed what the log does not hold")
	case events.ErrClockAhead:
		return bad(http.StatusBadRequest, "A time is too far ahead of the clock")
	case events.ErrTooLarge:
		return bad(http.StatusRequestEntityTooLarge, "Too large")
	case events.ErrLostPosition:
		// Gone: it was a position once, and waiting will not bring it back.
		return bad(http.StatusGone, "The position is of a history that is not this one")
	case events.ErrConflict:
		return notMet(http.StatusConflict, "The entity is not where the writer expected it")
	case events.ErrIDConflict:
		return notMet(http.StatusConflict, "The event id is taken by another event")
	case events.ErrNotFound:
		return notMet(http.StatusNotFound, "No such record")
	case events.ErrUnknownOutcome:
		// The append may be stored: a gateway's time-out says that, an unavailable service does not.
		return later(unknown(http.StatusGatewayTimeout, "It is not known whether the append is stored"))
	case events.ErrOverloaded:
		return later(unknown(http.StatusServiceUnavailable, "Too many requests at once"))
	case events.ErrNotConfirmed:
		// The events are stored. A 503 would make clients send them again by themselves, perhaps after their ids were forgotten.
		return notMet(http.StatusConflict, "Stored, and not enough regions confirmed it in time")
	case events.ErrUnreachable:
		return later(unknown(http.StatusServiceUnavailable, "A server does not answer"))
	case events.ErrClosed:
		return later(unknown(http.StatusServiceUnavailable, "The log is closed"))
	case events.ErrUnauthorized:
		return unknown(http.StatusBadGateway, "The log's servers refuse these credentials")
	case events.ErrNoLog:
		return unknown(http.StatusBadGateway, "The log does not exist")
	case events.ErrUnsafeLog:
		return unknown(http.StatusBadGateway, "The log has unsafe settings")
	case events.ErrHole:
		return unknown(http.StatusInternalServerError, "The log has a hole")
	case events.ErrEvicted:
		return unknown(http.StatusInternalServerError, "The stream does not retain what was to be read next")
	case events.ErrDamaged:
		return unknown(http.StatusInternalServerError, "A record of the log is damaged")
	case events.ErrForeignHistory:
		return unknown(http.StatusInternalServerError, "The log is not the one that was read before")
	}
	return Class{}
}

func ofReadSide(code events.Code) Class {
	switch code {
	case projections.ErrUnknownProjection:
		return bad(http.StatusNotFound, "No such projection")
	case projections.ErrInvalidKey:
		return bad(http.StatusBadRequest, "The document key is not valid")
	case projections.ErrInvalidCursor:
		return bad(http.StatusBadRequest, "The cursor is not valid")
	case projections.ErrUnknownIndex:
		return bad(http.StatusBadRequest, "No such index")
	case projections.ErrResync:
		// Gone: it was good once, and the same cursor or token will not be again.
		return notMet(http.StatusGone, "The listing or the watch cannot go on, and has to begin anew")
	case projections.ErrInvalidQuery:
		return bad(http.StatusBadRequest, "The query is not valid")
	case projections.ErrInvalidProjection:
		return bad(http.StatusInternalServerError, "The projection is not valid")
	case declared.ErrTestFailed:
		return notMet(http.StatusInternalServerError, "A test of the projection failed")
	case declared.ErrSyntax, declared.ErrTooLarge, declared.ErrUnknownKey, declared.ErrDuplicateKey, declared.ErrMissingKey, declared.ErrWrongType,
		declared.ErrBadValue, declared.ErrExpression, declared.ErrForbidden, declared.ErrTooDear, declared.ErrUnsupported:
		return bad(http.StatusBadRequest, "The projection's file is not valid")
	case projections.ErrDefinitionChanged:
		return bad(http.StatusInternalServerError, "The projection changed without a new version")
	case projections.ErrVersionLowered:
		return bad(http.StatusInternalServerError, "The projection's version was lowered")
	case catalog.ErrNameTaken:
		return bad(http.StatusConflict, "The name belongs to a projection of the other kind")
	case catalog.ErrFull:
		return bad(http.StatusConflict, "There are as many projections as there may be")
	case catalog.ErrPaused:
		return notMet(http.StatusConflict, "The projection is paused")
	case catalog.ErrNotInBuild:
		return bad(http.StatusInternalServerError, "The projection is not compiled into this program")
	case catalog.ErrUnreadable:
		return unknown(http.StatusInternalServerError, "The catalog of projections was written by another release")
	case projections.ErrNoDocument:
		return notMet(http.StatusNotFound, "No such document")
	case projections.ErrNotReached:
		return later(notMet(http.StatusServiceUnavailable, "The read model has not reached the position"))
	case projections.ErrRevision:
		return notMet(http.StatusConflict, "Somebody else changed it meanwhile")
	case projections.ErrNoKey:
		return notMet(http.StatusNotFound, "No such record of the region")
	case projections.ErrUnavailable:
		return later(unknown(http.StatusServiceUnavailable, "The read model cannot answer now"))
	case projections.ErrStoreUnreachable:
		return later(unknown(http.StatusServiceUnavailable, "The read model's store does not answer"))
	case projections.ErrFenced:
		return later(unknown(http.StatusServiceUnavailable, "Another projector owns the read model"))
	case projections.ErrLeaseLost:
		return later(unknown(http.StatusServiceUnavailable, "The lease was lost"))
	case projections.ErrMoved:
		return later(unknown(http.StatusServiceUnavailable, "The read model is not where it was expected"))
	case projections.ErrWrongType:
		return unknown(http.StatusInternalServerError, "A key of the read model holds something else")
	case projections.ErrNamespaceTaken:
		return unknown(http.StatusInternalServerError, "The store belongs to another installation")
	case projections.ErrDocumentDamaged:
		return unknown(http.StatusInternalServerError, "The stored document is damaged")
	}
	return Class{}
}

// ofInfra names the codes of the adapters by their text, so that whoever needs this table does not link their servers. A test compares them with
// what the adapters list.
// ofMending is of what puts a read model right: skips, replays, repairs, and what is in their way.
func ofMending(code events.Code) Class {
	switch code {
	case projections.ErrReplayRunning:
		return notMet(http.StatusConflict, "A replay is running")
	case projections.ErrUnknownReplay:
		return bad(http.StatusNotFound, "No such replay is remembered")
	case projections.ErrInvalidOffset:
		return bad(http.StatusBadRequest, "No replay can begin or end there")
	case projections.ErrNotProven:
		return notMet(http.StatusConflict, "What was built was not proven equal")
	case projections.ErrReplayCancelled:
		return notMet(http.StatusConflict, "The replay was given up")
	case projections.ErrNothingKept:
		return notMet(http.StatusConflict, "There is no generation to go back to")
	case projections.ErrUnknownCopy:
		return bad(http.StatusNotFound, "The read model has no such copy")
	case projections.ErrCopyExists:
		return bad(http.StatusConflict, "There can be no more copy of that name")
	case projections.ErrUnknownSnapshot:
		return bad(http.StatusNotFound, "No such snapshot is kept")
	case projections.ErrSnapshotDamaged:
		return unknown(http.StatusInternalServerError, "The snapshot is damaged, or of something else")
	case projections.ErrStoreFull:
		return later(notMet(http.StatusInsufficientStorage, "The read model's store is full"))
	case projections.ErrRepairRunning:
		return notMet(http.StatusConflict, "A repair is running")
	case reconcile.ErrUnknownPlan:
		return bad(http.StatusNotFound, "The region keeps no such plan")
	case reconcile.ErrRebuild:
		return notMet(http.StatusConflict, "The read model should be built anew")
	case projections.ErrUntrustedLog:
		return unknown(http.StatusServiceUnavailable, "The region's copy of the log fails its audit")
	case projections.ErrInvalidSkip:
		return bad(http.StatusBadRequest, "The skip is not valid")
	case projections.ErrTooManySkips:
		return bad(http.StatusConflict, "The projection has as many skips as there may be")
	case projections.ErrNotParked:
		return notMet(http.StatusConflict, "The document is not parked at that event")
	}
	return Class{}
}

func ofInfra(code events.Code) Class {
	switch code {
	case "data-directory-in-use":
		return notMet(http.StatusInternalServerError, "The data directory is in use")
	case "unsafe-data-directory":
		return bad(http.StatusInternalServerError, "The data directory cannot be used safely")
	case "bad-credentials":
		return bad(http.StatusInternalServerError, "The file with the passwords is damaged")
	case "address-in-use":
		return notMet(http.StatusInternalServerError, "The address is in use")
	case "bad-address":
		return bad(http.StatusInternalServerError, "Not an address")
	case "redis-missing":
		return bad(http.StatusInternalServerError, "No redis-server is installed")
	case "unsafe-redis":
		return unknown(http.StatusBadGateway, "The Redis has unsafe settings")
	case "nats-failed":
		return unknown(http.StatusInternalServerError, "The NATS server did not start")
	case "redis-failed":
		return unknown(http.StatusInternalServerError, "The redis-server did not run")
	case "invalid-options":
		return bad(http.StatusInternalServerError, "The store's settings cannot be used")
	case "not-leader":
		return unknown(http.StatusBadGateway, "The append was forwarded to a region that does not lead the log")
	case "forward-protocol":
		return unknown(http.StatusBadGateway, "The leader's writer speaks another version")
	case "query-protocol":
		return unknown(http.StatusBadGateway, "A query service speaks another version")
	case "not-running":
		return unknown(http.StatusServiceUnavailable, "No running region was found")
	case "not-as-written":
		return unknown(http.StatusBadGateway, "A server is not what the topology file says")
	}
	return ofTopology(code)
}

// ofTopology has the codes of the topology file. Only commands and services that start read it.
func ofTopology(code events.Code) Class {
	switch code {
	case topology.ErrNoFile:
		return bad(http.StatusInternalServerError, "There is no topology file, or it cannot be read")
	case topology.ErrInvalid:
		return bad(http.StatusInternalServerError, "The topology file has mistakes")
	case topology.ErrSyntax:
		return bad(http.StatusInternalServerError, "The topology file is not YAML, or uses a part of it that is not read")
	case topology.ErrTooLarge:
		return bad(http.StatusInternalServerError, "The topology file, or a part of it, is over a bound")
	case topology.ErrUnknownKey:
		return bad(http.StatusInternalServerError, "The topology file has a key that is not known")
	case topology.ErrDuplicateKey:
		return bad(http.StatusInternalServerError, "The topology file has a key twice")
	case topology.ErrMissingKey:
		return bad(http.StatusInternalServerError, "The topology file lacks a key")
	case topology.ErrWrongType:
		return bad(http.StatusInternalServerError, "The topology file has a value of the wrong type")
	case topology.ErrBadValue:
		return bad(http.StatusInternalServerError, "The topology file has a value that is not possible")
	case topology.ErrContradiction:
		return bad(http.StatusInternalServerError, "The topology file contradicts itself")
	case topology.ErrLiteralSecret:
		return bad(http.StatusInternalServerError, "The topology file has a secret where a reference belongs")
	case topology.ErrUnknownVariable:
		return bad(http.StatusInternalServerError, "A variable overrides no key of the topology file")
	case topology.ErrUnsupported:
		return bad(http.StatusInternalServerError, "The topology file asks for what this program cannot do yet")
	case topology.ErrSecret:
		return bad(http.StatusInternalServerError, "A secret cannot be read from where it should be")
	case topology.ErrSecretExposed:
		return bad(http.StatusInternalServerError, "A file with a secret is open to every user of the machine")
	case topology.ErrTLS:
		return bad(http.StatusInternalServerError, "The files for TLS cannot be used")
	}
	return Class{}
}

func ofServices(code events.Code) Class {
	switch code {
	case importer.ErrInvalidMap:
		return bad(http.StatusBadRequest, "The map of the import is not valid")
	case importer.ErrInvalidLine:
		return bad(http.StatusBadRequest, "A line of the import is not valid")
	case importer.ErrChanged:
		return bad(http.StatusConflict, "The import is not the one that was begun")
	case importer.ErrRunning:
		return notMet(http.StatusConflict, "The import is running elsewhere")
	case ErrUsage:
		return bad(http.StatusBadRequest, "The command cannot be understood")
	case ErrInvalidRequest:
		return bad(http.StatusBadRequest, "The request cannot be understood")
	case ErrMediaType:
		return bad(http.StatusUnsupportedMediaType, "The body has a format that is not read here")
	case ErrNoResource:
		return bad(http.StatusNotFound, "No such resource")
	case ErrMethod:
		return bad(http.StatusMethodNotAllowed, "The resource does not know this method")
	case ErrCrossSite:
		return bad(http.StatusForbidden, "The request comes from another site")
	case ErrUnknownHost:
		return bad(http.StatusMisdirectedRequest, "The request is for another host")
	case ErrTooSlow:
		return later(unknown(http.StatusServiceUnavailable, "What was sent was not taken in time"))
	case ErrStopping:
		return later(unknown(http.StatusServiceUnavailable, "The service is stopping"))
	case ErrStarting:
		return later(unknown(http.StatusServiceUnavailable, "The service waits for its servers"))
	case ErrCannotListen:
		return bad(http.StatusInternalServerError, "The HTTP address cannot be used")
	case ErrDifferent:
		return notMet(http.StatusConflict, "The regions' read models differ")
	case ErrDamaged:
		return notMet(http.StatusConflict, "A read model is not what the log says")
	case ErrNotVerified:
		return later(unknown(http.StatusServiceUnavailable, "Not everything could be compared"))
	case ErrReplayFailed:
		return notMet(http.StatusInternalServerError, "The replay failed")
	case ErrReplayEnded:
		return notMet(http.StatusConflict, "The replay had ended before it could be given up")
	case ErrDeclined:
		return notMet(http.StatusConflict, "A person said no")
	case "demo-failed": // of package demo, which links every server
		return notMet(http.StatusInternalServerError, "The demo did not hold")
	case "stuck": // of package service, which needs this one
		return unknown(http.StatusInternalServerError, "The service did not end in time")
	case "not-ready":
		return notMet(http.StatusServiceUnavailable, "The service is not ready")
	case ErrInterrupted:
		return unknown(http.StatusServiceUnavailable, "It was interrupted")
	case ErrTimedOut:
		return later(unknown(http.StatusGatewayTimeout, "It took too long"))
	case ErrInternal:
		return unknown(http.StatusInternalServerError, "An internal error")
	}
	return Class{}
}
