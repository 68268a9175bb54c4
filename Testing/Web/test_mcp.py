"""The API as an MCP server, for assistants: the same actions with the same descriptions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from .running_server import running_server


def test_an_assistant_finds_every_action_and_gets_errors_as_sentences(tmp_path: Path) -> None:
    mcp = pytest.importorskip("mcp", reason="the package mcp is not installed: pip install 'gradio[mcp]'")
    from mcp.client.streamable_http import streamable_http_client

    async def talk(address: str) -> tuple[dict[str, str], Any]:
        async with (
            streamable_http_client(f"{address}/gradio_api/mcp/") as (receive, send, _),
            mcp.ClientSession(receive, send) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            refused = await session.call_tool("state", {"session": "nobody's"})
            return {tool.name: tool.description or "" for tool in tools}, refused

    with running_server(tmp_path, "--port", "0", "--mcp") as server:
        tools, refused = asyncio.run(talk(server.address))
    assert {"open", "prompt", "propagate", "export"} <= set(tools)
    assert all(tools.values())
    assert refused.isError
    assert "This session has ended" in refused.content[0].text
