"""More of the stand-in for the Hub: branches, what is done to pull requests, settings and whoami. Import it.

GET   /api/whoami-v2, /api/models/{owner}/{name}/refs, …/commits/{rev},
      …/discussions[/{n}]
POST  …/branch/{name} (startingPoint), …/tag/{rev} (tag), …/discussions,
      …/discussions/{n}/{comment|status|merge}
PUT   …/settings (visibility, gated)
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.publishing.server import API, SEES, WRITES, Handler, on, serving
from tests.publishing.store import Hub, Refusal, at_revision, now


@on("GET", "/api/whoami-v2")
def whoami(at: Handler) -> Any:
    name, *orgs = SEES[at.token] if at.token in SEES else [at.user()]
    token = {"displayName": "test", "role": "write" if WRITES[at.token] else "read"}
    return {"type": "user", "name": name, "orgs": [{"name": org} for org in orgs], "auth": {"accessToken": token}}


@on("POST", rf"{API}/(?:branch|tag)/([^/]+)")
def branch(at: Handler, name: str, which: str) -> Any:
    asked, repo = json.loads(at.body() or b"{}"), at.repo(name, writes=True)
    ref, start = (asked["tag"], which) if "tag" in asked else (which, asked.get("startingPoint", "main"))
    if ref in repo["refs"]:
        raise Refusal(409, f"Reference already exists: {ref}")
    repo["refs"][ref] = at_revision(repo, start)["id"]
    at.hub.save(repo)


@on("GET", f"{API}/refs")
def refs(at: Handler, name: str) -> Any:
    said: dict[str, list[Any]] = {"branches": [], "tags": [], "converts": [], "pullRequests": []}
    for ref, oid in at.repo(name)["refs"].items():
        full = ref if ref.startswith("refs/") else f"refs/heads/{ref}"
        said["branches" if full != ref else "pullRequests"].append({"name": ref, "ref": full, "targetCommit": oid})
    return said


@on("GET", rf"{API}/commits/([^/]+)")
def commits(at: Handler, name: str, revision: str) -> Any:
    repo = at.repo(name)
    said = [at_revision(repo, revision)]
    while said[-1]["parent"]:
        said.append(repo["commits"][said[-1]["parent"]])
    return [{"id": one["id"], "title": one["title"], "message": "", "authors": [], "date": one["date"]} for one in said]


@on("PUT", f"{API}/settings")
def settings(at: Handler, name: str) -> Any:
    asked, repo = json.loads(at.body() or b"{}"), at.repo(name, writes=True)
    private = asked["visibility"] == "private" if "visibility" in asked else asked.get("private", repo["private"])
    at.hub.save(repo | {"private": private, "gated": asked.get("gated", repo["gated"])})


@on("GET", f"{API}/discussions")
def discussions(at: Handler, name: str) -> Any:
    said = [one for one in at.repo(name)["discussions"] if at.query.get("author") in (None, one["author"]["name"])]
    if "type" in at.query:
        said = [one for one in said if one["isPullRequest"] == (at.query["type"] == "pull_request")]
    if "status" in at.query:
        said = [one for one in said if (one["status"] in ("open", "draft")) == (at.query["status"] == "open")]
    return {"discussions": said, "count": len(said), "start": 0}


def comment(at: Handler, text: str) -> dict[str, Any]:
    author = {"name": at.user()}
    latest = {"raw": text, "html": text, "updatedAt": now(), "author": author}
    data = {"edited": False, "hidden": False, "latest": latest, "history": []}
    return {"id": str(time.time_ns()), "type": "comment", "createdAt": now(), "author": author, "data": data}


@on("GET", rf"{API}/discussions/([0-9]+)")
def discussion(at: Handler, name: str, number: str) -> Any:
    return at.repo(name)["discussions"][int(number) - 1]


@on("POST", f"{API}/discussions")
def discuss(at: Handler, name: str) -> Any:
    asked, repo = json.loads(at.body() or b"{}"), at.repo(name)
    is_pull = bool(asked.get("pullRequest"))
    status = "draft" if is_pull else "open"
    return {"num": at.open_discussion(repo, asked["title"], asked["description"], status, is_pull=is_pull)}


@on("POST", rf"{API}/discussions/([0-9]+)/(comment|status|merge)")
def change(at: Handler, name: str, number: str, what: str) -> Any:
    asked, repo = json.loads(at.body() or b"{}"), at.repo(name, writes=what == "merge")
    one, event = repo["discussions"][int(number) - 1], comment(at, asked.get("comment") or "")
    one["events"].append(event)
    if what != "comment":
        one["status"] = asked.get("status", "merged")
        event |= {"type": "status-change", "data": {"status": one["status"]}}
    if what == "merge":
        files = at_revision(repo, f"refs/pr/{number}")["files"]
        at.hub.commit(repo, "main", repo["refs"]["main"], one["title"], files)
    at.hub.save(repo)
    return {"newMessage": event, "newStatus": event}


if __name__ == "__main__":
    with serving(Hub(Path(sys.argv[1])), int(sys.argv[2])) as running:
        print(running.url, flush=True)
        threading.Event().wait()
