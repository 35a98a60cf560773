"""A plugin: a web server on a unix socket that implements libnetwork's driver protocol.

It creates a bridge per network and a veth pair per endpoint on a temporary host, and records every call.  A test can
replace or delay any response, and stop the plugin at any moment.
"""

import asyncio
import json
import threading
from pathlib import Path

from aiohttp import web

CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"


class Plugin:
    def __init__(self, machine, path: Path, implements=("NetworkDriver",)):
        self.machine, self.path, self.implements = machine, path, implements
        self.calls: list[tuple[str, dict]] = []
        self.answers: dict[str, object] = {}
        """Replacement responses by method: a body, a function of the request's body, or a complete response."""
        self.held: dict[str, threading.Event] = {}
        """Events by method that delay the response until they are set."""
        self.halved: set[str] = set()
        """Methods whose responses are sent in two parts, the second one later."""
        self.arrived = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    def start(self):
        self._do(self._serve())

    def stop(self):
        """Stop as a killed process does: the socket's file remains, without a listener."""
        self._do(self._runner.cleanup())

    def close(self):
        for event in self.held.values():
            event.set()
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def methods(self, start=0):
        return [method for method, _ in self.calls[start:]]

    def bodies(self, method):
        return [body for name, body in self.calls if name == method]

    def last(self, method):
        return self.bodies(method)[-1]

    def await_call(self, method, count=1):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.bodies(method)) >= count, 10), self.methods()

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _serve(self):
        app = web.Application()
        app.router.add_post("/{method}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.path)).start()

    async def _answer(self, request):
        method, text = request.match_info["method"], await request.text()
        body = json.loads(text) if text else {}
        with self.arrived:
            self.calls.append((method, body))
            self.arrived.notify_all()
        if method in self.held:
            await self._loop.run_in_executor(None, self.held[method].wait, 30)
        given = self.answers.get(method)
        if given is None:
            given = await self._loop.run_in_executor(None, self._usual, method, body)
        elif callable(given):
            given = given(body)
        if isinstance(given, tuple):
            return web.Response(status=given[0], text=given[1])
        if method in self.halved:
            return await self._in_two_parts(request, json.dumps(given).encode())
        return web.json_response(given, content_type=CONTENT_TYPE)

    async def _in_two_parts(self, request, data):
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE})
        await response.prepare(request)
        await response.write(data[:1])
        await asyncio.sleep(0.1)  # Both parts would be read at once otherwise.
        await response.write(data[1:])
        return response

    def _usual(self, method, body):
        name = method.replace(".", "_")
        return getattr(self, f"on_{name}", lambda _: {})(body)

    # Methods of the driver protocol

    def on_Plugin_Activate(self, _):
        return {"Implements": list(self.implements)}

    def on_NetworkDriver_GetCapabilities(self, _):
        return {"Scope": "local", "ConnectivityScope": "local"}

    def on_NetworkDriver_CreateNetwork(self, body):
        bridge = f"rb{body['NetworkID'][:8]}"
        self.machine.ip(f"link add {bridge} type bridge")
        for pool in body["IPv4Data"]:
            if "Gateway" in pool:
                self.machine.ip(f"addr add {pool['Gateway']} dev {bridge}")
        self.machine.ip(f"link set {bridge} up")
        return {}

    def on_NetworkDriver_DeleteNetwork(self, body):
        self.machine.command("ip", "link", "del", f"rb{body['NetworkID'][:8]}", check=False)
        return {}

    def on_NetworkDriver_CreateEndpoint(self, body):
        port, source = f"rp{body['EndpointID'][:8]}", source_of(body)
        self.machine.ip(f"link add {port} type veth peer name {source}")
        self.machine.ip(f"link set {port} master rb{body['NetworkID'][:8]} up")
        return {"Interface": {}}

    def on_NetworkDriver_DeleteEndpoint(self, body):
        self.machine.command("ip", "link", "del", f"rp{body['EndpointID'][:8]}", check=False)
        return {}

    def on_NetworkDriver_Join(self, body):
        [created] = [
            request
            for request in self.bodies("NetworkDriver.CreateNetwork")
            if request["NetworkID"] == body["NetworkID"]
        ]
        gateway = next((pool.get("Gateway", "") for pool in created["IPv4Data"]), "")
        return joined(body, Gateway=gateway.partition("/")[0])

    def on_NetworkDriver_EndpointOperInfo(self, _):
        return {"Value": {"state": "fine"}}


def source_of(body):
    return f"rx{body['EndpointID'][:8]}"


def joined(body, **fields):
    """Return the default response to Join, with *fields* changed."""
    return {"InterfaceName": {"SrcName": source_of(body), "DstPrefix": "eth"}, **fields}
