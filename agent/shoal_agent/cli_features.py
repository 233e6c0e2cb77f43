"""The options by which a device's owner says what pipelines of features may reach."""

from pathlib import Path

import click

features_folder_option = click.option(
    "--features-folder",
    "features_folders",
    type=click.Path(path_type=Path),
    multiple=True,
    envvar="SHOAL_AGENT_FEATURES_FOLDER",
    show_envvar=True,
    help="A folder whose files pipelines of features may read and write; default: streams in the data folder.",
)
features_hooks_option = click.option(
    "--features-hooks",
    "features_hooks",
    type=click.Path(path_type=Path),
    envvar="SHOAL_AGENT_FEATURES_HOOKS",
    show_envvar=True,
    help="The file in which this device's owner names commands that results of pipelines may go to.",
)
