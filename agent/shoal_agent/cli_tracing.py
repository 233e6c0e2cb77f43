"""The option of `shoal-agent run` about traces."""

import click

tracing_option = click.option(
    "--otlp-endpoint",
    default="",
    envvar="OTEL_EXPORTER_OTLP_ENDPOINT",
    show_envvar=True,
    help="Send spans of deployments there by OTLP over HTTP, such as http://collector:4318. Needs the extra otel. "
    "Without it the hub's traces go on through this device all the same.",
)
