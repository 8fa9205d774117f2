"""A Hugging Face Hub on this machine, for tests: huggingface_hub 0.36 and 2.x publish models to it and read from it.

    with serving(Hub(root)) as hub: …     hub.url, hub.log, hub.faults.append(Fault("POST .*/commit/", status=500))
    python -m tests.publishing.more ROOT 8017     then HF_ENDPOINT=http://127.0.0.1:8017 HF_TOKEN=hf_owner hf upload …

Tokens: `hf_owner` (writes in `owner` and `lab`), `hf_guest` (reads, opens pull requests), `hf_reader` (reads). Set
HF_HUB_DISABLE_XET=1: 2.x does not ask what the server can. With `Hub(root, xet=True)` hf_xet writes into ROOT/cas by
itself, and commits name hashes whose bytes this server does not give out. `tests.publishing.more` adds branches, pull
requests, settings and whoami. Below, … is /api/models/{owner}/{name}.

GET   …[/revision/{rev}][?blobs=1], …/tree/{rev}, …/xet-write-token/{rev}
      /{owner}/{name}/resolve/{rev}/{path} (HEAD too; weights by a redirect to another host's /cdn/{sha256}: ranges)
POST  /api/repos/create, /api/validate-yaml, …/preupload/{rev}, …/commit/{rev}[?create_pr=1],
      /{owner}/{name}.git/info/lfs/objects/batch, /lfs/verify
PUT   /lfs/{sha256}
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.publishing.store import Fault, Hub, Refusal, at_revision, now

WRITES = {"hf_owner": ("owner", "lab"), "hf_guest": ("guest",), "hf_reader": ()}
SEES = {**WRITES, "hf_reader": ("owner", "lab")}
LARGE = (".safetensors", ".bin", ".pth", ".pt", ".onnx", ".npz")
API = r"/api/models/([^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Callable[..., Any]]] = []


def on(method: str, pattern: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function that answers such requests: with an object (200), or with status, body and headers."""
    return lambda action: ROUTES.append((method, pattern, action)) or action  # type: ignore[func-returns-value]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        split, line = urlsplit(self.path), f"{self.command} {self.path}"
        self.query, self.left = dict(parse_qsl(split.query)), int(self.headers.get("content-length") or 0)
        self.token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        self.said = {"request": line, "headers": {k.lower(): v for k, v in self.headers.items()}, "status": "dropped"}
        try:
            self.meet_fault(line)
            for method, pattern, action in ROUTES:
                found = re.fullmatch(pattern, split.path)
                if found and self.command in (method, "HEAD" if method == "GET" else method):
                    with self.hub.lock:
                        answer = action(self, *(unquote(part or "") for part in found.groups()))
                    return self.answer(*answer) if isinstance(answer, tuple) else self.answer(200, answer)
            raise Refusal(404, f"no such address: {line}")
        except Refusal as refusal:
            self.answer(refusal.status, refusal.body, refusal.headers)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def meet_fault(self, line: str) -> None:
        with self.hub.lock:
            self.hub.log.append(self.said)
            met = (one for one in self.hub.faults if one.times and re.search(one.match, line))
            self.fault = next(met, Fault(""))
            self.fault.times -= 1
        if self.fault.cut_upload is not None:
            self.rfile.read(min(self.fault.cut_upload, self.left))
            self.drop()
        if self.fault.status:
            raise Refusal(self.fault.status, f"injected {self.fault.status}", headers=self.fault.headers)

    def drop(self) -> None:
        self.connection.shutdown(2)
        raise ConnectionAbortedError

    def body(self) -> bytes:
        data = self.rfile.read(self.left)
        self.left -= len(data)
        return data

    def answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        self.body()
        if self.fault.lost:
            self.fault.then()
            self.drop()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.said["status"] = str(status)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: self.fault.cut_answer])
        if self.fault.cut_answer is not None:
            self.drop()

    def user(self, namespace: str = "") -> str:
        """Who asks; raises Refusal where they may not write at all, or not to that namespace."""
        if self.token not in SEES:
            raise Refusal(401, "Invalid credentials in Authorization header")
        if not WRITES[self.token] or (namespace and namespace not in WRITES[self.token]):
            raise Refusal(403, "You don't have the rights to do this with this token")
        return WRITES[self.token][0]

    def may_push(self, name: str, revision: str) -> None:
        """Raise Refusal for a push to a branch of someone else; pull requests are open to all who may write."""
        is_pull = self.query.get("create_pr") == "1" or revision.startswith("refs/pr/")
        self.user("" if is_pull else name.split("/")[0])

    def repo(self, name: str, *, content: bool = False, writes: bool = False) -> dict[str, Any]:
        """A repository that whoever asks may see, with `content` its files too, or may write to."""
        own = name.split("/")[0] in SEES.get(self.token, ())
        repo = json.loads(self.hub.file(name).read_text()) if self.hub.file(name).exists() else {}
        if not repo or (repo["private"] and not own):
            raise Refusal(404 if self.token else 401, "Repository not found", "RepoNotFound")
        if content and repo["gated"] and not own:
            raise Refusal(403 if self.token else 401, f"Access to model {name} is restricted.", "GatedRepo")
        if writes:
            self.user(name.split("/")[0])
        return dict(repo)

    def open_discussion(self, repo: dict[str, Any], title: str, text: str, status: str, *, is_pull: bool = True) -> int:
        author, number = {"name": self.user()}, len(repo["discussions"]) + 1
        said = {
            "num": number,
            "title": title,
            "status": status,
            "isPullRequest": is_pull,
            "author": author,
            "text": text,
        }
        more = {
            "repo": {"name": repo["id"], "type": "model"},
            "createdAt": now(),
            "events": [],
            "filesWithConflicts": [],
        }
        repo["discussions"].append({**said, **more, "changes": {"base": "refs/heads/main"}})
        if is_pull:
            repo["refs"][f"refs/pr/{number}"] = repo["refs"]["main"]
        self.hub.save(repo)
        return number

    @on("POST", "/api/validate-yaml")
    def validate(self) -> Any:
        has_metadata = json.loads(self.body())["content"].startswith("---")
        return {"errors": [], "warnings": [] if has_metadata else [{"message": "no metadata in the card"}]}

    @on("POST", "/api/repos/create")
    def create(self) -> Any:
        asked = json.loads(self.body())
        name = f"{asked.get('organization') or self.user()}/{asked['name']}"
        self.user(name.split("/")[0])
        if self.hub.file(name).exists():
            return 409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        repo: dict[str, Any] = {"id": name, "private": private, "gated": False}
        repo |= {"refs": {}, "commits": {}, "discussions": []}
        attributes = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in LARGE).encode()
        self.hub.commit(repo, "main", None, "initial commit", {".gitattributes": self.hub.small(attributes)})
        return {"url": f"{self.hub.url}/{name}", "name": name}

    @on("GET", rf"{API}(?:/revision/([^/]+))?")
    def info(self, name: str, revision: str) -> Any:
        repo = self.repo(name)
        head, said = at_revision(repo, revision), {key: repo[key] for key in ("id", "private", "gated")}
        siblings = [{"rfilename": path, "blobId": file["oid"], **file} for path, file in head["files"].items()]
        return {**said, "sha": head["id"], "siblings": siblings, "tags": [], "lastModified": head["date"]}

    @on("GET", rf"{API}/tree/([^/]+)")
    def tree(self, name: str, revision: str) -> Any:
        files = at_revision(self.repo(name), revision)["files"]
        return [{"type": "file", "path": path, **file} for path, file in sorted(files.items())]

    @on("POST", rf"{API}/preupload/([^/]+)")
    def preupload(self, name: str, revision: str) -> Any:
        there, said = at_revision(self.repo(name), revision)["files"], []
        self.may_push(name, revision)
        for file in json.loads(self.body())["files"]:
            mode = "lfs" if file["path"].endswith(LARGE) or file["size"] > 10_000_000 else "regular"
            old = there.get(file["path"], {})
            oid = {"oid": old.get("lfs", old)["oid"]} if old else {}
            said.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, **oid})
        return {"files": said}

    @on("GET", rf"{API}/xet-write-token/([^/]+)")
    def xet_token(self, name: str, revision: str) -> Any:
        if not self.hub.xet:
            raise Refusal(404, "this server has no Xet")
        self.may_push(name, revision)
        return {"accessToken": "xet", "exp": int(time.time()) + 3600, "casUrl": f"local://{self.hub.root / 'cas'}"}

    @on("POST", r"/[^/]+/[^/]+\.git/info/lfs/objects/batch")
    def batch(self) -> Any:
        self.user()
        objects = json.loads(self.body())["objects"]
        for one in objects:
            if not self.hub.object(one["oid"]).exists():
                places = {"upload": f"{self.hub.url}/lfs/{one['oid']}", "verify": f"{self.hub.url}/lfs/verify"}
                one["actions"] = {what: {"href": place, "header": {}} for what, place in places.items()}
        return {"transfer": "basic", "objects": objects}

    @on("PUT", "/lfs/([^/]+)")
    def upload(self, oid: str) -> Any:
        data = self.body()
        if self.left or hashlib.sha256(data).hexdigest() != oid:
            raise Refusal(400, "BadDigest: the body is not what was announced")
        self.hub.object(oid).write_bytes(data)

    @on("POST", "/lfs/verify")
    def verify(self) -> Any:
        if not self.hub.object(json.loads(self.body())["oid"]).exists():
            raise Refusal(404, "Object does not exist")

    @on("POST", rf"{API}/commit/([^/]+)")
    def commit(self, name: str, revision: str) -> Any:
        repo, is_pull = self.repo(name), self.query.get("create_pr") == "1"
        self.may_push(name, revision)
        header, *lines = [json.loads(line) for line in self.body().splitlines()]
        title, parent = header["value"]["summary"], header["value"].get("parentCommit")
        head = at_revision(repo, revision)
        if parent and not is_pull and not head["id"].startswith(parent):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        base = at_revision(repo, parent or revision)
        files = dict(base["files"])
        for kind, value in ((line["key"], line["value"]) for line in lines):
            if kind == "file":
                files[value["path"]] = self.hub.small(base64.b64decode(value["content"]))
            elif kind == "lfsFile":
                files[value["path"]] = self.hub.large(value["oid"], value["size"])
            elif kind == "deletedFile" and not files.pop(value["path"], None):
                raise Refusal(404, f"A file with this name doesn't exist: {value['path']}", "EntryNotFound")
        number = self.open_discussion(repo, title, header["value"]["description"], "open") if is_pull else 0
        oid = self.hub.commit(repo, f"refs/pr/{number}" if is_pull else revision, base["id"], title, files)
        pull = f"{self.hub.url}/{name}/discussions/{number}" if is_pull else None
        return {"commitOid": oid, "commitUrl": f"{self.hub.url}/{name}/commit/{oid}", "pullRequestUrl": pull}

    @on("GET", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
    def resolve(self, name: str, revision: str, path: str) -> Any:
        head = at_revision(self.repo(name, content=True), revision)
        said = {"X-Repo-Commit": head["id"]}
        if path not in head["files"]:
            raise Refusal(404, "Entry not found", "EntryNotFound", said)
        file = head["files"][path]
        if "lfs" not in file:
            return 200, self.hub.object(file["oid"]).read_bytes(), {**said, "ETag": f'"{file["oid"]}"'}
        tag, store = file["lfs"]["oid"], self.hub.url.replace("127.0.0.1", "localhost")
        said |= {"X-Linked-Etag": f'"{tag}"', "X-Linked-Size": str(file["size"])}
        return 302, b"", {**said, "Location": f"{store}/cdn/{tag}?Signature=s3cr3t"}

    @on("GET", "/cdn/([^/]+)")
    def cdn(self, oid: str) -> Any:
        if self.query.get("Signature") != "s3cr3t" or not self.hub.object(oid).exists():
            raise Refusal(403, "the address has expired")
        size, tag = self.hub.object(oid).stat().st_size, f'"{oid}"'
        if self.headers.get("if-match") not in (None, tag):
            raise Refusal(412, "another version")
        asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", self.headers.get("range") or "")
        first, last = (int(asked[1]), min(int(asked[2] or size), size - 1)) if asked else (0, size - 1)
        with self.hub.object(oid).open("rb") as file:
            file.seek(first)
            data = file.read(last - first + 1)
        return 206 if asked else 200, data, {"ETag": tag, "Content-Range": f"bytes {first}-{last}/{size}"}


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is not worth a traceback."""


@contextmanager
def serving(hub: Hub, port: int = 0) -> Iterator[Hub]:
    server = Server(("127.0.0.1", port), type("HubHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
