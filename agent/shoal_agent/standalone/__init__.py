"""The agent's own server without a device: `shoal serve` runs it beside a hub, for any version of its registry.

A parent looks up what names and aliases stand for, fetches and keeps worker processes going; each of them serves by
`shoal_agent.serving`, as a device does. docs/adr/0028 has the reasons.
"""
