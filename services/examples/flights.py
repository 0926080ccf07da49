#!/usr/bin/env python3
"""Uses Tidemark over HTTP, with nothing but Python's standard library.

It publishes events in one region and reads them in another one:

  publish   CloudEvents; one whose answer was lost is sent again as it is
  get       a document, at the position that publishing returned: your own write
  lookup    several documents at one position
  list      by an index, page after page, with a cursor
  watch     what changes, over server-sent events, on and on though the connection breaks

    tidemark up
    python3 flights.py --write http://127.0.0.1:7070 --read http://127.0.0.1:7071

The class Tidemark below is what an application would take; the rest shows it. Each line that is printed is a JSON object.
"""

import argparse
import http.client
import json
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid


class Problem(Exception):
    """What Tidemark refused or could not do. The code is stable; see services/CODES.md."""

    def __init__(self, status, body):
        self.status, self.body = status, body
        self.code = body.get("code", "unknown")
        super().__init__("%s: %s %s" % (self.code, body.get("detail", ""), body.get("next", "")))


class Tidemark:
    """The HTTP API of one region."""

    def __init__(self, base, timeout=30):
        self.base, self.timeout = base.rstrip("/"), timeout

    def _open(self, path, params=(), body=None, headers=None):
        url = self.base + path
        if params:
            url += "?" + urllib.parse.urlencode(params, doseq=True)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, headers=headers or {})
        try:
            return urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                body = json.loads(text)
            except ValueError:  # whatever stands in front of Tidemark said it
                body = {"detail": text.decode(errors="replace")}
            raise Problem(error.code, body) from None

    def _ask(self, path, params=(), body=None, headers=None):
        with self._open(path, params, body, headers) as answer:
            return json.load(answer)

    def publish(self, kind, subject, data, source, expect="any", tries=10):
        """Appends an event and returns the receipt, whose position is what to read at. An outcome that is not known is resolved by sending the same event again:
        the same source and id are one event."""
        event = {
            "specversion": "1.0", "id": str(uuid.uuid4()), "source": source, "type": kind, "subject": subject,
            "datacontenttype": "application/json", "data": data,
        }
        headers = {"Content-Type": "application/cloudevents+json", "Tidemark-Expect": expect}
        for left in reversed(range(tries)):
            try:
                return self._ask("/v1/events", body=event, headers=headers)
            except (Problem, OSError, http.client.HTTPException) as error:
                if isinstance(error, Problem) and error.status not in (503, 504) or not left:
                    raise
            time.sleep(0.5)

    def get(self, projection, key, at_least=None):
        """Returns one document with the position at which it is true, or None when the read model is complete there and has none."""
        try:
            return self._ask("/v1/models/%s/%s" % (projection, urllib.parse.quote(key, safe="")), _given({"at-least": at_least}))
        except Problem as problem:
            if problem.code == "no-document":
                return None
            raise

    def lookup(self, projection, keys, at_least=None):
        """Returns several documents at one position, in the order of their keys; what is not there says so."""
        return self._ask("/v1/lookup/" + projection, _given({"at-least": at_least}), {"keys": list(keys)}, {"Content-Type": "application/json"})

    def pages(self, projection, **params):
        """Yields page after page. Parameters: index, eq, limit, order, at_least; and from_ and to, which are bounds of the index."""
        names = {"at_least": "at-least", "from_": "from"}
        params = _given({names.get(name, name): value for name, value in params.items()})
        while True:
            page = self._ask("/v1/models/" + projection, params)
            yield page
            if "next" not in page:
                return
            params["after"] = page["next"]

    def count(self, projection, **params):
        """Returns how many documents there are."""
        return self._ask("/v1/count/" + projection, _given(params))

    def watch(self, projection, token=None, heartbeat=5):
        """Yields ("change", change) for every document that changes, in its latest state, and ("position", standing) when everything up to there was told. A connection that breaks
        or falls silent is made again, from the last token. It ends with a Problem when it cannot go on; after the code resync list again, and watch from the first page's token."""
        while True:
            headers = {"Accept": "text/event-stream"}
            if token:
                headers["Last-Event-ID"] = token
            try:
                # A heartbeat that stays out for twice as long is a connection that is dead without having said so.
                stream = Tidemark(self.base, timeout=2 * heartbeat)._open("/v1/watch/" + projection, {"heartbeat": "%ds" % heartbeat}, headers=headers)
                with stream:
                    for kind, ident, data in _server_sent(stream):
                        if kind == "end":
                            raise Problem(data.get("status"), data)
                        token = ident or token
                        yield kind, data
            except Problem as problem:
                if problem.status not in (503, 504):
                    raise
            except (OSError, http.client.HTTPException):
                pass  # the next attempt tells
            time.sleep(0.2)


def _given(params):
    return {name: value for name, value in params.items() if value is not None}


def _server_sent(stream):
    """Yields (event, id, data) of a text/event-stream whose data is JSON."""
    kind, ident, data = "message", None, []
    for line in stream:
        line = line.decode().rstrip("\r\n")
        if line:
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if name == "event":
                kind = value
            elif name == "id":
                ident = value
            elif name == "data":
                data.append(value)
            continue
        if data:
            yield kind, ident, json.loads("\n".join(data))
        kind, ident, data = "message", None, []


def say(step, **what):
    print(json.dumps(dict(step=step, **what)), flush=True)


def show(write, read, projection, index, airports, source):
    """Goes through all of it, and returns whether everything was as it should be."""

    def departs(airport, **kind):
        return write.publish("FlightDeparted", "airport/" + airport, {"origin": airport}, source, **kind)

    for number, airport in enumerate(airports):
        for _ in range(number + 1):
            receipt = departs(airport)
    position = receipt["position"]
    say("published", position=position)

    mine = read.get(projection, airports[-1], at_least=position)
    say("read my own write", region=mine["region"], position=mine["position"], document=mine["document"])
    ok = mine["document"]["departures"] >= len(airports)
    ok = ok and read.get(projection, "no such airport") is None

    several = read.lookup(projection, [airports[0], "no such airport", airports[-1]], at_least=position)
    say("looked up", items=[[item["key"], item.get("missing", False)] for item in several["items"]])
    ok = ok and [item.get("missing", False) for item in several["items"]] == [False, True, False]

    token, listed = None, []
    for page in read.pages(projection, index=index, limit=2, order="desc" if index else None, at_least=position):
        token = token or page["watch"]
        listed += [[item["key"], item["document"]["departures"]] for item in page["items"]]
    say("listed", items=listed, count=read.count(projection)["count"])
    ok = ok and {airport for airport, _ in listed} >= set(airports)
    ok = ok and (not index or [n for _, n in listed] == sorted((n for _, n in listed), reverse=True))

    return ok and follow(departs, read, projection, airports, token)


def follow(departs, read, projection, airports, token):
    """Watches from the token of the first page, while every airport has a departure more."""
    want = {airport: number + 2 for number, airport in enumerate(airports)}
    have = {}

    def publish():
        for airport in airports:
            departs(airport)
            time.sleep(0.05)

    publisher = threading.Thread(target=publish)
    publisher.start()
    for kind, data in read.watch(projection, token, heartbeat=1):
        if kind == "change":
            have[data["key"]] = data["document"] and data["document"]["departures"]
            say("changed", key=data["key"], document=data["document"])
        if all(have.get(airport) == number for airport, number in want.items()):
            break
    publisher.join()
    say("followed", departures=have)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", default="http://127.0.0.1:7070", help="where events are published")
    parser.add_argument("--read", default="http://127.0.0.1:7071", help="where read models are queried: any region will do")
    parser.add_argument("--projection", default="airports")
    parser.add_argument("--index", help="an index of the projection, by departures; without one the listing is by key")
    parser.add_argument("--source", default="urn:tidemark:example")
    args = parser.parse_args()
    airports = ["py-%s-%d" % (uuid.uuid4().hex[:8], number) for number in range(5)]
    try:
        ok = show(Tidemark(args.write), Tidemark(args.read), args.projection, args.index, airports, args.source)
    except (Problem, OSError) as error:
        print("flights.py: %s" % error, file=sys.stderr)
        return 1
    say("done", ok=ok)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
