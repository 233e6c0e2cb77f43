"""The console: one live page over the API's data, made on the server; htmx and server-sent events, no build step."""
