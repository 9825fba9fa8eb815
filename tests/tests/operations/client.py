"""Drives `broca mcp` with the Python SDK for MCP, which also holds every answer against the schema of its tool."""

import asyncio
import json
import os

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

ENV = os.environ
FAILED = ENV["CLIENT_FAILED"].split(",")


def stdio(*options):
    ours = {name: value for name, value in ENV.items() if name.startswith("BROCA_")}
    return StdioServerParameters(command=ENV["CLIENT_BROCA"], args=["mcp", *options], env=ours, cwd=os.getcwd())


def http(token):
    client = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30)
    return streamable_http_client(ENV["CLIENT_URL"], http_client=client)


def told(result):
    assert not result.is_error, result
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content


def refused(result, code):
    assert result.is_error, result
    assert json.loads(result.content[0].text)["error"]["code"] == code, result


async def looks(client):
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    for tool in tools.values():
        assert tool.description and tool.output_schema and tool.annotations.read_only_hint is not None, tool
    status = told(await client.call_tool("status_show", {}))
    assert status["status"]["counts"]["messages"]["failed"] == 3, status
    told(await client.call_tool("metrics_show", {}))
    told(await client.call_tool("check_run", {}))
    told(await client.call_tool("hold_list", {"all": True}))
    told(await client.call_tool("targets_list", {}))
    told(await client.call_tool("audit_list", {}))
    told(await client.call_tool("replay_preview", {"filter": {"class": "rejected"}}))
    page = told(await client.call_tool("dlq_list", {"limit": 2}))
    rest = told(await client.call_tool("dlq_list", {"limit": 2, "cursor": page["next_cursor"]}))
    assert len(page["items"]) == 2 and len(rest["items"]) == 1 and rest["next_cursor"] is None
    linked = await client.call_tool("dlq_list", {})
    links = [block.uri for block in linked.content if block.type == "resource_link"]
    assert len(links) == 3, linked.content
    shown = told(await client.call_tool("message_show", {"id": ENV["CLIENT_MESSAGE"]}))
    assert shown["state"] == "completed" and len(shown["journey"]) > 5
    for id in [ENV["CLIENT_MESSAGE"], FAILED[0]]:
        assert told(await client.call_tool("message_explain", {"id": id[:-3]}))["sentence"]
    told(await client.call_tool("dlq_show", {"id": FAILED[0]}))
    refused(await client.call_tool("message_show", {"id": "0192f0000000"}), "not_found")
    refused(await client.call_tool("dlq_list", {"limit": 1000}), "usage")

    resources = {str(resource.uri) for resource in (await client.list_resources()).resources}
    assert {"broca://status", "broca://dlq", "broca://metrics"} <= resources, resources
    templates = {template.uri_template for template in (await client.list_resource_templates()).resource_templates}
    assert "broca://message/{id}" in templates, templates
    for uri in [*sorted(resources), links[0], f"broca://dlq/{FAILED[0]}"]:
        read = await client.read_resource(uri)
        assert json.loads(read.contents[0].text), uri
    prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
    assert prompts == {"why-no-answer", "after-an-outage", "what-failed"}, prompts
    prompt = await client.get_prompt("why-no-answer", {"id": ENV["CLIENT_MESSAGE"]})
    assert ENV["CLIENT_MESSAGE"] in prompt.messages[0].content.text
    return tools, json.dumps([page, shown])


async def reads(transport, mode):
    async with Client(transport, mode=mode) as client:
        tools, seen = await looks(client)
        assert all(tool.annotations.read_only_hint for tool in tools.values()), "a reader sees what it may use"
        assert ENV["CLIENT_SECRET"] not in seen and "[redacted" in seen
        hold = {"on": {"agent": "default"}, "reason": "no"}
        refused(await client.call_tool("hold_add", hold), "unauthorised")


async def operates(transport, mode, letter):
    async with Client(transport, mode=mode) as client:
        tools, seen = await looks(client)
        assert ENV["CLIENT_SECRET"] in seen
        assert tools["dlq_resolve"].annotations.destructive_hint and not tools["hold_add"].annotations.destructive_hint
        assert "token_add" not in tools
        plan = told(await client.call_tool("replay_plan", {"ids": [letter]}))["plan"]
        proposal = told(await client.call_tool("replay_apply", {"plan": plan}))
        assert proposal["count"] == 1 and proposal["examples"] == [letter], proposal
        refused(await client.call_tool("replay_apply", {"plan": plan, "confirm": "yes_no"}), "conflict")
        confirmed = {"plan": plan, "confirm": proposal["confirm"]}
        assert told(await client.call_tool("replay_apply", confirmed))["report"]["replayed"] == 1
        refused(await client.call_tool("replay_apply", confirmed), "conflict")
        # It is brought back for the next one.
        cancel = {"id": letter, "reason": "for the test"}
        proposal = told(await client.call_tool("message_cancel", cancel))
        told(await client.call_tool("message_cancel", {**cancel, "confirm": proposal["confirm"]}))


async def main():
    for mode in ["legacy", "auto"]:
        await reads(stdio(), mode)
        await reads(http(ENV["CLIENT_READER"]), mode)
        print(f"{mode}: read", flush=True)
    await operates(stdio("--access", "operate", "--contents"), "legacy", FAILED[0])
    print("stdio: operated", flush=True)


async def over_http():
    async with Client(http(ENV["CLIENT_OPERATOR"]), mode="auto") as client:
        await client.call_tool("status_show", {})
        hold = {"on": {"conversation": told(await client.call_tool("message_show", {"id": FAILED[1]}))["conversation_id"]}}
        held = told(await client.call_tool("hold_add", {**hold, "reason": "for the test"}))
        released = told(await client.call_tool("hold_release", {"ids": [held["id"]]}))
        assert released["items"][0]["hold"]["state"] == "over", released
        request = {"ids": [FAILED[1]], "note": "told them"}
        proposal = told(await client.call_tool("dlq_resolve", request))
        done = told(await client.call_tool("dlq_resolve", {**request, "confirm": proposal["confirm"]}))
        assert done["resolved"] == [FAILED[1]], done
    print("http: operated", flush=True)


asyncio.run(main())
asyncio.run(over_http())
print("all is well")
