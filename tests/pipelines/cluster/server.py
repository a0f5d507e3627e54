"""A job server that answers as Ray's does, over real HTTP on loopback; its jobs only print."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import ray
from aiohttp import web


class JobServer:
    """What it was sent stands in `jobs` and `packages`. A followed job prints `log` and ends with
    `status` and `exit_code`."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.packages: dict[str, bytes] = {}
        self.log = ["a line\n", "another ", "line\n"]
        self.status, self.exit_code = "SUCCEEDED", 0
        self.token = ""
        self.breaks = 0
        """Connections that break after a part of the log."""
        self.rivals: list[dict[str, Any]] = []
        """Jobs that others submit just before ours arrives."""
        self.too_early = 0
        """Submissions that come before the cluster takes any."""
        self.port = 0
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> JobServer:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def add(self, name: str, **fields: Any) -> None:
        """Add a job that somebody has submitted."""
        self.jobs[name] = {
            "type": "SUBMISSION",
            "submission_id": name,
            "status": "RUNNING",
            "entrypoint": "",
            "start_time": len(self.jobs),
            **fields,
        }

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/api/version", self._version),
                web.get("/api/packages/gcs/{name}", self._package),
                web.put("/api/packages/gcs/{name}", self._upload),
                web.get("/api/jobs/", self._list),
                web.post("/api/jobs/", self._submit),
                web.get("/api/jobs/{name}", self._job),
                web.post("/api/jobs/{name}/stop", self._stop),
                web.get("/api/jobs/{name}/logs", self._logs),
                web.get("/api/jobs/{name}/logs/tail", self._tail),
            ]
        )
        runner = web.AppRunner(app)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.port = runner.addresses[0][1]
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if self.token and given != f"Bearer {self.token}":
            text = "Forbidden: Invalid authentication token" if given else "Unauthorized: Missing"
            return web.Response(status=403 if given else 401, text=text)
        return await handler(request)

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": ray.__version__})

    async def _package(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["name"] in self.packages else 404)

    async def _upload(self, request: web.Request) -> web.Response:
        self.packages[request.match_info["name"]] = await request.read()
        return web.Response()

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response(list(self.jobs.values()))

    async def _submit(self, request: web.Request) -> web.Response:
        for rival in self.rivals:
            self.add(**rival)
        self.rivals = []
        if self.too_early:
            self.too_early -= 1
            return web.Response(status=500, text="No available agent to submit job, please try")
        sent = await request.json()
        name = sent["submission_id"]
        if name in self.jobs:
            return web.Response(status=400, text=f"Job with submission_id {name} already exists.")
        kept = ("entrypoint", "runtime_env", "metadata")
        self.add(name, **{key: sent[key] for key in kept})
        return web.json_response({"job_id": name, "submission_id": name})

    async def _job(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.jobs:
            return web.Response(status=404, text=f"Job {name} does not exist")
        return web.json_response(self.jobs[name])

    async def _stop(self, request: web.Request) -> web.Response:
        self.jobs[request.match_info["name"]]["status"] = "STOPPED"
        return web.json_response({"stopped": True})

    async def _logs(self, _: web.Request) -> web.Response:
        return web.json_response({"logs": "".join(self.log)})

    async def _tail(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for number, text in enumerate(self.log):
            if self.breaks and number == len(self.log) - 1:
                self.breaks -= 1
                assert request.transport is not None
                request.transport.abort()
                return socket
            await socket.send_str(text)
        await socket.close()
        job = self.jobs[request.match_info["name"]]
        job |= {"status": self.status, "driver_exit_code": self.exit_code}
        return socket
